"""A progress bar for a batch, drawn with tqdm or rich if one of them is installed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

from reactivex import Observable, abc
from reactivex import operators as rx_ops
from reactivex.disposable import CompositeDisposable, Disposable

from ._base_run import BatchEvent
from .progress import BatchProgress


class _Bar(Protocol):
    def show(self, progress: BatchProgress) -> None: ...
    def close(self) -> None: ...


def with_progress_bar(events: Observable[BatchEvent]) -> Observable[BatchEvent]:
    """Draw a bar on stderr while `events` run; a line with the totals at the end if stderr is no terminal."""

    def subscribe(
        observer: abc.ObserverBase[BatchEvent], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        bar = _bar()

        def show(event: BatchEvent) -> None:
            if isinstance(event, BatchProgress):
                bar.show(event)

        def fail(_: Exception) -> None:
            bar.close()

        running = events.pipe(rx_ops.do_action(show, fail, bar.close))  # before the subscriber sees the end
        return CompositeDisposable(running.subscribe(observer, scheduler=scheduler), Disposable(bar.close))

    return Observable(subscribe)


def summary(progress: BatchProgress) -> str:
    """Return counts and rates as one line."""
    done = progress.settled + progress.skipped
    total = "" if progress.total is None else f" of {progress.total:,}"
    failed = f", {progress.failed:,} failed" if progress.failed else ""
    return f"{done:,}{total} rows{failed}, {progress.rows_per_second:,.1f} rows/s"


def _bar() -> _Bar:
    """Return a bar of tqdm or rich; a single last line if neither is installed, or stderr is no terminal."""
    if not sys.stderr.isatty():
        return _LastLine()
    makers: list[tuple[str, Callable[[Any], _Bar]]] = [("tqdm", _TqdmBar), ("rich.progress", _RichBar)]
    for name, make in makers:
        try:
            return make(import_module(name))
        except ImportError:
            continue
    return _LastLine()


class _LastLine:
    """Prints the totals when the run is over."""

    def __init__(self) -> None:
        self._last: BatchProgress | None = None

    def show(self, progress: BatchProgress) -> None:
        self._last = progress

    def close(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            sys.stderr.write(f"{summary(last)}\n")


class _TqdmBar:
    """A bar of tqdm."""

    def __init__(self, tqdm: Any) -> None:
        self._bar: Any = tqdm.tqdm(unit="row", file=sys.stderr, mininterval=0.5)

    def show(self, progress: BatchProgress) -> None:
        self._bar.total = progress.total
        self._bar.set_postfix_str(f"{progress.failed} failed", refresh=False)
        self._bar.update(progress.settled + progress.skipped - self._bar.n)

    def close(self) -> None:
        self._bar.close()


class _RichBar:
    """A bar of rich."""

    def __init__(self, progress_module: Any) -> None:
        console: Any = import_module("rich.console").Console(stderr=True)
        self._progress: Any = progress_module.Progress(console=console, refresh_per_second=2)
        self._task: Any = self._progress.add_task("rows", total=None)
        self._progress.start()

    def show(self, progress: BatchProgress) -> None:
        done = progress.settled + progress.skipped
        self._progress.update(self._task, total=progress.total, completed=done, description=summary(progress))

    def close(self) -> None:
        self._progress.stop()
