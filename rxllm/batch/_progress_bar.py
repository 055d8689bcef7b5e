"""A progress bar for a batch, drawn with rich or tqdm if one of them is installed."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import reactivex
from reactivex import Observable, abc
from reactivex import operators as rx_ops

from ._run import BatchEvent
from .progress import BatchProgress


def with_progress_bar(events: Observable[BatchEvent]) -> Observable[BatchEvent]:
    """Draw a bar on stderr while `events` run; a line with the totals at the end if there is no terminal."""

    def start(_: abc.SchedulerBase) -> Observable[BatchEvent]:
        """Start the run with a new bar, which is closed before the subscriber sees the end."""
        bar = _new_bar()

        def on_event(event: BatchEvent) -> None:
            if isinstance(event, BatchProgress):
                bar.draw(event)

        running = events.pipe(rx_ops.do_action(on_event, lambda _: bar.close(), bar.close))
        return running.pipe(rx_ops.finally_action(bar.close))  # also after a dispose

    return reactivex.defer(start)


def summary(progress: BatchProgress) -> str:
    """Return counts and rates as one line."""
    done = progress.settled + progress.skipped
    total = "" if progress.total is None else f" of {progress.total:,}"
    failed = f", {progress.failed:,} failed" if progress.failed else ""
    return f"{done:,}{total} rows{failed}, {progress.rows_per_second:,.1f} rows/s"


def _new_bar() -> _LastLine | _RichBar | _TqdmBar:
    """Return a bar; without rich, tqdm or a terminal, what prints one last line."""
    if sys.stderr.isatty() and find_spec("rich"):
        return _RichBar()
    if sys.stderr.isatty() and find_spec("tqdm"):
        return _TqdmBar()
    return _LastLine()


class _LastLine:
    """Prints the totals when the run has ended."""

    _text = ""

    def draw(self, progress: BatchProgress) -> None:
        self._text = f"{summary(progress)}\n"

    def close(self) -> None:
        sys.stderr.write(self._text)
        self._text = ""


class _RichBar:
    """A bar of rich."""

    def __init__(self) -> None:
        console: Any = import_module("rich.console").Console(stderr=True)
        self._bar: Any = import_module("rich.progress").Progress(console=console, refresh_per_second=2)
        self._task: Any = self._bar.add_task("rows", total=None)
        self._bar.start()

    def draw(self, progress: BatchProgress) -> None:
        done = progress.settled + progress.skipped
        self._bar.update(self._task, total=progress.total, completed=done, description=summary(progress))

    def close(self) -> None:
        self._bar.stop()


class _TqdmBar:
    """A bar of tqdm."""

    def __init__(self) -> None:
        self._bar: Any = import_module("tqdm").tqdm(unit="row", file=sys.stderr, mininterval=0.5)

    def draw(self, progress: BatchProgress) -> None:
        self._bar.total = progress.total
        self._bar.set_postfix_str(f"{progress.failed} failed", refresh=False)
        self._bar.update(progress.settled + progress.skipped - self._bar.n)

    def close(self) -> None:
        self._bar.close()
