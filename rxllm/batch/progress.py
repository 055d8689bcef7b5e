"""How far a run is, how fast it goes, and a progress bar."""

from __future__ import annotations

from collections import deque

import msgspec

from ..events import Usage

_WINDOW = 30.0
"""Seconds over which rates are averaged."""


class BatchProgress(msgspec.Struct, frozen=True):
    """A run so far. Rates are averages of the last 30 seconds.

    Attributes:
        settled: Rows of this run.
        failed: How many of them are failures.
        skipped: Prompts that had their row from an earlier run.
        running: Prompts that workers have now.
        workers: Workers that are ready.
        lost_workers: Workers that died.
        input_tokens, output_tokens: Tokens of this run's rows, as far as the vendor reported them.
        rows_per_second, tokens_per_second: Rates.
        elapsed: Seconds since the run started.
        total: Number of prompts; None if it is not known.
        eta: Seconds that the rest takes at the present rate; None before the first row, or without `total`.
    """

    settled: int
    failed: int
    skipped: int
    running: int
    workers: int
    lost_workers: int
    input_tokens: int
    output_tokens: int
    rows_per_second: float
    tokens_per_second: float
    elapsed: float
    total: int | None = None
    eta: float | None = None


class ProgressCounter:
    """Counts rows and tokens, and makes a `BatchProgress` of them. Times are in seconds on the caller's clock."""

    def __init__(self, total: int | None, now: float) -> None:
        self.skipped = self.lost_workers = 0
        self._total = total
        self._started = now
        self._settled = self._failed = self._input = self._output = 0
        self._marks: deque[tuple[float, int, int]] = deque([(now, 0, 0)])
        """Time, rows and tokens at each progress of the last 30 seconds."""

    def count(self, failed: bool, usage: Usage) -> None:
        """Count one row that is settled."""
        self._settled += 1
        self._failed += failed
        self._input += usage.input_tokens or 0
        self._output += usage.output_tokens or 0

    def progress(self, now: float, running: int, workers: int) -> BatchProgress:
        """Return the progress at the time `now`."""
        since, rows, tokens = self._marks[0]
        all_tokens = self._input + self._output
        self._marks.append((now, self._settled, all_tokens))
        while len(self._marks) > 2 and self._marks[1][0] <= now - _WINDOW:
            self._marks.popleft()
        seconds = max(now - since, 1e-6)
        rate = (self._settled - rows) / seconds
        left = None if self._total is None else max(0, self._total - self.skipped - self._settled)
        eta = 0.0 if left == 0 else None
        if left and rate:
            eta = left / rate
        return BatchProgress(
            settled=self._settled,
            failed=self._failed,
            skipped=self.skipped,
            running=running,
            workers=workers,
            lost_workers=self.lost_workers,
            input_tokens=self._input,
            output_tokens=self._output,
            rows_per_second=rate,
            tokens_per_second=(all_tokens - tokens) / seconds,
            elapsed=now - self._started,
            total=self._total,
            eta=eta,
        )
