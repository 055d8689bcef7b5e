"""Admission: a few requests start at once, none while something is more urgent, and all of them in the end."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from rxllm._runtime import admission as module
from rxllm._runtime.admission import Admission
from rxllm._runtime.deadlines import Watchdog
from rxllm._runtime.thread_cache import Task

from ..raw_server import LIMIT


class Started:
    """The requests that have started, and those that could not, in order."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.failed: list[str] = []
        self.one = threading.Semaphore(0)

    def submit(self, admission: Admission, *names: str) -> None:
        for name in names:
            admission.submit(name, name, lambda: None, lambda _, name=name: self.failed.append(name))

    def run(self, name: str, _: Task) -> None:
        self.names.append(name)
        self.one.release()


def test_a_few_start_and_the_others_follow_in_order() -> None:
    """Releasing one starts the next; releasing twice, or an unknown request, changes nothing."""
    started = Started()
    admission = Admission(lambda: False, started.run)
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
    started = Started()
    admission = Admission(lambda: busy, started.run)
    started.submit(admission, "a")
    admission.release("unknown")
    assert started.names == []
    busy = False
    admission.admit()
    assert started.names == ["a"]


def test_a_thread_that_started_one_starts_the_next() -> None:
    """In their order, unless something is more urgent."""
    busy, started = False, Started()
    admission = Admission(lambda: busy, started.run)
    names = [str(number) for number in range(module._MAX_STARTING + 3)]
    tasks = {name: partial(str, name) for name in names}
    for name in names:
        admission.submit(name, name, tasks[name], lambda _: None)
    assert admission.next_task(names[0]) is tasks[names[module._MAX_STARTING]]
    assert admission.next_task("unknown") is None
    busy = True
    assert admission.next_task(names[1]) is None
    busy = False
    admission.admit()
    assert started.names == [*names[: module._MAX_STARTING], names[module._MAX_STARTING + 1]]


def test_every_request_starts_in_the_end() -> None:
    """Neither a request that stays in its starting phase, nor something urgent, can prevent it."""
    for busy in (False, True):
        started = Started()
        admission = Admission(lambda busy=busy: busy, started.run, Watchdog())
        names = [str(number) for number in range(3 * module._MAX_STARTING)]
        started.submit(admission, *names)
        for _ in names:
            assert started.one.acquire(timeout=LIMIT)
        assert started.names == names


def test_a_request_that_finds_no_room_after_all_starts_in_the_end() -> None:
    """Another thread may have taken the room, or something urgent come, since it was submitted."""
    started, busy = Started(), iter([False])
    admission = Admission(lambda: next(busy, True), started.run, Watchdog())
    started.submit(admission, "a")
    assert started.one.acquire(timeout=LIMIT)


def test_a_request_that_cannot_start_fails_and_the_others_go_on() -> None:
    """Its place is free again, however many fail."""
    started = Started()

    def refuse(name: str, task: Task) -> None:
        if name != "a":
            raise RuntimeError("can't start new thread")
        started.run(name, task)

    admission = Admission(lambda: False, refuse)
    for number in range(3 * module._MAX_STARTING):
        failed = partial(lambda number, error: started.failed.append(f"{number}: {error}"), number)
        admission.submit(number, str(number), lambda: None, failed)
    started.submit(admission, "a")
    assert started.failed == [f"{number}: can't start new thread" for number in range(3 * module._MAX_STARTING)]
    assert started.names == ["a"]


@pytest.mark.parametrize("busy", [False, True])
def test_without_a_watchdog_nothing_waits(busy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing would limit the waiting, also while something is more urgent."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    started = Started()
    admission = Admission(lambda: busy, started.run, Watchdog())
    names = [str(number) for number in range(3 * module._MAX_STARTING)]
    started.submit(admission, *names)
    assert started.names == names
