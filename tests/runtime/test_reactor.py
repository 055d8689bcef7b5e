"""The reactor: a stream is read when its socket is readable, and a slow stream delays no other."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from rxllm._runtime import platform
from rxllm._runtime.reactor import _HURRY, _PROMPT_READS, Reactor, _Poll
from rxllm._runtime.thread_cache import Workers

from ..raw_server import LIMIT


class Reader:
    """One end of a socket pair that is read until its peer closes."""

    def __init__(self, before: Callable[[], object] = lambda: None) -> None:
        self.mine, self.peer = socket.socketpair()
        self.got: list[bytes] = []
        self.threads: list[str] = []
        self.came = threading.Semaphore(0)
        self.ended = threading.Event()
        self.failure: Exception | None = None
        self._before = before

    def read(self) -> bool:
        data = self.mine.recv(100)
        self._before()
        self.threads.append(threading.current_thread().name)
        if not data:
            self.mine.close()
            self.ended.set()
            return False
        self.got.append(data)
        self.came.release()
        return True

    def fail(self, error: Exception) -> None:
        self.failure = error
        self.mine.close()
        self.ended.set()

    def say(self, data: bytes) -> None:
        """Send, and wait until it was read."""
        self.peer.send(data)
        assert self.came.acquire(timeout=LIMIT)


@pytest.fixture
def reactor() -> Reactor:
    return Reactor(lambda: None, Workers(), max_read_seconds=0.01)


def add(reactor: Reactor, reader: Reader) -> None:
    """Add a reader on a thread of its own, which may become the leader."""
    added = threading.Event()

    def work() -> None:
        lead = reactor.add(reader.mine.fileno(), reader.read, reader.fail)
        added.set()
        if lead is not None:
            lead()

    threading.Thread(target=work, name="rxllm-idle-adding", daemon=True).start()
    assert added.wait(LIMIT)


@contextmanager
def readers(reactor: Reactor, *several: Reader) -> Iterator[None]:
    """Have the reactor read for them, and end them all."""
    for reader in several:
        add(reactor, reader)
    with ExitStack() as peers:
        for reader in several:
            peers.enter_context(reader.peer)
        yield
    for reader in several:
        assert reader.ended.wait(LIMIT)


def test_each_stream_is_read_when_it_is_readable(reactor: Reactor) -> None:
    """In any order, as often as there is something, to its end."""
    first, second = Reader(), Reader()
    with readers(reactor, first, second):
        first.say(b"a")
        second.say(b"b")
        first.say(b"c")
    assert (first.got, second.got) == ([b"a", b"c"], [b"b"])
    assert all(name.startswith("rxllm-reactor-") for name in first.threads + second.threads)


def test_a_socket_that_is_readable_when_added_is_read(reactor: Reactor) -> None:
    """It needs no further data."""
    reader = Reader()
    reader.peer.send(b"early")
    with readers(reactor, reader):
        assert reader.came.acquire(timeout=LIMIT)
    assert reader.got == [b"early"]


def test_reads_of_one_stream_never_overlap(reactor: Reactor) -> None:
    """A slow stream is read again only after its last read has returned, whatever arrives meanwhile."""
    inside = threading.Lock()
    release = threading.Event()

    def alone() -> None:
        assert inside.acquire(blocking=False)
        release.wait(LIMIT)
        inside.release()

    slow, other = Reader(alone), Reader()
    with readers(reactor, slow, other):
        slow.peer.send(b"1")
        other.say(b"a")
        slow.peer.send(b"2")
        other.say(b"b")
        assert slow.got == []
        release.set()
        assert slow.came.acquire(timeout=LIMIT)
    assert b"".join(slow.got) == b"12"


def test_streams_that_block_delay_no_other(reactor: Reactor) -> None:
    """However many block."""
    release = threading.Event()
    held_up = [Reader(lambda: release.wait(LIMIT)) for _ in range(20)]
    free = Reader()
    with readers(reactor, *held_up, free):
        for reader in held_up:
            reader.peer.send(b"x")
        for _ in range(3):
            free.say(b"y")
        assert [reader.got for reader in held_up] == [[]] * 20
        release.set()
        for reader in held_up:
            assert reader.came.acquire(timeout=LIMIT)
            reader.say(b"again")
    assert len(free.got) == 3


def test_after_a_slow_stream_the_next_one_is_left_sooner(reactor: Reactor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a hundred slow ones, one after the other, would delay the others for seconds."""
    periods: list[float] = []
    sleep = time.sleep

    def note(seconds: float) -> None:
        periods.append(seconds)
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", note)
    release = threading.Event()
    slow, free = Reader(lambda: release.wait(LIMIT)), Reader()
    with readers(reactor, slow, free):
        slow.peer.send(b"x")
        free.say(b"y")
        release.set()
    assert periods[0] == 0.01
    assert 0.01 / _HURRY in periods


def test_a_slow_stream_is_read_alone_until_it_is_prompt_again() -> None:
    """Then the leader reads it again."""
    reactor = Reactor(lambda: None, Workers(), max_read_seconds=0.3)
    release = threading.Event()
    slow, other = Reader(lambda: release.wait(LIMIT)), Reader()
    with readers(reactor, slow, other):
        slow.peer.send(b"x")
        other.say(b"a")
        release.set()
        assert slow.came.acquire(timeout=LIMIT)
        for _ in range(_PROMPT_READS):
            slow.say(b"y")
        own, leading = slow.threads[0], other.threads[-1]
        assert slow.threads == [own] * (1 + _PROMPT_READS)
        assert own != leading
        other.say(b"b")
        slow.say(b"z")
        assert other.threads[-1] == slow.threads[-1]


def test_a_slow_stream_that_ends_is_removed(reactor: Reactor) -> None:
    """With the last stream the reactor ends too."""
    release = threading.Event()
    slow, other = Reader(lambda: release.wait(LIMIT)), Reader()
    with readers(reactor, slow, other):
        slow.peer.close()
        other.say(b"a")
        release.set()
    assert slow.ended.is_set()


def test_its_threads_end_and_it_starts_again() -> None:
    """With the last stream it closes its descriptors; the next one opens new ones."""
    threads = Workers()
    reactor = Reactor(lambda: None, threads, max_read_seconds=0.01)
    for _ in range(3):
        reader = Reader()
        with readers(reactor, reader):
            reader.say(b"a")
    mine = [thread for thread in threading.enumerate() if thread.name.startswith(("rxllm-reactor", "rxllm-idle"))]
    for thread in mine:
        thread.join(LIMIT)
        assert not thread.is_alive()
    assert reactor._poll is None


def test_it_reports_when_it_is_idle() -> None:
    """Not while sockets are readable."""
    told = threading.Semaphore(0)
    while_busy: list[bool] = []
    reactor = Reactor(told.release, Workers())
    reader = Reader(lambda: while_busy.append(reactor.is_busy))
    with readers(reactor, reader):
        reader.say(b"a")
        assert told.acquire(timeout=LIMIT)
    assert set(while_busy) == {True}


def test_without_descriptors_nothing_is_added(reactor: Reactor, monkeypatch: pytest.MonkeyPatch) -> None:
    """`add` raises, and the next stream finds the reactor ready."""

    def refuse() -> None:
        raise OSError(24, "Too many open files")

    reader = Reader()
    with monkeypatch.context() as patched:
        patched.setattr("rxllm._runtime.reactor.open_poll", refuse)
        with pytest.raises(OSError, match="Too many"):
            reactor.add(reader.mine.fileno(), reader.read, reader.fail)
    with readers(reactor, reader):
        reader.say(b"a")


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="only epoll refuses a plain file")
def test_a_socket_that_cannot_be_watched_is_not_added(reactor: Reactor) -> None:
    """`add` raises; the others are read, and without others the reactor keeps nothing."""
    other = Reader()
    with Path(__file__).open() as file:  # a plain file cannot be watched
        with pytest.raises(OSError, match="cannot be watched"):
            reactor.add(file.fileno(), other.read, other.fail)
        assert reactor._poll is None
        with readers(reactor, other):
            with pytest.raises(OSError, match="cannot be watched"):
                reactor.add(file.fileno(), other.read, other.fail)
            other.say(b"a")


def test_a_descriptor_that_is_used_again_is_another_socket(reactor: Reactor) -> None:
    """Even if its new owner adds it before the reactor has forgotten the old one."""
    other, new = Reader(), Reader()
    fd = 0

    def read_and_replace() -> bool:
        """End, and give the descriptor to a socket that is added at once."""
        old.mine.close()
        new.mine = new.mine if new.mine.fileno() == fd else moved(new.mine, fd)
        assert reactor.add(fd, new.read, new.fail) is None
        return False

    def moved(sock: socket.socket, fd: int) -> socket.socket:
        os.dup2(sock.fileno(), fd)
        sock.close()
        return socket.socket(fileno=fd)

    old = Reader()
    fd = old.mine.fileno()
    with readers(reactor, other), old.peer, new.peer:
        assert reactor.add(fd, read_and_replace, old.fail) is None
        old.peer.send(b"x")
        new.say(b"a")
        other.say(b"b")
        new.say(b"c")
        new.peer.close()
        assert new.ended.wait(LIMIT)


def test_a_closed_socket_that_a_forked_process_keeps_open_is_not_read_for_ever() -> None:
    """The selector goes on to report it, as the file behind the descriptor is open."""
    turns = 0

    def count() -> None:
        nonlocal turns
        turns += 1

    reactor = Reactor(count, Workers())
    ended, other = Reader(), Reader()
    with readers(reactor, other):
        add(reactor, ended)
        kept = os.dup(ended.mine.fileno())  # as in a forked process
        ended.peer.close()
        assert ended.ended.wait(LIMIT)
        other.say(b"a")
        before = turns
        threading.Event().wait(0.2)
        other.say(b"b")
        assert turns - before < 10
    os.close(kept)


def test_nor_if_another_stream_has_got_its_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the reactor forgot the closed one."""
    monkeypatch.setattr("rxllm._runtime.platform.has_forked", True)
    turns = 0

    def count() -> None:
        nonlocal turns
        turns += 1

    reactor = Reactor(count, Workers())
    other, old, new = Reader(), Reader(), Reader()
    fd, kept = old.mine.fileno(), os.dup(old.mine.fileno())  # as in a forked process

    def read_and_replace() -> bool:
        old.mine.close()
        os.dup2(new.mine.fileno(), fd)
        new.mine.close()
        new.mine = socket.socket(fileno=fd)
        new.mine.setblocking(False)
        assert reactor.add(fd, read_new, new.fail) is None
        return False

    def read_new() -> bool:
        try:
            return new.read()
        except BlockingIOError:
            return True

    with readers(reactor, other), new.peer:
        assert reactor.add(fd, read_and_replace, old.fail) is None
        old.peer.close()
        new.say(b"a")
        before = turns
        threading.Event().wait(0.2)
        new.say(b"b")
        assert turns - before < 10
        new.peer.close()
        assert new.ended.wait(LIMIT)
        other.say(b"c")
        assert reactor._size == 1
    os.close(kept)


def test_a_closed_selector_is_replaced_while_a_subscriber_blocks(reactor: Reactor) -> None:
    """Otherwise the leader would fail to wait, again and again, until that one returns."""
    blocked, release = threading.Event(), threading.Event()
    slow, other, after = Reader(lambda: (blocked.set(), release.wait(LIMIT))), Reader(), Reader()
    with readers(reactor, slow):
        slow.peer.send(b"x")
        assert blocked.wait(LIMIT)
        add(reactor, other)
        other.say(b"a")  # another thread leads
        poll: Any = reactor._poll
        poll._poll.close()
        with contextlib.suppress(BrokenPipeError):  # the leader has failed before it could wait
            other.peer.send(b"b")
        assert other.ended.wait(LIMIT)
        other.peer.close()
        with readers(reactor, after):
            after.say(b"c")
        release.set()
    assert slow.failure is None


def test_if_nothing_can_be_watched_all_streams_fail(reactor: Reactor, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the reactor works again for the next ones."""

    def refuse(*_: object) -> list[object]:
        raise OSError(9, "Bad file descriptor")

    first, second = Reader(), Reader()
    with monkeypatch.context() as patched:
        patched.setattr("rxllm._runtime.reactor._Poll.wait", refuse)
        for reader in (first, second):
            add(reactor, reader)
            assert reader.ended.wait(LIMIT)
            reader.peer.close()
    third = Reader()
    with readers(reactor, third):
        third.say(b"a")
    assert isinstance(first.failure, OSError)
    assert isinstance(second.failure, OSError)


def test_if_all_streams_fail_one_that_is_slow_to_end_delays_no_other(
    reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its on_error may ask again and wait for the answer, which the same reactor reads."""
    wait = _Poll.wait
    is_broken = threading.Event()

    def refuse_once(self: _Poll) -> Any:
        if is_broken.is_set():
            is_broken.clear()
            raise OSError(9, "Bad file descriptor")
        return wait(self)

    monkeypatch.setattr(_Poll, "wait", refuse_once)
    ended = threading.Semaphore(0)

    class Asking(Reader):
        def fail(self, error: Exception) -> None:
            super().fail(error)
            self.peer.close()
            again = Reader()
            with readers(reactor, again):
                again.say(b"a")
            ended.release()

    several = [Asking(is_broken.set) for _ in range(3)]
    for reader in several:
        add(reactor, reader)
    several[0].peer.send(b"x")
    for _ in several:
        assert ended.acquire(timeout=LIMIT)


@pytest.mark.parametrize("when", ["while it waits", "while it reads"])
def test_a_closed_selector_fails_its_streams(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a program closes all descriptors; the reactor works again for the next ones."""

    class ClosedByTheProgram:
        """The first selector: a wait that has begun reports what has come though it is closed meanwhile."""

        def __init__(self) -> None:
            monkeypatch.undo()
            self._poll = platform.open_poll()
            self.close, self.register, self.unregister = self._poll.close, self._poll.register, self._poll.unregister

        def poll(self, seconds: float) -> Any:
            events = self._poll.poll(seconds)
            if events and when == "while it waits":
                self._poll.close()
            return events

    monkeypatch.setattr("rxllm._runtime.reactor.open_poll", ClosedByTheProgram)
    reactor = Reactor(lambda: None, Workers(), max_read_seconds=5)  # no other thread takes over
    poll: Any = None
    first, second = Reader(lambda: poll.close() if when == "while it reads" else None), Reader()
    add(reactor, first)
    assert reactor._poll is not None
    poll = reactor._poll._poll
    add(reactor, second)
    first.say(b"a")
    assert first.ended.wait(LIMIT)
    assert second.ended.wait(LIMIT)
    assert first.got == [b"a"]
    assert [ValueError] * 2 == [type(reader.failure) for reader in (first, second)]
    first.peer.close()
    second.peer.close()
    third = Reader()
    with readers(reactor, third):
        third.say(b"a")


@pytest.mark.parametrize("failures", [1, 5, None])
def test_without_a_follower_all_streams_are_read(failures: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that cannot be started, once, five times, or ever, cost promptness but no stream."""
    workers, start = Workers(), Workers.run
    refused = 0

    def refuse(self: Workers, name: str, task: Callable[[], None]) -> None:
        nonlocal refused
        refused += 1
        if failures is None or refused <= failures:
            raise RuntimeError("can't start new thread")
        start(self, name, task)

    monkeypatch.setattr(Workers, "run", refuse)
    reactor = Reactor(lambda: None, workers, max_read_seconds=0.01)
    several = [Reader() for _ in range(5)]
    with readers(reactor, *several):
        for reader in several:
            reader.say(b"a")
    assert refused > 0
