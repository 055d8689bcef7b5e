"""What every UI scheduler promises, on every toolkit."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from reactivex import abc, interval, operators
from reactivex.disposable import Disposable

from rxllm.ui.asyncio import AsyncIOScheduler

from .hosts import Host, Stop
from .kinds import ENDING, KINDS, WITH_DIALOGS, make_host


@pytest.fixture(params=KINDS)
def host(request: pytest.FixtureRequest, display: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A UI of each kind in turn."""
    host = make_host(request.param, monkeypatch)
    yield host
    host.close()


def test_actions_from_another_thread_run_on_the_ui_thread_in_order(host: Host) -> None:
    """Nothing is lost, nothing overtakes, nothing runs elsewhere."""
    got: list[tuple[int, int]] = []

    def body(stop: Stop) -> None:
        def act(_: abc.SchedulerBase, number: int | None) -> None:
            got.append((number or 0, threading.get_ident()))
            if number == 19_999:
                stop()

        threading.Thread(target=lambda: [host.scheduler.schedule(act, n) for n in range(20_000)]).start()

    host.run(body)
    assert [(n, threading.get_ident()) for n in range(20_000)] == got


def test_many_threads_schedule_at_once(host: Host) -> None:
    """Each thread's actions keep their order, and all of them run."""
    got: dict[int, list[int]] = {thread: [] for thread in range(8)}

    def body(stop: Stop) -> None:
        def produce(thread: int) -> None:
            for n in range(500):
                host.scheduler.schedule(lambda *_, n=n: note(thread, n))

        def note(thread: int, n: int) -> None:
            got[thread].append(n)
            if sum(map(len, got.values())) == 8 * 500:
                stop()

        for thread in got:
            threading.Thread(target=produce, args=(thread,)).start()

    host.run(body)
    assert {thread: list(range(500)) for thread in range(8)} == got


def test_timed_actions_run_when_due_and_in_the_order_of_their_times(host: Host) -> None:
    """Whatever thread and order they were scheduled in; never early."""
    got: list[str] = []
    early: list[str] = []

    def body(stop: Stop) -> None:
        def at(name: str, due: float) -> None:
            if time.monotonic() < due - 0.001:
                early.append(name)
            got.append(name)
            if name == "last":
                stop()

        def produce() -> None:
            now, schedule = time.monotonic(), host.scheduler.schedule_relative
            schedule(0, lambda *_: at("first", now))
            schedule(0.12, lambda *_: at("last", now + 0.12))
            schedule(timedelta(seconds=0.04), lambda *_: at("second", now + 0.04))
            in_absolute = datetime.now(UTC) + timedelta(seconds=0.08)
            host.scheduler.schedule_absolute(in_absolute, lambda *_: at("third", now + 0.07))

        threading.Thread(target=produce).start()

    host.run(body)
    assert got == ["first", "second", "third", "last"]
    assert early == []


def test_reactivex_time_operators_run_on_it(host: Host) -> None:
    """`interval` repeats on the UI thread until it is disposed."""
    got: list[tuple[int, int]] = []

    def body(stop: Stop) -> None:
        interval(0.005, scheduler=host.scheduler).pipe(operators.take(4)).subscribe(
            lambda n: got.append((n, threading.get_ident())), on_completed=stop
        )

    host.run(body)
    assert [(n, threading.get_ident()) for n in range(4)] == got


def test_what_is_disposed_does_not_run(host: Host) -> None:
    """Neither immediate nor timed actions; and an action under way has what it returned disposed."""
    got: list[str] = []
    disposed: list[str] = []

    def body(stop: Stop) -> None:
        def returning(*_: object) -> abc.DisposableBase:
            return Disposable(lambda: disposed.append("inner"))

        def produce() -> None:
            soon = host.scheduler.schedule(returning)
            host.scheduler.schedule(lambda *_: got.append("never")).dispose()
            host.scheduler.schedule_relative(0.01, lambda *_: got.append("never")).dispose()

            def finish(*_: object) -> None:
                soon.dispose()
                stop()

            host.scheduler.schedule_relative(0.05, finish)

        # On the UI thread: nothing can run between scheduling and disposing.
        produce()

    host.run(body)
    assert got == []
    assert disposed == ["inner"]


def test_disposed_timers_do_not_pile_up(host: Host) -> None:
    """A debounce over a long stream makes and drops a timer per item; what is dropped is let go."""

    def body(stop: Stop) -> None:
        for _ in range(5_000):
            host.scheduler.schedule_relative(3600, lambda *_: None).dispose()
        host.scheduler.schedule_relative(0.01, lambda *_: stop())

    host.run(body)
    assert len(host.scheduler._timed) < 200


def test_an_action_that_raises_is_reported_and_stops_no_other(host: Host) -> None:
    """The toolkit hears of it as of its own callbacks' errors."""
    got: list[str] = []
    error = ValueError("the action's own")

    def body(stop: Stop) -> None:
        def fail(*_: object) -> None:
            raise error

        host.scheduler.schedule(fail)
        host.scheduler.schedule(lambda *_: got.append("next"))
        host.scheduler.schedule_relative(0.01, lambda *_: stop())

    host.run(body)
    assert got == ["next"]
    assert [error] == host.errors


def test_a_flood_of_actions_leaves_the_loop_its_timers(host: Host) -> None:
    """The toolkit's own timer ticks while the pump has work without end."""
    ticks: list[int] = []

    def body(stop: Stop) -> None:
        def again(*_: object) -> None:
            if len(ticks) < 10:
                host.scheduler.schedule(again)

        def tick() -> None:
            ticks.append(1)
            if len(ticks) == 10:
                stop()

        host.every(0.005, tick)
        again()

    host.run(body)
    assert len(ticks) >= 10


@pytest.mark.parametrize("host", WITH_DIALOGS, indirect=True)
def test_a_loop_inside_an_action_keeps_the_pump_going(host: Host) -> None:
    """A modal dialog opened by an action does not stop the streams behind it."""
    got: list[str] = []

    def body(stop: Stop) -> None:
        def dialog(*_: object) -> None:
            def inside(leave: Stop) -> None:
                def act(*_: object) -> None:
                    got.append("inside")
                    leave()

                threading.Thread(target=lambda: host.scheduler.schedule(act)).start()

            host.nested(inside)
            got.append("after")
            stop()

        host.scheduler.schedule(dialog)

    host.run(body)
    assert got == ["inside", "after"]


def test_a_producer_never_waits_for_the_ui(host: Host) -> None:
    """Scheduling returns while the UI thread is busy or its loop does not run."""
    finished = threading.Event()

    def produce() -> None:
        for n in range(5_000):
            host.scheduler.schedule(lambda *_: None, n)
        finished.set()

    def body(stop: Stop) -> None:
        threading.Thread(target=produce).start()
        assert finished.wait(60)
        host.scheduler.schedule(lambda *_: stop())

    host.run(body)


@pytest.mark.parametrize("kind", ENDING)
def test_when_the_ui_is_gone(
    kind: str, display: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Silence, in every thread, and no stream left running."""
    request.addfinalizer(gc.collect)  # here: Tcl aborts the process when its interpreter is collected on another thread
    host = make_host(kind, monkeypatch)
    scheduler = host.scheduler
    got: list[str] = []
    scheduler.streams.add(Disposable(lambda: got.append("disposed")))
    host.run(lambda stop: stop())
    host.close()
    scheduler.schedule(lambda *_: got.append("ran"))
    thread = threading.Thread(target=lambda: scheduler.schedule_relative(0, lambda *_: got.append("ran")))
    thread.start()
    thread.join(20)
    assert got == ["disposed"]


def test_one_wakeup_is_pending_at_most() -> None:
    """A loop that is busy is not told a thousand times that there is work."""

    class Counting(asyncio.SelectorEventLoop):
        wakeups = 0

        def call_soon_threadsafe(self, *args: object, **kwargs: object) -> asyncio.Handle:
            self.wakeups += 1
            return super().call_soon_threadsafe(*args, **kwargs)  # type: ignore[arg-type] # passed on as it came

    loop = Counting()
    scheduler = AsyncIOScheduler(loop)
    done: list[int] = []
    for n in range(1_000):
        scheduler.schedule(lambda *_, n=n: done.append(n))
    scheduler.schedule(lambda *_: loop.stop())
    loop.run_forever()
    loop.close()
    assert list(range(1_000)) == done
    assert loop.wakeups == 1


def test_actions_see_the_context_of_the_scheduler() -> None:
    """Not that of whichever thread woke the loop."""
    name = contextvars.ContextVar("name", default="nobody")

    async def main() -> list[str]:
        name.set("main")
        scheduler = AsyncIOScheduler()
        seen: asyncio.Queue[str] = asyncio.Queue()
        threading.Thread(target=lambda: scheduler.schedule(lambda *_: seen.put_nowait(name.get()))).start()
        return [await seen.get()]

    assert asyncio.run(main()) == ["main"]
