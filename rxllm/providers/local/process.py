"""Child processes that run the engine, one for each model and its settings."""

from __future__ import annotations

import atexit
import logging
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import msgspec

from ..._core.crowd import abort_live_streams
from ..._json import decode, encode, int_at, is_array, is_object, object_at, objects_at, text_at
from ..._runtime.platform import after_fork, child_options, is_running
from ...errors import ConfigurationError, ContextWindowExceededError

log = logging.getLogger("rxllm")

_SHORT_SPINS = {"GOMP_SPINCOUNT": "3000"}
"""OpenMP's threads wait for each other hundreds of times per token, by default in a long busy loop.

If other programs use the cores, the thread waited for does not run meanwhile. Measured on two busy cores: 2 tokens/s by
default, 37 with 1,000 turns of the loop, 15 with 5,000. On quiet ones 1,000 turns cost 4 %, and 3,000 nothing.
"""

_PIECE = 2**17
"""Characters of a long prompt that are counted at once: about 0.1 s."""

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
        self._api_key = launch.api_key

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Return whether the process runs."""
        if self._owner == os.getpid():
            return self._process.poll() is None
        return is_running(self._process.pid)  # in a forked process it is no child

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
        """Check that the model can take a request. Blocks for about 0.2 s if the prompt is long.

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
        if len(body) > _PIECE:
            self._check_length(decode(body))

    def _check_length(self, request: object) -> None:
        """Count the tokens until they are too many. The engine counts all before it refuses: 10 MB for a minute."""
        text = "".join(_texts(objects_at(request, "messages"))) if is_object(request) else ""
        limit = int_at(self._props, "n_ctx") or sys.maxsize
        tokens = 0
        for at in range(0, len(text), _PIECE):
            counted = self.count_tokens(text[at : at + _PIECE])
            if not counted:
                return  # the engine is busy, or too old
            tokens += counted
            if tokens > limit + limit // 10:  # the cuts may have added some
                raise ContextWindowExceededError(
                    f"the prompt has more than {tokens} tokens, and the context of the embedded model {limit}",
                    provider="local",
                )

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text; 0 if the engine does not answer. Blocks.

        Args:
            text: The text.
        """
        connection = HTTPConnection(self.address.removeprefix("http://"), timeout=10)
        try:
            headers = {"Authorization": f"Bearer {self._api_key}"}
            connection.request("POST", "/tokenize", encode({"content": text}), headers)
            reply = decode(connection.getresponse().read())
        except (OSError, HTTPException, ValueError):
            return 0
        finally:
            connection.close()
        tokens = reply.get("tokens") if is_object(reply) else None
        return len(tokens) if is_array(tokens) else 0

    def _exchange(self, request: bytes) -> Mapping[str, object]:
        """Send the request; block until the reply. Return an empty one if the process ends before."""
        process = self._process
        if process.stdin is None or process.stdout is None:
            return {}
        try:
            process.stdin.write(request)
            process.stdin.flush()
            reply = decode(process.stdout.readline() or b"{}")
        except (OSError, ValueError):
            return {}
        return reply if is_object(reply) else {}


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


def _texts(messages: list[dict[str, object]]) -> Iterator[str]:
    """Yield the texts of the messages of a Chat Completions request."""
    for message in messages:
        yield text_at(message, "content") or ""
        for part in objects_at(message, "content"):
            yield text_at(part, "text") or ""


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
