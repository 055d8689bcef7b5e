"""Hearing at once that a stream is to stop: one connection and one thread per server, for all streams produced here.

What is heard is only a hint to look: the stream's state in Redis is what counts, and the producer
sees it with whatever it sends. So a message that is missed while the connection is down only delays a
stop: until the next frame, or until there is a connection again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..errors import LLMError
from ._redis import RedisAddress, RedisConnections

_WAIT = 5.0
_RETRY = 0.5


class _Listener:
    """The thread that listens on one channel of one server, while anybody wants to know."""

    def __init__(self, address: RedisAddress, channel: str) -> None:
        self.wanted: dict[str, Callable[[], None]] = {}
        self._redis = RedisConnections(address)
        self._channel = channel
        self._over = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="rxllm-relay-stops", daemon=True).start()

    def stop(self) -> None:
        self._over.set()
        self._redis.close()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self._listen()
            except Exception as error:
                # Closed by stop(), in the middle of anything; or no connection, and then another is tried.
                if not self._over.is_set() and not isinstance(error, LLMError):
                    raise
                self._over.wait(_RETRY)
        self._redis.close()

    def _listen(self) -> None:
        listening = False
        for message in self._redis.messages(self._channel, _WAIT):
            if self._over.is_set():
                return
            if message is not None:
                self.wanted.get(message.decode(), _nothing)()
            elif not listening:
                listening = True
                for poke in list(self.wanted.values()):  # what was said before is seen in the state
                    poke()


def _nothing() -> None:
    """Somebody else's stream."""


_listeners: dict[tuple[str, str], _Listener] = {}
_lock = threading.Lock()


def listen(address: RedisAddress, server: str, channel: str, key: str, poke: Callable[[], None]) -> Callable[[], None]:
    """Call `poke`, which must not block, when `key` is named on `channel`; until what this returns is called."""
    name = (server, channel)
    with _lock:
        listener = _listeners.get(name)
        if listener is None:
            listener = _listeners[name] = _Listener(address, channel)
            listener.start()
        listener.wanted[key] = poke

    def leave() -> None:
        with _lock:
            if listener.wanted.get(key) is not poke:
                return
            del listener.wanted[key]
            if not listener.wanted:
                del _listeners[name]
                listener.stop()

    return leave
