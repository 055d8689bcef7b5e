"""Who may begin when: a thousand requests that all begin now would leave no time for those under way.

Beginning a request is work (a millisecond of it), then waiting. Who works has one of few places; who
waits for the network has left it. While tokens of a crowd wait to be read, nobody is let in: with
one interpreter lock for all, a thread that begins costs a thread that reads a wait at every read.

Whoever keeps a place too long is taken to wait for something else, and whoever waits too long is
let in, so that nothing can keep others from beginning.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from .deadlines import Watch, Watchdog, watchdog
from .fork import after_fork

_PLACES = 2
_PATIENCE = 0.02
"""Seconds without anybody being let in, after which somebody is."""


class Gate:
    """Lets a few in at once, while there is nothing more urgent (`busy`), in the order they came."""

    def __init__(self, busy: Callable[[], bool], dog: Watchdog = watchdog) -> None:
        self._busy = busy
        self._dog = dog
        self._forget()
        after_fork(self._forget)

    def _forget(self) -> None:
        """Begin with nobody."""
        self._lock = threading.Lock()
        self._inside: set[object] = set()
        self._waiting: deque[tuple[object, Callable[[], None]]] = deque()
        self._watch: Watch | None = None

    def enter(self, who: object, begin: Callable[[], None]) -> None:
        """Call `begin`, which must not block, as soon as there is a place for `who`."""
        with self._lock:
            self._waiting.append((who, begin))
            if self._watch is None and not self._has_room():
                self._watch_over()
        self.let_in()

    def leave(self, who: object) -> None:
        """Give up the place of `who`, if it has one."""
        with self._lock:
            if who not in self._inside:
                return
            self._inside.discard(who)
        self.let_in()

    def let_in(self) -> None:
        """Let in as many as there is room for; to be called when `busy` has changed."""
        while self._waiting:
            with self._lock:
                if not self._waiting or not self._has_room():
                    return
                begin = self._next()
            begin()

    def _has_room(self) -> bool:
        return len(self._inside) < _PLACES and not self._busy()

    def _next(self) -> Callable[[], None]:
        """Give the next one its place; the lock is held."""
        who, begin = self._waiting.popleft()
        self._inside.add(who)
        if self._watch is not None:
            self._watch.at = time.monotonic() + _PATIENCE
        return begin

    def _watch_over(self) -> None:
        """See to it that those who wait will not wait for ever; the lock is held."""
        self._watch = Watch(time.monotonic() + _PATIENCE, _PATIENCE, self._give_up)
        self._dog.add(self._watch)

    def _give_up(self) -> None:
        """On the watchdog's thread: nobody has been let in for a while."""
        with self._lock:
            self._watch = None
            if not self._waiting:
                return
            self._inside.clear()
            begin = self._next()
            if self._waiting:
                self._watch_over()
        begin()
        self.let_in()
