"""Idle connections, ready to serve again."""

from __future__ import annotations

import threading
import time
import weakref

from .._runtime.platform import reset_in_children
from .connections import Connection
from .settings import Route

MAX_IDLE = 100
"""Idle connections of a pool; the one that has been idle longest is closed for the next."""
MAX_IDLE_SECONDS = 60.0
"""Servers and gateways drop connections that are idle for longer."""


class Pool:
    """The idle connections of one model. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._idle: list[Connection] = []
        """In the order in which they became idle."""
        self._closed_at = 0.0
        self._distrusted: list[Route] = []  # no set: a route holds what a user's adapter sets, which may be unhashable
        """Routes whose peers have sent bytes without a request: the next answer may belong to another request."""
        reset_in_children(self)
        weakref.finalize(self, _close_all, self._idle).atexit = False  # for a model that is not closed

    def reset_after_fork(self) -> None:
        """Begin with a free lock. The connections remain: `can_serve` closes those of the parent."""
        self._lock = threading.RLock()

    def take(self, route: Route) -> Connection | None:
        """Return the connection of `route` that was used last, if one can serve; close those that cannot."""
        self._close_old()
        while True:
            with self._lock:
                connection = next((each for each in reversed(self._idle) if each.route == route), None)
                if connection is None:
                    return None
                self._idle.remove(connection)
            if self.can_serve(connection):
                return connection

    def can_serve(self, connection: Connection) -> bool:
        """Return whether a connection can serve; else close it, and pool none of its route again if its peer is wrong.

        A 408 is an idle timeout (RFC 9110, section 15.5.9).
        """
        sent = connection.unsolicited()
        if sent is None:
            return True
        if sent.strip() and sent.strip()[8:12] != b" 408":
            self._distrusted.append(connection.route)
        connection.close()
        return False

    def put(self, connection: Connection) -> None:
        """Keep a connection whose peer owes nothing."""
        surplus: Connection | None = connection
        connection.sock.settimeout(None)
        connection.idle_since = time.monotonic()
        with self._lock:
            # Not if the pool was closed while the connection was in use.
            if connection.made_at > self._closed_at and connection.route not in self._distrusted:
                self._idle.append(connection)
                surplus = self._idle.pop(0) if len(self._idle) > MAX_IDLE else None
        if surplus is not None:
            surplus.close()

    def close(self) -> None:
        """Close the idle connections; those in use close when they would be put back."""
        with self._lock:
            self._closed_at = time.monotonic()
            _close_all(self._idle)

    def _close_old(self) -> None:
        """Close connections that have been idle for `MAX_IDLE_SECONDS`, without the lock."""
        before = time.monotonic() - MAX_IDLE_SECONDS
        with self._lock:
            old = [each for each in self._idle if each.idle_since <= before]
            del self._idle[: len(old)]
        for connection in old:
            connection.close()


def _close_all(idle: list[Connection]) -> None:
    while idle:
        idle.pop().close()
