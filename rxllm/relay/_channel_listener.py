"""Receives cancellations at once: one connection and one thread per server and channel, for all streams of a process.

A message is only a hint to look: the stream's state in Redis decides, and the producer sees it with each write. So a
message that is lost while the connection is down only delays a cancellation until the next write, or until the
connection is back: then every callback is called.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from .._runtime.platform import after_fork
from ..errors import LLMError
from ._deployment import RedisAddress
from ._redis import RedisConnections

_CHECK_SECONDS = 5.0
"""A connection that is silent for this long is checked."""
_RETRY_SECONDS = 0.5


class _Listener:
    """The thread that listens on one channel of one server, while there are callbacks."""

    def __init__(self, address: RedisAddress, channel: str) -> None:
        self.callbacks: dict[str, Callable[[], None]] = {}
        self._redis = RedisConnections(address)
        self._channel = channel
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="rxllm-relay-listener", daemon=True).start()

    def stop(self) -> None:
        self._ended.set()
        self._redis.close()

    def _run(self) -> None:
        """Listen until `stop`; a lost connection is made again. Runs on the listener's thread."""
        while not self._ended.is_set():
            try:
                self._listen()
            except Exception as error:
                # stop() closes the connection during any call; a lost connection is made again.
                if not self._ended.is_set() and not isinstance(error, LLMError):
                    raise
                self._ended.wait(_RETRY_SECONDS)

    def _listen(self) -> None:
        """Call the callback of each message; first all of them, for messages sent before it listened."""
        listening = False
        for message in self._redis.messages(self._channel, _CHECK_SECONDS):
            if self._ended.is_set():
                return
            name = None if message is None else message.decode()
            for key, poke in list(self.callbacks.items()):
                if key == name or not listening:
                    poke()
            listening = True


_listeners: dict[tuple[str, str], _Listener] = {}
_lock = threading.RLock()  # reentrant: a stream may leave when the garbage collector finds it


def listen(address: RedisAddress, server: str, channel: str, key: str, poke: Callable[[], None]) -> Callable[[], None]:
    """Call `poke`, which must not block, when `key` is published on `channel`, and after each (re)connection.

    Returns a function that ends it.
    """
    name = (server, channel)
    with _lock:
        if name not in _listeners:
            _listeners[name] = _Listener(address, channel)
        listener = _listeners[name]
        listener.callbacks[key] = poke

    def leave() -> None:
        """Call `poke` no more; the last one to leave stops the listener."""
        with _lock:
            if listener.callbacks.get(key) is not poke:
                return
            del listener.callbacks[key]
            if not listener.callbacks and _listeners.get(name) is listener:  # not that of the process forked from
                del _listeners[name]
                listener.stop()

    return leave


def _forget_listeners() -> None:
    """Let a forked process start listeners of its own: it has none of the threads."""
    global _lock
    _lock = threading.RLock()
    _listeners.clear()


after_fork(_forget_listeners)
