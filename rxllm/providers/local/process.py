"""Child processes that run the engine, one for each model and its settings."""

from __future__ import annotations

import atexit
import logging
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from ..._core.thread_choice import abort_live_streams
from ..._json import encode, int_at, object_at, object_in, text_at
from ..._runtime.platform import after_fork, child_options, is_running
from ...errors import ConfigurationError, ContextWindowExceededError

log = logging.getLogger("rxllm")

_SHORT_SPINS = {"GOMP_SPINCOUNT": "1000"}
"""OpenMP's threads wait for each other hundreds of times per token, by default in a long busy loop.

If other programs use the cores, the thread waited for does not run meanwhile. Measured on two busy cores: 2 tokens/s by
default, 19 with 3,000 turns of the loop, 38 with 1,000. On quiet ones 1,000 turns cost at most 4 %.
"""

_LONGEST_TOKEN = 512
"""Bytes of JSON that one token stands for at most. The engine counts all tokens before it refuses a prompt: for 10 MB
that takes a minute."""

_PROGRAM = Path(__file__).with_name("engine.py")


class Launch(msgspec.Struct, frozen=True):
    """What an engine is started with.

    `settings` are pairs of an attribute of llama.cpp's parameters, with dots, and its value.
    """

    settings: tuple[tuple[str, object], ...]
    api_key: str


class EngineProcess:
    """A child process that runs the engine.

    Args:
        launch: The settings of the engine, and the key that requests need.

    Attributes:
        address: Its HTTP server, "http://127.0.0.1:PORT".

    Raises:
        ConfigurationError: The engine cannot start.
    """

    def __init__(self, launch: Launch) -> None:
        if not sys.executable or getattr(sys, "frozen", False):
            raise problem("the embedded model needs a Python interpreter to run it: sys.executable is none")
        self._owner = os.getpid()  # a fork must not stop the process
        command = [sys.executable, "-I", "-S", "-u", str(_PROGRAM)]  # isolated and without site, which is quicker
        self._process = subprocess.Popen(  # noqa: S603  our own program
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**_SHORT_SPINS, **os.environ},
            **child_options(),
        )
        request = {"sys_path": sys.path, "settings": dict(launch.settings), "api_key": launch.api_key}
        try:
            reply = self._exchange(encode(request) + b"\n")
        except BaseException:
            self.stop()
            raise
        self.address = text_at(reply, "address") or ""
        if not self.address:
            status = self.stop()
            reason = text_at(reply, "error") or f"its process ended with status {status}"
            raise problem(f"llama.cpp could not start ({reason})")
        self._props = object_at(reply, "props")

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Return whether the process runs."""
        if self._owner == os.getpid():
            return self._process.poll() is None
        return is_running(self._process.pid)  # in a forked process it is not a child

    def stop(self) -> int | None:
        """End the process; streams that it serves fail. Return its status before that."""
        if self._owner != os.getpid():
            return None
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._process.kill()
        return self._process.wait()

    def finish(self) -> None:
        """End the process when its streams have ended; returns immediately. Does nothing in a forked process."""
        if self._process.stdin is not None and self._owner == os.getpid():
            with suppress(OSError):
                self._process.stdin.write(b"finish\n")
                self._process.stdin.flush()

    def check(self, body: bytes) -> None:
        """Check that the model can take a request.

        Args:
            body: The JSON of the request.

        Raises:
            ConfigurationError: It has images, sound or tools that the model cannot take.
            ContextWindowExceededError: Its text is certainly too long.
        """
        modalities, caps = object_at(self._props, "modalities"), object_at(self._props, "chat_template_caps")
        for mark, supported, name in (
            (b'"type":"image_url"', modalities.get("vision"), "images (it needs mmproj=)"),
            (b'"type":"input_audio"', modalities.get("audio"), "sound (it needs mmproj=)"),
            (b'"tools":[{', caps.get("supports_tools"), "tools (its chat template has no place for them)"),
        ):
            # Inside a string the quotes are escaped, so that text cannot look like this.
            if supported is False and mark in body:
                raise problem(f"the embedded model does not support {name}")
        # A body with media is longer than its prompt; without any, all of it is text.
        tokens, limit = len(body) // _LONGEST_TOKEN, int_at(self._props, "n_ctx")
        if limit is not None and tokens > limit and not (modalities.get("vision") or modalities.get("audio")):
            raise ContextWindowExceededError(
                f"the prompt has more than {tokens} tokens, and the context of the embedded model {limit}",
                provider="local",
            )

    def _exchange(self, request: bytes) -> Mapping[str, object]:
        """Send the request; block until the reply. Return an empty one if the process ends before."""
        process = self._process
        if process.stdin is None or process.stdout is None:
            return {}
        try:
            process.stdin.write(request)
            process.stdin.flush()
            return object_in(process.stdout.readline()) or {}
        except (OSError, ValueError):
            return {}


class _Entry(msgspec.Struct):
    """A running engine, and the models that use it; `pinned` if its address was given away."""

    engine: EngineProcess
    users: weakref.WeakSet[object]
    pinned: bool = False


_finishing: list[EngineProcess] = []
_entries: dict[Launch, _Entry] = {}
_lock = threading.Lock()


def engine_for(launch: Launch, user: object = None) -> EngineProcess:
    """Return the running engine; start it if there is none, or if it has crashed. Blocks while the model loads.

    Without a `user` it runs until this process ends, else until `release_engine` was called for all users.
    """
    with _lock:
        for engine in [engine for engine in _finishing if not engine.is_alive()]:
            engine.stop()
            _finishing.remove(engine)
        entry = _entries.get(launch)
        if entry is not None and not entry.engine.is_alive():
            log.warning("the process of the embedded model has ended (status %s); it starts again", entry.engine.stop())
            entry.engine = EngineProcess(launch)
        if entry is None:
            entry = _entries[launch] = _Entry(EngineProcess(launch), weakref.WeakSet())
        if user is None:
            entry.pinned = True
        else:
            entry.users.add(user)
        return entry.engine


def release_engine(user: object) -> None:
    """Stop the engines that no other object uses, when their streams have ended.

    Args:
        user: The object that uses them no longer.
    """
    with _lock:
        for launch, entry in list(_entries.items()):
            if user in entry.users:
                entry.users.remove(user)
                if not entry.users and not entry.pinned:
                    del _entries[launch]
                    entry.engine.finish()
                    _finishing.append(entry.engine)


def problem(message: str) -> ConfigurationError:
    """Return the error for an embedded model that cannot start, or cannot take a request."""
    return ConfigurationError(message, provider="local")


@atexit.register
def _stop_all() -> None:
    abort_live_streams()
    with _lock:
        for engine in [*_finishing, *(entry.engine for entry in _entries.values())]:
            engine.stop()
        _entries.clear()


def _after_fork() -> None:
    """Replace the lock in a forked process: if another thread held it, it would stay locked."""
    global _lock
    _lock = threading.Lock()


after_fork(_after_fork)
