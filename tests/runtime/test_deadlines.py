"""The watchdog: limits that pass are reported, limits that move are kept, and the thread ends."""

from __future__ import annotations

import math
import threading
import time

import pytest

from rxllm._runtime.deadlines import Watch, Watchdog

from ..raw_server import LIMIT


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "rxllm-watchdog"]


def test_a_limit_that_passes_is_reported_once() -> None:
    """On the watching thread, and the watch is over."""
    dog = Watchdog()
    told: list[str] = []
    done = threading.Event()

    def expire() -> None:
        told.append(threading.current_thread().name)
        done.set()

    dog.add(Watch(time.monotonic() + 0.02, math.inf, expire))
    assert done.wait(LIMIT)
    assert told == ["rxllm-watchdog"]


def test_an_earlier_limit_comes_first() -> None:
    """A limit added later that ends sooner wakes the thread."""
    dog = Watchdog()
    late, soon = threading.Event(), threading.Event()
    watch = Watch(time.monotonic() + 60, math.inf, late.set)
    dog.add(watch)
    dog.add(Watch(time.monotonic() + 0.02, math.inf, soon.set))
    assert soon.wait(LIMIT)
    assert not late.is_set()
    dog.stop(watch)


def test_a_limit_that_moves_while_another_expires_is_kept() -> None:
    """Both had passed at the same check."""
    dog = Watchdog()
    now = time.monotonic()
    begun, release, done, order = threading.Event(), threading.Event(), threading.Event(), list[float]()

    def expire() -> None:
        order.append(time.monotonic())
        begun.set()
        assert release.wait(LIMIT)
        if len(order) == 2:
            done.set()

    watches = [Watch(now - 1, math.inf, expire) for _ in range(2)]
    dog._watched.update(watches)
    dog.add(watches[0])
    assert begun.wait(LIMIT)
    moved_to = time.monotonic() + 0.3
    for watch in watches:
        watch.at = moved_to
    release.set()
    assert done.wait(LIMIT)
    assert order[1] >= moved_to


def test_a_limit_that_moves_is_kept() -> None:
    """Moved on while the thread waits for the old time: it waits for the new one."""
    dog = Watchdog()
    expired_at: list[float] = []
    done = threading.Event()
    watch = Watch(time.monotonic() + 0.05, 0.05, lambda: (expired_at.append(time.monotonic()), done.set()))
    dog.add(watch)
    moved_to = watch.at = time.monotonic() + 0.3
    assert done.wait(LIMIT)
    assert expired_at[0] >= moved_to


@pytest.mark.parametrize("moves", [True, False])
def test_a_process_that_was_stopped_reads_before_its_limits_pass(moves: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came meanwhile is in the sockets. A limit that has not moved then has passed."""
    now, skipped = time.monotonic, [0.0]

    class Clock:
        monotonic = staticmethod(lambda: now() + skipped[0])

    monkeypatch.setattr("rxllm._runtime.deadlines.time", Clock)
    dog, passed, checked = Watchdog(), threading.Event(), threading.Event()
    watch = Watch(now() + 30, math.inf, passed.set)
    wait = dog._condition.wait

    def stop(seconds: float) -> bool:
        if not skipped[0]:
            skipped[0] = 60.0
            return False
        if not checked.is_set():
            watch.at += 1000.0 * moves
            checked.set()
            return False
        return wait(seconds)

    monkeypatch.setattr(dog._condition, "wait", stop)
    dog.add(watch)
    if moves:
        assert checked.wait(LIMIT)
        dog.stop(watch)
        for thread in threads():
            thread.join(LIMIT)
        assert not passed.is_set()
    else:
        assert passed.wait(LIMIT)


def test_no_limit_for_a_while_is_no_limit_lost() -> None:
    """A limit taken away, and set again at least `notice` seconds from then on, is kept."""
    dog = Watchdog()
    done = threading.Event()
    watch = Watch(math.inf, 0.05, done.set)
    dog.add(watch)
    watch.at = time.monotonic() + 0.05
    assert done.wait(LIMIT)


def test_a_stopped_watch_does_nothing() -> None:
    """Stopping it twice is harmless."""
    dog = Watchdog()
    told: list[str] = []
    watch = Watch(time.monotonic() + 0.05, math.inf, lambda: told.append("late"))
    dog.add(watch)
    dog.stop(watch)
    dog.stop(watch)
    second = threading.Event()
    dog.add(Watch(time.monotonic() + 0.1, math.inf, second.set))
    assert second.wait(LIMIT)
    assert told == []


def test_a_finalizer_may_stop_limits_while_they_are_checked() -> None:
    """The garbage collector may run on the watching thread."""

    class Finalizing(Watch):
        def due(self) -> float:
            while stopped:
                dog.stop(stopped.pop())
            return self.at

    dog = Watchdog()
    done = threading.Event()
    stopped = [Watch(time.monotonic() + 60, math.inf, lambda: None) for _ in range(100)]
    dog._watched.update(stopped)
    dog.add(Finalizing(time.monotonic() + 0.02, math.inf, done.set))
    assert done.wait(LIMIT)
    assert not stopped


def test_the_thread_ends_when_nothing_is_left() -> None:
    """And starts again for the next."""
    dog = Watchdog()
    before = len(threads())
    for _ in range(2):
        watch = Watch(time.monotonic() + 60, math.inf, lambda: None)
        dog.add(watch)
        mine = threads()[-1]
        dog.stop(watch)
        mine.join(LIMIT)
        assert not mine.is_alive()
    assert len(threads()) <= before


def refuse(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_thread_that_cannot_be_started_is_an_error_and_the_next_one_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """`add` raises, and the watchdog is as it was."""
    dog = Watchdog()
    expired = threading.Event()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        for _ in range(5):
            with pytest.raises(RuntimeError):
                dog.add(Watch(time.monotonic(), math.inf, lambda: None))
    dog.add(Watch(time.monotonic() + 0.02, math.inf, expired.set))
    assert expired.wait(LIMIT)


def test_a_limit_whose_callback_raises_does_not_end_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exception goes to threading.excepthook."""
    dog = Watchdog()
    seen: list[type[BaseException]] = []
    expired = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda arguments: seen.append(arguments.exc_type))

    def fail() -> None:
        raise KeyError("a bug")

    dog.add(Watch(time.monotonic() + 0.01, math.inf, fail))
    dog.add(Watch(time.monotonic() + 0.1, math.inf, expired.set))
    assert expired.wait(LIMIT)
    assert seen == [KeyError]
