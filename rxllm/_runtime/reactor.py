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
import contextvars
import itertools
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from . import platform
from .platform import POLL_SECONDS, READABLE, after_fork, max_selected_sockets, open_poll, small_selector
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
    _turn: list[_Reader] | None = None
    """What the leader is reading: one reader or none. None if there is no leader.

    Both ends of a turn are one atomic act of a list. If the follower removes the reader, it leads, with a new list.
    """

    def __init__(
        self, on_idle: Callable[[], None], threads: Workers = workers, max_read_seconds: float = _MAX_READ_SECONDS
    ) -> None:
        self.is_busy = False
        """A socket is readable that has not been read."""
        self._on_idle = on_idle
        self._threads = threads
        self._max_read_seconds = max_read_seconds
        self._check_seconds = max_read_seconds
        """After so long the follower checks the leader next; less after it has taken over from a slow one."""
        self._thread_numbers = itertools.count(1)
        self._reset()
        after_fork(self._reset)

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._poll = None
        self._ready = deque()
        if self._turn is not None:
            self._turn.clear()  # a forked process has no leader: this thread reads on for itself
        self._turn = None
        self._reads = self._size = 0
        self._has_follower = self.is_busy = False

    def add(self, fd: int, read: Callable[[], bool], fail: Callable[[Exception], None]) -> Callable[[], None] | None:
        """Call `read` whenever the socket `fd` is readable, until it returns False.

        Returns None; or, if there is no leader, a function that the calling thread must call: it becomes the leader,
        which blocks until another thread leads, or no streams are left.

        Args:
            fd: The socket's descriptor; it must stay open until `read` returns False.
            read: Reads once, in a copy of the caller's context. It must raise nothing.
            fail: Called instead of `read`, once, if the socket can be watched no longer. It must raise nothing.

        Raises:
            OSError: The socket cannot be watched, the selector is full, or the reactor has no descriptors for itself.
                The stream was not added.
        """
        with self._lock:
            if self._size >= max_selected_sockets():
                raise OSError("the selector watches as many sockets as it can")
            poll = self._poll or _Poll(self._lock)
            try:
                poll.watch(_Reader(fd, contextvars.copy_context(), read, fail))
            except Exception as error:
                if self._poll is None:
                    poll.close()
                raise OSError(f"the socket cannot be watched: {error}") from error
            self._poll = poll
            self._size += 1
            lead = None
            if self._turn is None:
                self._turn = []
                lead = partial(self._lead, self._turn)
        self._start_follower()
        return lead

    def _start_follower(self) -> None:
        """Start a follower if there is none: the thread that reads on when the leader is busy with one stream.

        Without one, a slow stream delays the others, but nothing is lost.
        """
        with self._lock:
            if self._has_follower:
                return
            self._has_follower = True
        try:
            self._threads.run(f"rxllm-reactor-{next(self._thread_numbers)}", self._follow)
        except Exception:
            self._has_follower = False

    def _lead(self, turn: list[_Reader]) -> None:
        """Read the streams until another thread leads, or no streams are left.

        Another thread leads if one read took so long that it took over. This thread then reads that slow stream alone.
        """
        threading.current_thread().name = f"rxllm-reactor-{next(self._thread_numbers)}"
        ready = self._ready
        while True:
            if not ready:
                if self._wait():
                    continue
                return
            reader = ready.popleft()
            turn.append(reader)
            self._reads += 1
            goes_on = reader.context.run(reader.read)
            try:
                turn.pop()
            except IndexError:
                break
            if not goes_on:
                with self._lock:
                    self._size -= 1
                    if self._poll is not None:
                        self._poll.drop(reader)
        self._return(reader, goes_on and self._read_alone(reader))

    def _read_alone(self, reader: _Reader) -> bool:
        """Read a slow stream on this thread until it was prompt three times in a row. Return False if it ended."""
        prompt = 0
        try:
            with small_selector() as selector:
                selector.register(reader.fd, selectors.EVENT_READ)
                while prompt < _PROMPT_READS:
                    selector.select()
                    begun = time.monotonic()
                    if not reader.context.run(reader.read):
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
        if failure is not None:
            reader.fail(failure)

    def _wait(self) -> bool:
        """Wait for readable sockets. If that fails, all streams do. Return False if there are no streams."""
        self.is_busy = False
        self._on_idle()
        if not self._has_follower:
            self._start_follower()
        poll = self._poll
        if poll is None or (not self._size and self._end(poll)):
            return False
        try:
            self._ready.extend(poll.wait())
        except Exception as error:
            with self._lock:
                for reader in tuple(poll.readers.values()):
                    poll.drop(reader)
                    self._ready.append(reader._replace(read=partial(_fail, reader, error)))  # it may block there
                poll.reopen()
        self.is_busy = True
        return True

    def _end(self, poll: _Poll) -> bool:
        """End the reactor's work unless a stream has just come; return whether it has ended."""
        with self._lock:
            if self._size:
                return False
            self._turn = self._poll = None
            poll.close()
            return True

    def _follow(self) -> None:
        """Take over as the leader when the leader is slow in one read; return when no stream is left."""
        seen = self._reads
        while True:
            time.sleep(self._check_seconds)
            with self._lock:
                if self._turn is None or self._poll is None:
                    self._has_follower = False
                    return
                if self._turn and seen == self._reads:
                    with contextlib.suppress(IndexError):  # it has just ended its turn
                        self._poll.drop(self._turn.pop())
                        self._turn = turn = list[_Reader]()
                        self._has_follower = False
                        self._check_seconds = self._max_read_seconds / _HURRY
                        break
                seen, self._check_seconds = self._reads, self._max_read_seconds
        self._start_follower()
        self._lead(turn)


class _Reader(NamedTuple):
    """One stream, and its socket."""

    fd: int
    context: contextvars.Context
    read: Callable[[], bool]
    fail: Callable[[Exception], None]


def _fail(reader: _Reader, error: Exception) -> bool:
    """End a stream. Return False: it is not read again."""
    reader.fail(error)
    return False


class _Poll:
    """The sockets that are watched. Only the leader may call `wait`; the caller of the others must hold `lock`."""

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._poll = open_poll()
        self.readers: dict[int, _Reader] = {}
        """By the descriptor of the socket."""

    def watch(self, reader: _Reader) -> None:
        """Watch a socket from now on, also in a `wait` that has begun."""
        self.readers[reader.fd] = reader
        try:
            self._poll.register(reader.fd, READABLE)
        except FileExistsError:  # its stream has left it
            pass
        except BaseException:
            del self.readers[reader.fd]
            raise

    def wait(self) -> list[_Reader]:
        """Block until a socket is readable, but not for long; return the readers of the readable ones."""
        readers, events = self.readers, self._poll.poll(POLL_SECONDS)
        try:
            return [readers[fd] for fd, _ in events]
        except KeyError:
            with self._lock:
                self.reopen()
            return [readers[fd] for fd, _ in events if fd in readers]

    def reopen(self) -> None:
        """Forget closed sockets that a forked process has open: they would be reported for ever, under any name."""
        try:
            new = open_poll()
            for fd in self.readers:
                new.register(fd, READABLE)
        except OSError:  # no descriptor: until there is one, the old selector costs time, but no stream
            return
        self._poll.close()
        self._poll = new

    def drop(self, reader: _Reader) -> None:
        """Watch this one no longer. Its socket may have been closed already, and its descriptor be another's."""
        if self.readers.get(reader.fd) is reader:
            del self.readers[reader.fd]
            with contextlib.suppress(OSError, ValueError):  # the socket, or the selector, is closed
                self._poll.unregister(reader.fd)
                return
        if platform.has_forked:
            self.reopen()

    def close(self) -> None:
        """Close the selector's descriptor."""
        self._poll.close()
