"""Idle connections, ready to serve again."""

from __future__ import annotations

import threading
import time
import weakref
from collections import OrderedDict

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
        self._idle: OrderedDict[Connection, Route] = OrderedDict()
        """In the order in which they became idle."""
        self._closed_at = 0.0
        self._distrusted: set[Route] = set()
        """Their peers have sent bytes without a request, so the next answer may belong to another request."""
        weakref.finalize(self, _close_all, self._idle).atexit = False  # for a model that is not closed

    def take(self, route: Route) -> Connection | None:
        """Return the connection of `route` that was used last, if one can serve; close those that cannot."""
        while True:
            with self._lock:
                connection = next((each for each in reversed(self._idle) if self._idle[each] == route), None)
                if connection is not None:
                    del self._idle[connection]
            self._close_old()
            if connection is None:
                return None
            if time.monotonic() - connection.idle_since < MAX_IDLE_SECONDS and connection.is_usable():
                return connection
            self.discard(route, connection)

    def discard(self, route: Route, connection: Connection) -> None:
        """Close an idle connection that cannot serve, and pool none of `route` again if its peer breaks HTTP.

        A 408 is an idle timeout (RFC 9110, section 15.5.9).
        """
        sent = connection.unsolicited().strip()
        if sent and sent[8:12] != b" 408":
            self._distrusted.add(route)
        connection.close()

    def put(self, route: Route, connection: Connection) -> None:
        """Keep a connection whose peer owes nothing."""
        if route in self._distrusted:
            connection.close()
            return
        connection.release()
        connection.sock.settimeout(None)
        connection.idle_since = time.monotonic()
        with self._lock:
            surplus: Connection | None = connection
            if connection.made_at > self._closed_at:  # else the pool was closed while it was in use
                self._idle[connection] = route
                surplus = self._idle.popitem(last=False)[0] if len(self._idle) > MAX_IDLE else None
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
        old: list[Connection] = []
        with self._lock:
            while self._idle and next(iter(self._idle)).idle_since < before:
                old.append(self._idle.popitem(last=False)[0])
        for connection in old:
            connection.close()


def _close_all(idle: OrderedDict[Connection, Route]) -> None:
    while idle:
        idle.popitem()[0].close()
