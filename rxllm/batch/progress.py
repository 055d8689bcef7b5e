"""How far a run is, and how fast."""

from __future__ import annotations

from collections import deque

import msgspec

from ..events import Usage

_WINDOW = 30.0
"""Seconds over which rates are taken."""


class BatchProgress(msgspec.Struct, frozen=True):
    """A run so far. Rates are those of the last half minute, per second.

    `settled` counts rows of this run, `failed` those of them that are failures, `skipped` the
    prompts that had their row already. `running` prompts are with workers now, `lost_workers`
    died. Tokens are those of this run's rows, as far as vendors told. `eta` is in seconds; it and
    `total` are None where the number of prompts is not known, `eta` also before the first row.
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


class Tally:
    """Counts, and works out a `BatchProgress` of them. Times are seconds on one clock, the caller's."""

    def __init__(self, total: int | None, now: float) -> None:
        self.total = total
        self.skipped = 0
        self.lost_workers = 0
        self._started = now
        self._settled = 0
        self._failed = 0
        self._input = 0
        self._output = 0
        self._marks: deque[tuple[float, int, int]] = deque([(now, 0, 0)])

    def count(self, failed: bool, usage: Usage) -> None:
        """A row is settled."""
        self._settled += 1
        self._failed += failed
        self._input += usage.input_tokens or 0
        self._output += usage.output_tokens or 0

    def progress(self, now: float, running: int, workers: int) -> BatchProgress:
        """All of it, at this moment."""
        since, rows, tokens = self._marks[0]
        seconds = max(now - since, 1e-6)
        rate = (self._settled - rows) / seconds
        left = None if self.total is None else max(0, self.total - self.skipped - self._settled)
        self._mark(now)
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
            tokens_per_second=(self._input + self._output - tokens) / seconds,
            elapsed=now - self._started,
            total=self.total,
            eta=None if left is None else 0.0 if left == 0 else left / rate if rate else None,
        )

    def _mark(self, now: float) -> None:
        self._marks.append((now, self._settled, self._input + self._output))
        while len(self._marks) > 2 and self._marks[1][0] <= now - _WINDOW:
            self._marks.popleft()
