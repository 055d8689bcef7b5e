"""What it costs to bring tokens to a UI thread: ours beside reactivex's own schedulers, where those work.

    python benchmarks/ui.py                 each toolkit and each way, in a process of its own
    python benchmarks/ui.py tk reactivex    one of them

100,000 deltas of a token each, a line end after each twelfth, come from a thread at full speed, and again, for five
seconds. Printed are: how many of them arrived; the time the producer spent on one, in microseconds; the time until all
were shown; and the gaps, in milliseconds, between the ticks of a 60 Hz timer on the UI thread meanwhile. Tk needs a
display (xvfb-run); Qt is used without one.

The ways: `bind` shows them in a text widget by `bind_text` (with asyncio: `async for` over `events`), which ends with
several MB in it; `scheduler` counts them in a callback behind `observe_on_ui`. `long` shows 300 tokens a second at the
end of a text of 1 MB, and `paragraph` at the end of a paragraph of 100 KB. What the machine itself does to the timer is
told by two controls: `idle`, where nothing else happens, and `burn`, where the producer's thread does the same, and
nothing of it comes to the UI. `each` counts the deltas behind reactivex's `observe_on` on our scheduler, and
`reactivex` behind its `observe_on` on its own scheduler for the toolkit, once; what has not come after ten seconds is
not waited for.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import threading
import time
import tkinter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module

from reactivex import Observable, abc
from reactivex import operators as rx
from reactivex.disposable import Disposable
from reactivex.scheduler.eventloop import AsyncIOThreadSafeScheduler
from reactivex.scheduler.mainloop import QtScheduler as ReactivexQtScheduler
from reactivex.scheduler.mainloop import TkinterScheduler

import rxllm
from rxllm import operators as ops
from rxllm.ui import qt, tk
from rxllm.ui._binding import Binding

COUNT = 100_000
SECONDS = 5.0
LIMIT_SECONDS = 10.0
ONCE = {"each", "reactivex"}
SLOW = {"long": "token " * 11 + "token\n", "paragraph": "token "}
SLOW_BYTES = {"long": 1_000_000, "paragraph": 100_000}
DELTAS = [rxllm.TextDelta("token " if n % 12 else "token\n") for n in range(COUNT)]


class Measurement:
    """One way on one toolkit."""

    def __init__(self, way: str) -> None:
        self.way = way
        self.deltas = DELTAS[: int(300 * SECONDS)] if way in SLOW else DELTAS
        self.producer_seconds: list[float] = []
        self.shown_seconds: list[float] = []
        self.gaps: list[float] = []
        self.arrived = 0
        self.source: Observable[rxllm.TokenEvent] = Observable(self._subscribe)
        self._began = self._ticked = 0.0
        self._first = 0.0

    def _subscribe(
        self, observer: abc.ObserverBase[rxllm.TokenEvent], _: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        stopped = threading.Event()

        def produce() -> None:
            began = time.perf_counter()
            for delta in self.deltas:
                if stopped.is_set():
                    return
                observer.on_next(delta)
                if self.way in SLOW:
                    time.sleep(1 / 300)
            self.producer_seconds.append(time.perf_counter() - began)
            observer.on_completed()

        self._began = self._ticked = time.perf_counter()
        self._first = self._first or self._began
        threading.Thread(target=produce, daemon=True).start()
        return Disposable(stopped.set)

    def tick(self) -> None:
        """The 60 Hz timer."""
        now = time.perf_counter()
        if self._began:
            self.gaps.append((now - self._ticked) * 1000)
        self._ticked = now

    def count(self, event: object) -> None:
        """What arrives, by whatever way."""
        text = event.text if isinstance(event, rxllm.TextDelta) else event if isinstance(event, str) else ""
        self.arrived += text.count("token")

    def one_round_shown(self) -> bool:
        """All of the deltas are shown; whether that was the last round."""
        now = time.perf_counter()
        self.shown_seconds.append(now - self._began)
        self._began = 0.0
        return self.way in ONCE | SLOW.keys() or now - self._first > SECONDS

    def report(self, toolkit: str) -> None:
        """Print a line."""

        def figure(values: list[float], scale: float) -> str:
            return f"{statistics.median(values) * scale:8.2f}" if values else f"{'-':>8}"

        gaps = sorted(self.gaps) or [0.0]
        p99 = gaps[min(len(gaps) - 1, round(len(gaps) * 0.99))]
        each, total = figure(self.producer_seconds, 1e6 / COUNT), figure(self.shown_seconds, 1)
        if self.way in SLOW:
            each = f"{'-':>8}"
        arrived = self.arrived / max(1, len(self.shown_seconds))
        print(
            f"{toolkit:8} {self.way:10} {arrived:8.0f} {each} {total}"
            f" {statistics.median(gaps):8.1f} {p99:8.1f} {gaps[-1]:8.1f} {len(gaps):6}",
            flush=True,
        )

    def run(
        self,
        bind: Callable[[], Binding],
        text_shown: Callable[[], str],
        scheduler: abc.SchedulerBase,
        stop: Callable[[], None],
    ) -> None:
        """On the UI thread: begin the first round; each begins the next."""

        def again() -> None:
            self.run(bind, text_shown, scheduler, stop)

        def over() -> None:
            if self.one_round_shown():
                self.count(text_shown())
                stop()
            else:
                scheduler.schedule(lambda *_: again())

        if self.way == "idle":
            self._began = self._ticked = time.perf_counter()
            scheduler.schedule_relative(SECONDS, lambda *_: stop())
        elif self.way == "burn":
            done = partial(scheduler.schedule, lambda *_: over())
            self.source.subscribe(self.count, on_completed=done)
        elif self.way == "bind" or self.way in SLOW:
            bind().running.subscribe(on_completed=over)
        else:
            hop = ops.observe_on_ui(scheduler) if self.way == "scheduler" else rx.observe_on(scheduler)
            self.source.pipe(hop).subscribe(self.count, on_completed=over)


def text_before(way: str) -> str:
    """What is in the widget before the stream begins."""
    piece = SLOW.get(way, "")
    return piece * (SLOW_BYTES[way] // len(piece)) if piece else ""


def measure_qt(way: str, binding: str) -> Measurement:
    """PySide6 or PyQt6."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    core, widgets = (import_module(f"{binding}.{name}") for name in ("QtCore", "QtWidgets"))
    app = widgets.QApplication([])
    view = widgets.QPlainTextEdit()
    view.setReadOnly(True)
    view.show()
    view.setPlainText(text_before(way))
    taken = Measurement(way)
    ticker = core.QTimer()
    ticker.setTimerType(core.Qt.TimerType.PreciseTimer)
    ticker.timeout.connect(taken.tick)
    ticker.start(16)

    scheduler = ReactivexQtScheduler(core) if way == "reactivex" else qt.QtScheduler()
    bind = partial(qt.bind_text, view, taken.source)
    core.QTimer.singleShot(300, lambda: taken.run(bind, view.toPlainText, scheduler, app.quit))
    core.QTimer.singleShot(int(LIMIT_SECONDS * 1000), app.quit)
    app.exec()
    return taken


def measure_tk(way: str) -> Measurement:
    """The toolkit that comes with Python."""
    root = tkinter.Tk()
    view = tkinter.Text(root)
    view.pack()
    view.insert("end", text_before(way))
    taken = Measurement(way)

    def tick() -> None:
        taken.tick()
        root.after(16, tick)

    scheduler = TkinterScheduler(root) if way == "reactivex" else tk.TkScheduler(root)
    root.after(16, tick)
    bind = partial(tk.bind_text, view, taken.source)
    root.after(300, lambda: taken.run(bind, lambda: view.get("1.0", "end"), scheduler, root.quit))
    root.after(int(LIMIT_SECONDS * 1000), root.quit)
    root.mainloop()
    return taken


def measure_asyncio(way: str) -> Measurement:
    """A loop without a screen."""
    taken = Measurement(way)

    async def iterate() -> None:
        async for event in rxllm.aio.events(taken.source):
            taken.count(event)
        if not taken.one_round_shown():
            await iterate()

    async def tick() -> None:
        while True:
            await asyncio.sleep(1 / 60)
            taken.tick()

    async def main() -> None:
        ticking = asyncio.create_task(tick())
        await asyncio.sleep(0.3)
        if way == "bind":
            await iterate()
        else:
            loop, over = asyncio.get_running_loop(), asyncio.Event()
            scheduler = AsyncIOThreadSafeScheduler(loop) if way == "reactivex" else rxllm.aio.AsyncIOScheduler()
            taken.run(_nothing_to_bind, str, scheduler, over.set)
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), LIMIT_SECONDS)
        ticking.cancel()

    asyncio.run(main())
    return taken


def _nothing_to_bind() -> Binding:
    raise NotImplementedError


TOOLKITS: dict[str, Callable[[str], Measurement]] = {
    "pyside6": lambda way: measure_qt(way, "PySide6"),
    "pyqt6": lambda way: measure_qt(way, "PyQt6"),
    "tk": measure_tk,
    "asyncio": measure_asyncio,
}
WAYS = ("idle", "burn", "scheduler", "bind", "long", "paragraph", "each", "reactivex")


def main() -> None:
    """Measure one way, or all of them in processes of their own."""
    if len(sys.argv) == 3:
        toolkit, way = sys.argv[1:]
        TOOLKITS[toolkit](way).report(toolkit)
        os._exit(0)  # reactivex's threads may still wait for a loop that has ended
    print(f"{'':19} {'':8} {'producer':>8} {'shown':>8}     gap in ms:")
    columns = "arrived", "us each", "after s", "p50", "p99", "max"
    print(f"{'toolkit':8} {'way':10}", *(f"{column:>8}" for column in columns), f"{'ticks':>6}")
    for toolkit in sys.argv[1:] or TOOLKITS:
        for way in WAYS:
            if toolkit == "asyncio" and way in SLOW:
                continue
            done = subprocess.run([sys.executable, __file__, toolkit, way], stderr=subprocess.PIPE, text=True)
            if done.returncode:
                print(f"{toolkit:8} {way:10} {(done.stderr.splitlines() or ['failed'])[-1]}")


if __name__ == "__main__":
    main()
