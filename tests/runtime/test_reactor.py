"""The reactor: whoever's socket is readable is read, and nobody is held up by another."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from rxllm._runtime.reactor import _PROMPT_TURNS, Reactor
from rxllm._runtime.thread_cache import Workers

from ..raw_server import LIMIT


class Reader:
    """One end of a socket pair that is read in turns, until its peer closes."""

    def __init__(self, before: Callable[[], object] = lambda: None) -> None:
        self.mine, self.peer = socket.socketpair()
        self.got: list[bytes] = []
        self.threads: list[str] = []
        self.came = threading.Semaphore(0)
        self.ended = threading.Event()
        self._before = before

    def turn(self) -> bool:
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

    def say(self, data: bytes) -> None:
        """Send, and wait until it was read."""
        self.peer.send(data)
        assert self.came.acquire(timeout=LIMIT)


@pytest.fixture
def reactor() -> Reactor:
    return Reactor(lambda: None, Workers(), patience=0.01)


@contextmanager
def readers(reactor: Reactor, *several: Reader) -> Iterator[None]:
    """Have the reactor read for them, and end them all."""
    for reader in several:
        reactor.add(reader.mine.fileno(), reader.turn)
    with ExitStack() as peers:
        for reader in several:
            peers.enter_context(reader.peer)
        yield
    for reader in several:
        assert reader.ended.wait(LIMIT)


def test_each_is_read_when_it_has_something(reactor: Reactor) -> None:
    """In any order, as often as there is something, and told of the end."""
    first, second = Reader(), Reader()
    with readers(reactor, first, second):
        first.say(b"a")
        second.say(b"b")
        first.say(b"c")
    assert (first.got, second.got) == ([b"a", b"c"], [b"b"])
    assert all(name.startswith("rxllm-reactor-") for name in first.threads + second.threads)


def test_what_came_before_is_read_at_once(reactor: Reactor) -> None:
    """A socket that is readable when it is added has its turn."""
    reader = Reader()
    reader.peer.send(b"early")
    with readers(reactor, reader):
        assert reader.came.acquire(timeout=LIMIT)
    assert reader.got == [b"early"]


def test_turns_of_one_never_overlap(reactor: Reactor) -> None:
    """Whoever is held up has its next turn only when the last one is over, whatever comes meanwhile."""
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


def test_however_many_block_the_others_are_read(reactor: Reactor) -> None:
    """Each one that is held up holds up nobody but itself."""
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


def test_whoever_was_held_up_is_alone_until_it_is_prompt_again() -> None:
    """One that is slow at every turn holds up the others once; one that was slow once comes back to them."""
    reactor = Reactor(lambda: None, Workers(), patience=0.3)
    release = threading.Event()
    slow, other = Reader(lambda: release.wait(LIMIT)), Reader()
    with readers(reactor, slow, other):
        slow.peer.send(b"x")
        other.say(b"a")
        release.set()
        assert slow.came.acquire(timeout=LIMIT)
        for _ in range(_PROMPT_TURNS):
            slow.say(b"y")
        own, leading = slow.threads[0], other.threads[-1]
        assert slow.threads == [own] * (1 + _PROMPT_TURNS)
        assert own != leading
        other.say(b"b")
        slow.say(b"z")
        assert other.threads[-1] == slow.threads[-1]


def test_those_who_end_while_they_are_held_up_are_gone(reactor: Reactor) -> None:
    """The end of a held-up reader is the end of it, and of the reactor if it was the last."""
    release = threading.Event()
    slow, other = Reader(lambda: release.wait(LIMIT)), Reader()
    with readers(reactor, slow, other):
        slow.peer.close()
        other.say(b"a")
        release.set()
    assert slow.ended.is_set()


def test_its_threads_end_and_it_begins_again() -> None:
    """With the last reader it closes what it opened; the next one finds it ready."""
    threads = Workers()
    reactor = Reactor(lambda: None, threads, patience=0.01)
    for _ in range(3):
        reader = Reader()
        with readers(reactor, reader):
            reader.say(b"a")
    mine = [thread for thread in threading.enumerate() if thread.name.startswith(("rxllm-reactor", "rxllm-idle"))]
    for thread in mine:
        thread.join(LIMIT)
        assert not thread.is_alive()
    assert reactor._poll is None


def test_it_says_when_it_is_idle() -> None:
    """Whoever waits for a quiet moment is told, and is not told while sockets wait to be read."""
    told = threading.Semaphore(0)
    while_busy: list[bool] = []
    reactor = Reactor(told.release, Workers())
    reader = Reader(lambda: while_busy.append(reactor.busy))
    with readers(reactor, reader):
        reader.say(b"a")
        assert told.acquire(timeout=LIMIT)
    assert set(while_busy) == {True}
