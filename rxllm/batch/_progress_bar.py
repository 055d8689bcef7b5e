"""A progress bar for a batch, drawn with tqdm or rich if one of them is installed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any, TypeAlias

from reactivex import Observable, abc
from reactivex import operators as rx_ops
from reactivex.disposable import CompositeDisposable, Disposable

from ._base_run import BatchEvent
from .progress import BatchProgress

_Bar: TypeAlias = tuple[Callable[[BatchProgress], None], Callable[[], None]]
"""What to call with each progress, and at the end, perhaps twice."""


def with_progress_bar(events: Observable[BatchEvent]) -> Observable[BatchEvent]:
    """Draw a bar on stderr while `events` run; a line with the totals at the end if stderr is no terminal."""

    def subscribe(
        observer: abc.ObserverBase[BatchEvent], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        """Start the run with a new bar, which disposing closes too."""
        draw, close = _bar()

        def on_event(event: BatchEvent) -> None:
            if isinstance(event, BatchProgress):
                draw(event)

        # The bar is closed before the subscriber sees the end.
        running = events.pipe(rx_ops.do_action(on_event, lambda _: close(), close))
        return CompositeDisposable(running.subscribe(observer, scheduler=scheduler), Disposable(close))

    return Observable(subscribe)


def summary(progress: BatchProgress) -> str:
    """Return counts and rates as one line."""
    done = progress.settled + progress.skipped
    total = "" if progress.total is None else f" of {progress.total:,}"
    failed = f", {progress.failed:,} failed" if progress.failed else ""
    return f"{done:,}{total} rows{failed}, {progress.rows_per_second:,.1f} rows/s"


def _bar() -> _Bar:
    """Return a bar of tqdm or rich; a single last line if neither is installed, or stderr is no terminal."""
    if sys.stderr.isatty():
        for make in (_tqdm_bar, _rich_bar):
            with suppress(ImportError):
                return make()
    return _last_line()


def _last_line() -> _Bar:
    """Print the totals when the run is over."""
    last: list[BatchProgress] = []

    def draw(progress: BatchProgress) -> None:
        last[:] = [progress]

    def close() -> None:
        while last:
            sys.stderr.write(f"{summary(last.pop())}\n")

    return draw, close


def _tqdm_bar() -> _Bar:
    """Return a bar of tqdm; raise `ImportError` if it is not installed."""
    bar: Any = import_module("tqdm").tqdm(unit="row", file=sys.stderr, mininterval=0.5)

    def draw(progress: BatchProgress) -> None:
        bar.total = progress.total
        bar.set_postfix_str(f"{progress.failed} failed", refresh=False)
        bar.update(progress.settled + progress.skipped - bar.n)

    return draw, bar.close


def _rich_bar() -> _Bar:
    """Return a bar of rich; raise `ImportError` if it is not installed."""
    console: Any = import_module("rich.console").Console(stderr=True)
    bar: Any = import_module("rich.progress").Progress(console=console, refresh_per_second=2)
    task: Any = bar.add_task("rows", total=None)
    bar.start()

    def draw(progress: BatchProgress) -> None:
        done = progress.settled + progress.skipped
        bar.update(task, total=progress.total, completed=done, description=summary(progress))

    return draw, bar.stop
