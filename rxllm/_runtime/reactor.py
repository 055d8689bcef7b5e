"""A few threads that read for many streams: the leader waits for all their sockets, and reads those that are ready.

The pattern is Leader/Followers. The leader itself reads, decodes and delivers, so no event is handed from thread to
thread. It may block there, in a subscriber that takes its time or in a TLS record whose rest has not arrived. The
follower checks every few milliseconds; it then becomes the leader, and the blocked thread continues with its one
stream alone, for as long as that stream is slow. A subscriber that blocks therefore delays no other stream, and costs
one thread.

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
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from .errors import report_exception
from .platform import SELECTS_WHAT_IS_ADDED, after_fork, max_selected_sockets, small_selector
from .thread_cache import Workers, workers

_MAX_READ_SECONDS = 0.01
"""A leader that spends more on one stream is replaced."""

_HURRY = 4
"""The next leader has only this part of that time: slow subscribers come in crowds, and each delays the others."""

_PROMPT_READS = 3
"""After so many reads in a row within that time, a slow stream is read together with the others again."""


class Reactor:
    """Streams that are read when their socket is readable. Its threads end with the last of them. Thread-safe.

    Args:
        on_idle: Called when no socket is readable.
        threads: Runs the threads.
        max_read_seconds: How long a leader may spend on one stream before another thread becomes the leader.
    """

    _poll: _Poll | None
    _ready: deque[_Reader]
    _current: _Reader | None
    """The reader that the leader is reading."""
    _term: int
    """The number of the leader's term; 0 if there is no leader."""

    def __init__(
        self, on_idle: Callable[[], None], threads: Workers = workers, max_read_seconds: float = _MAX_READ_SECONDS
    ) -> None:
        self.is_busy = False
        """A socket is readable that has not been read."""
        self._on_idle = on_idle
        self._threads = threads
        self._max_read_seconds = self._patience = max_read_seconds
        self._numbers = itertools.count(1)
        self._terms = itertools.count(1)
        self._reset()
        after_fork(self._reset)

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._poll = None
        self._ready = deque()
        self._current = None
        self._reads = self._size = self._term = 0
        self._has_follower = self.is_busy = False

    def add(self, fd: int, read: Callable[[], bool], fail: Callable[[Exception], None]) -> Callable[[], None] | None:
        """Call `read` whenever the socket `fd` is readable, until it returns False.

        Returns None; or, if there is no leader, a function that the calling thread must call: it becomes the leader,
        which blocks until another thread leads, or no streams are left.

        Args:
            fd: The socket's descriptor; it must stay open until `read` returns False.
            read: Reads once. It must raise nothing.
            fail: Called instead of `read`, once, if the socket can be watched no longer.

        Raises:
            OSError: The socket cannot be watched, the selector is full, or the reactor has no descriptors for itself.
                The stream was not added.
        """
        with self._lock:
            if self._size + 1 >= max_selected_sockets():  # one more wakes the leader
                raise OSError("the selector watches as many sockets as it can")
            poll = self._poll or _Poll()
            try:
                poll.watch(_Reader(fd, read, fail))
            except Exception as error:
                if self._poll is None:
                    poll.close()
                raise OSError(f"the socket cannot be watched: {error}") from error
            self._poll = poll
            self._size += 1
            leads = not self._term
            if leads:
                self._term = next(self._terms)
            term = self._term
        self._start_follower()
        return partial(self._lead, term) if leads else None

    def _start_follower(self) -> None:
        """Start a follower if there is none: the thread that reads on when the leader is busy with one stream.

        Without one, a slow stream delays the others, but nothing is lost.
        """
        with self._lock:
            if self._has_follower:
                return
            self._has_follower = True
        try:
            self._threads.run(f"rxllm-reactor-{next(self._numbers)}", self._follow)
        except Exception:
            self._has_follower = False

    def _lead(self, term: int) -> None:
        """Read the streams until another thread leads, or no streams are left.

        Another thread leads if one read took so long that it took over. This thread then reads that slow stream alone.
        """
        threading.current_thread().name = f"rxllm-reactor-{next(self._numbers)}"
        reader: _Reader | None = None
        goes_on = True
        while True:
            with self._lock:
                if self._term != term:
                    break
                if reader is not None and not goes_on:
                    self._remove(reader)
                reader = self._current = self._ready.popleft() if self._ready else None
                self._reads += 1
                if reader is None and not self._size:
                    self._end_term()
                    return
            if reader is not None:
                goes_on = reader.read()
            else:
                self.is_busy = False
                self._on_idle()
                self._start_follower()
                self._wait()
                self.is_busy = True
        if reader is not None:
            self._return(reader, goes_on and self._read_alone(reader))

    def _remove(self, reader: _Reader) -> None:
        """Watch a stream no longer. The caller must hold the lock."""
        self._size -= 1
        if self._poll is not None:
            self._poll.drop(reader)

    def _end_term(self) -> None:
        """End the reactor's work: no streams are left. The caller must hold the lock."""
        self._term, self.is_busy = 0, False
        if self._poll is not None:
            self._poll.close()
            self._poll = None

    def _read_alone(self, reader: _Reader) -> bool:
        """Read a slow stream on this thread until it was prompt three times in a row. Return False if it ended."""
        prompt = 0
        try:
            with small_selector() as selector:
                selector.register(reader.fd, selectors.EVENT_READ)
                while prompt < _PROMPT_READS:
                    selector.select()
                    begun = time.monotonic()
                    if not reader.read():
                        return False
                    prompt = prompt + 1 if time.monotonic() - begun < self._max_read_seconds else 0
        except Exception as error:
            reader.fail(error)
            return False
        return True

    def _return(self, reader: _Reader, goes_on: bool) -> None:
        """Let the leader read the stream again, or forget it if it has ended."""
        failure: Exception | None = None
        with self._lock:
            poll = self._poll
            if poll is None:  # this is a forked process
                return
            if goes_on:
                try:
                    poll.watch(reader)
                    return
                except Exception as error:
                    failure = error
            self._size -= 1
            poll.wake()  # this may have been the last stream
        if failure is not None:
            reader.fail(failure)

    def _wait(self) -> None:
        """Wait for readable sockets. If that fails, all streams do."""
        poll = self._poll
        if poll is None:
            return
        try:
            ready = poll.wait()
        except Exception as error:
            with self._lock:
                failed = poll.readers()
                for reader in failed:
                    self._remove(reader)
            for reader in failed:
                try:
                    reader.fail(error)
                except Exception:
                    report_exception()
        else:
            self._ready.extend(ready)

    def _follow(self) -> None:
        """Take over as the leader when the leader is slow in one read; return when no stream is left."""
        seen = self._reads
        while True:
            time.sleep(self._patience)
            with self._lock:
                if not self._term:
                    self._has_follower = False
                    return
                slow = self._current
                if self._poll is not None and slow is not None and seen == self._reads:
                    self._poll.drop(slow)
                    self._current = None
                    self._term = term = next(self._terms)
                    self._has_follower = False
                    self._patience = self._max_read_seconds / _HURRY
                    break
                seen, self._patience = self._reads, self._max_read_seconds
        self._start_follower()
        self._lead(term)


class _Reader(NamedTuple):
    """One stream, and its socket."""

    fd: int
    read: Callable[[], bool]
    fail: Callable[[Exception], None]


class _Poll:
    """The sockets that are watched. Only the leader may call `wait`; the caller of the others must hold the lock."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        try:
            self._woken, self._waker = socket.socketpair()
        except OSError:
            self._selector.close()
            raise
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)

    def wake(self) -> None:
        """Make `wait` return soon."""
        with contextlib.suppress(BlockingIOError):  # a full buffer wakes it as well
            self._waker.send(b"\0")

    def watch(self, reader: _Reader) -> None:
        """Watch a socket from now on, also in a `wait` that has begun."""
        if reader.fd in self._selector.get_map():  # of a socket that was closed, or left by its stream
            self._selector.unregister(reader.fd)
        self._selector.register(reader.fd, selectors.EVENT_READ, reader)
        if not SELECTS_WHAT_IS_ADDED:
            self.wake()

    def readers(self) -> list[_Reader]:
        return [key.data for key in self._selector.get_map().values() if key.data is not None]

    def wait(self) -> list[_Reader]:
        """Block until a socket is readable, or `wake` is called; return the readers of the readable ones."""
        readable = [key.data for key, _ in self._selector.select()]
        if None in readable:
            with contextlib.suppress(BlockingIOError):
                self._woken.recv(4096)
        return [reader for reader in readable if reader is not None]

    def drop(self, reader: _Reader) -> None:
        """Watch this one no longer. Its socket may have been closed already, and its descriptor be another's."""
        key = self._selector.get_map().get(reader.fd)
        if key is not None and key.data is reader:
            self._selector.unregister(reader.fd)

    def close(self) -> None:
        """Close the descriptors."""
        self._selector.close()
        self._woken.close()
        self._waker.close()
