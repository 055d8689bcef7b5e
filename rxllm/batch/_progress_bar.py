"""A progress bar for a batch, drawn with rich if it is installed."""

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
    """Draw a bar on stderr while `events` run; a line with the totals at the end if there is no rich or terminal."""

    def start(_: abc.SchedulerBase) -> Observable[BatchEvent]:
        """Start the run with a new bar, which is closed before the subscriber sees the end."""
        bar = _RichBar() if sys.stderr.isatty() and find_spec("rich") else _LastLine()

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
