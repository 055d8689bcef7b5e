"""The timer: all delays wait on one thread, and what follows them runs on others."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from reactivex.disposable import Disposable

from rxllm._core.scheduling import TimerScheduler
from rxllm._runtime.thread_cache import Workers

from ..raw_server import LIMIT


def test_delays_share_one_thread() -> None:
    """However many wait."""
    before = set(threading.enumerate())
    waiting = [TimerScheduler().schedule_relative(60, lambda *_: None) for _ in range(200)]
    started = {thread.name for thread in set(threading.enumerate()) - before}
    for each in waiting:
        each.dispose()
    assert started <= {"rxllm-watchdog"}


@pytest.mark.parametrize("delay", [0.02, timedelta(milliseconds=20), 0, -1])
def test_an_action_that_blocks_delays_no_other(delay: float | timedelta) -> None:
    """Each runs on a thread of its own."""
    second, ended = threading.Event(), threading.Event()
    states: list[object] = []

    def block(_: object, state: object) -> None:
        states.append(state)
        assert second.wait(LIMIT)
        ended.set()

    TimerScheduler().schedule_relative(delay, block, "state")
    TimerScheduler().schedule_relative(0.05, lambda *_: second.set())
    assert ended.wait(LIMIT)
    assert states == ["state"]


def test_a_disposed_delay_runs_nothing() -> None:
    """And what an action returned is disposed after it has run."""
    ran: list[str] = []
    later, disposed = threading.Event(), threading.Event()
    TimerScheduler().schedule_relative(0.02, lambda *_: ran.append("disposed")).dispose()

    def act(*_: object) -> Disposable:
        later.set()
        return Disposable(disposed.set)

    kept = TimerScheduler().schedule_relative(0.05, act)
    assert later.wait(LIMIT)
    kept.dispose()
    assert disposed.wait(LIMIT)
    assert ran == []


def test_without_a_thread_the_action_still_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the one that waited; an exception of it goes to the hook, and the next action runs."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    def fail(*_: object) -> None:
        raise ValueError("broken")

    monkeypatch.setattr(Workers, "run", refuse)
    reported: list[type[BaseException] | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: reported.append(args.exc_type))
    ran = threading.Event()
    TimerScheduler().schedule_relative(0.01, fail)
    TimerScheduler().schedule_relative(0.02, lambda *_: ran.set())
    assert ran.wait(LIMIT)
    assert reported == [ValueError]
