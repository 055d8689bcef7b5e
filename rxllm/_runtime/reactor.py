"""A few threads that read for many streams: the leader waits for all their sockets, and reads whichever is ready.

The pattern is Leader/Followers. The leader itself reads, decodes and delivers, so that no event is
handed from thread to thread. It may block there, be it in a subscriber that takes its time or in a
TLS record whose rest is still to come: the follower, who looks every few milliseconds, then takes
the lead, and the blocked thread goes on with that one stream alone, for as long as it is a slow
one. So however many subscribers block, they hold up nobody but themselves, and the price is a
thread for each of those.

Source: Schmidt et al., "Leader/Followers", in Pattern-Oriented Software Architecture, volume 2 (2000).
"""

from __future__ import annotations

import contextlib
import itertools
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from .fork import after_fork
from .thread_cache import Workers, workers

_PATIENCE = 0.01
"""Seconds a leader may spend on one stream before another takes the lead."""

_PROMPT_TURNS = 3
"""So many turns in a row within that time, and a stream that was held up is read with the others again."""

_SINGLE_SELECTOR: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)
"""What waits for one socket, with no file of its own."""


class Reactor:
    """Streams, each with a socket that is read when it is readable. Its threads end with the last of them."""

    _poll: _Poll | None
    _entering: list[_Reader]
    _ready: deque[_Reader]
    _current: _Reader | None
    """Whose turn the leader takes now."""
    _term: int
    """The number of the leader's term; 0 where there is no leader."""

    def __init__(self, on_idle: Callable[[], None], threads: Workers = workers, patience: float = _PATIENCE) -> None:
        self.busy = False
        """Somebody's socket is readable, and has not been read."""
        self._on_idle = on_idle
        self._threads = threads
        self._patience = patience
        self._numbers = itertools.count(1)
        self._terms = itertools.count(1)
        self._forget()
        after_fork(self._forget)

    def _forget(self) -> None:
        """Begin with nothing."""
        self._lock = threading.Lock()
        self._poll = None
        self._entering = []
        self._ready = deque()
        self._current = None
        self._turns = self._size = self._term = 0
        self._followed = self.busy = False

    def add(self, fd: int, turn: Callable[[], bool]) -> None:
        """Call `turn` whenever the socket `fd` is readable, until it says that there is no more to come.

        A turn reads once, raises nothing, and closes its socket only where there is no more to come.
        """
        with self._lock:
            if self._poll is None:
                self._poll = _Poll()
            self._size += 1
            self._entering.append(_Reader(fd, turn))
            self._poll.wake()
            leaderless = not self._term
            if leaderless:
                self._term = next(self._terms)
            term = self._term
            unfollowed, self._followed = not self._followed, True
        if leaderless:
            self._start(lambda: self._lead(term))
        if unfollowed:
            self._start(self._follow)

    def _start(self, task: Callable[[], None]) -> None:
        self._threads.run(f"rxllm-reactor-{next(self._numbers)}", task)

    def _lead(self, term: int) -> None:
        """Take turns until somebody else leads, or nobody is left to read for."""
        while (ready := self._next()) is not None:
            poll, reader = ready
            goes_on = reader.turn()
            with self._lock:
                leads = self._term == term
                if leads:
                    self._current = None
                    if not goes_on:
                        self._size -= 1
            if not leads:
                self._return(poll, reader, goes_on and self._alone(reader))
                return
            if not goes_on:
                poll.drop(reader)

    def _alone(self, reader: _Reader) -> bool:
        """Take the turns of one that was held up, until it is no more, or has ended; whether it goes on."""
        prompt = 0
        with _SINGLE_SELECTOR() as selector:
            selector.register(reader.fd, selectors.EVENT_READ)
            while prompt < _PROMPT_TURNS:
                selector.select()
                begun = time.monotonic()
                if not reader.turn():
                    return False
                prompt = prompt + 1 if time.monotonic() - begun < self._patience else 0
        return True

    def _return(self, poll: _Poll, reader: _Reader, goes_on: bool) -> None:
        """Have the leader watch one again that was held up, or not miss it."""
        with self._lock:
            if goes_on:
                self._entering.append(reader)
            else:
                self._size -= 1
            poll.wake()

    def _next(self) -> tuple[_Poll, _Reader] | None:
        """The next reader whose socket is readable; None, and the term ends, where there are no readers left."""
        while True:
            with self._lock:
                poll = self._poll
                if poll is None or not self._size:
                    self._term, self._poll, self.busy = 0, None, False
                    break
                if self._ready:
                    self._current = reader = self._ready.popleft()
                    self._turns += 1
                    return poll, reader
                entering, self._entering = self._entering, []
            self.busy = False
            self._on_idle()
            self._ready.extend(poll.wait(entering))
            self.busy = True
        if poll is not None:
            poll.close()
        return None

    def _follow(self) -> None:
        """Take the lead once the leader is held up in one turn; end where there is nobody to follow."""
        seen = 0
        while True:
            time.sleep(self._patience)
            with self._lock:
                if not self._term:
                    self._followed = False
                    return
                poll, held_up = self._poll, self._current
                if poll is not None and held_up is not None and seen == self._turns:
                    self._current = None
                    self._term = term = next(self._terms)
                    break
                seen = self._turns
        poll.drop(held_up)
        self._start(self._follow)
        self._lead(term)


class _Reader(NamedTuple):
    """One stream, and its socket."""

    fd: int
    turn: Callable[[], bool]


class _Poll:
    """The sockets that are watched. All but `wake` is for the leader alone."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)

    def wake(self) -> None:
        """Have `wait` return soon."""
        with contextlib.suppress(BlockingIOError):  # as many bytes as fit say no more than one
            self._waker.send(b"\0")

    def wait(self, entering: Iterable[_Reader]) -> list[_Reader]:
        """Watch these too, wait, and return whose sockets are readable."""
        for reader in entering:
            self._selector.register(reader.fd, selectors.EVENT_READ, reader)
        readable = [key.data for key, _ in self._selector.select()]
        if None in readable:
            with contextlib.suppress(BlockingIOError):
                self._woken.recv(4096)
        return [reader for reader in readable if reader is not None]

    def drop(self, reader: _Reader) -> None:
        """Watch this one no more; its socket may have been closed already."""
        self._selector.unregister(reader.fd)

    def close(self) -> None:
        """Close what this has opened."""
        self._selector.close()
        self._woken.close()
        self._waker.close()
