"""Admission: a few requests start at once, none while something is more urgent, and all of them in the end."""

from __future__ import annotations

import threading

import pytest

from rxllm._runtime import admission as module
from rxllm._runtime.admission import Admission
from rxllm._runtime.deadlines import Watchdog

from ..raw_server import LIMIT


class Started:
    """The requests that have started, and those that could not, in order."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.failed: list[str] = []
        self.one = threading.Semaphore(0)

    def submit(self, admission: Admission, *names: str) -> None:
        for name in names:
            admission.submit(name, lambda name=name: self.note(name), lambda _, name=name: self.failed.append(name))

    def note(self, name: str) -> None:
        self.names.append(name)
        self.one.release()


def test_a_few_start_and_the_others_follow_in_order() -> None:
    """Releasing one starts the next; releasing twice, or an unknown request, changes nothing."""
    admission, started = Admission(lambda: False), Started()
    names = [str(number) for number in range(module._MAX_STARTING + 2)]
    started.submit(admission, *names)
    assert started.names == names[: module._MAX_STARTING]
    admission.release("unknown")
    admission.release(names[0])
    admission.release(names[0])
    assert started.names == names[: module._MAX_STARTING + 1]
    admission.release(names[1])
    assert started.names == names


def test_none_starts_while_something_is_more_urgent() -> None:
    """They start when that is over."""
    busy = True
    admission, started = Admission(lambda: busy), Started()
    started.submit(admission, "a")
    admission.release("unknown")
    assert started.names == []
    busy = False
    admission.admit()
    assert started.names == ["a"]


def test_every_request_starts_in_the_end() -> None:
    """Neither a request that stays in its starting phase, nor something urgent, can prevent it."""
    for busy in (False, True):
        admission, started = Admission(lambda busy=busy: busy, Watchdog()), Started()
        names = [str(number) for number in range(3 * module._MAX_STARTING)]
        started.submit(admission, *names)
        for _ in names:
            assert started.one.acquire(timeout=LIMIT)
        assert started.names == names


def test_a_request_that_cannot_start_fails_and_the_others_go_on() -> None:
    """Its place is free again, however many fail."""
    admission, started = Admission(lambda: False), Started()

    def refuse() -> None:
        raise RuntimeError("can't start new thread")

    for number in range(3 * module._MAX_STARTING):
        admission.submit(number, refuse, lambda error, number=number: started.failed.append(f"{number}: {error}"))
    started.submit(admission, "a")
    assert started.failed == [f"{number}: can't start new thread" for number in range(3 * module._MAX_STARTING)]
    assert started.names == ["a"]


def test_without_a_watchdog_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing would limit the waiting."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    admission, started = Admission(lambda: False, Watchdog()), Started()
    names = [str(number) for number in range(3 * module._MAX_STARTING)]
    started.submit(admission, *names)
    assert started.names == names
