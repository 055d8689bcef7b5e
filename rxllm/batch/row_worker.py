"""The worker of a batch as a callable, for engines that bring rows and keep results: Ray Data, Spark, Dask."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Any, cast

from ..options import CallOptions
from ..prompt import Prompt
from ._jobs import Columns, Job, RowIn, jobs_of
from ._worker import Settings, Worker
from .model_spec import ModelFactory, ModelSpec, fingerprint
from .parquet import OWN_COLUMNS, row_record
from .rows import Row, Settled


class RowWorker:
    """Answers rows: pass it some, it returns as many results, in the same order.

    It can be pickled, and creates its model in the process that first calls it. There is no checkpoint: what the engine
    has not stored is asked again. Thread-safe; each thread has its own requests.

    Args:
        model: A `ModelSpec`, its short form ("openai:gpt-4o-mini"), or a function that creates a model.
        prompt: Column with the prompt, or a function of the row that returns it.
        options: Column with options of the call, or a function of the row that returns them.
        keep: Columns that results carry over.
        max_concurrent: Requests at a time.
        max_retries: Retries after transient errors, as for `map_prompts`.
        outage_timeout: Seconds that requests wait while nearly all of them fail transiently.

    Example:
        >>> worker = RowWorker("openai:gpt-4o-mini", prompt="question", keep=["id"])
        >>> # ray.data: dataset.map_batches(worker.frame, batch_format="pandas"); Dask: map_partitions(worker.frame)
    """

    def __init__(
        self,
        model: ModelSpec | ModelFactory | str,
        *,
        prompt: str | Callable[[RowIn], Prompt] = "prompt",
        options: str | Callable[[RowIn], CallOptions] | None = None,
        keep: Sequence[str] = (),
        max_concurrent: int = 16,
        max_retries: int | None = None,
        outage_timeout: float = 600.0,
    ) -> None:
        spec = ModelSpec(model) if isinstance(model, str) else model
        self._settings = Settings(spec, max_concurrent, max_retries, outage_timeout)
        self._columns = Columns(prompt, None, options, tuple(keep))
        self._local = threading.local()

    def __getstate__(self) -> tuple[Settings, Columns]:
        return self._settings, self._columns

    def __setstate__(self, state: tuple[Settings, Columns]) -> None:
        self._settings, self._columns = state
        self._local = threading.local()

    def __call__(self, rows: Iterable[RowIn]) -> list[Row]:
        """Return the row of each prompt; the key is its position in `rows`.

        Args:
            rows: Mappings with the columns that were named.

        Raises:
            LLMError: All prompts would meet this error: no model, a refused key, no credit.
        """
        worker: Worker | None = getattr(self._local, "worker", None)
        if worker is None:
            worker = self._local.worker = Worker(self._settings)
        found: list[Row | None] = []
        jobs: list[Job] = []
        for job in jobs_of(rows, self._columns, fingerprint(self._settings.model)):
            found.append(job.row if isinstance(job, Settled) else None)
            if isinstance(job, Job):
                jobs.append(job)
        pending = len(jobs)
        while pending:
            try:
                answered = worker.exchange(jobs)
            except Exception:
                worker.stop()
                del self._local.worker
                raise
            for row in answered:
                found[cast(int, row.key)] = row
            pending -= len(answered)
            jobs = []
        return cast("list[Row]", found)

    def frame(self, frame: Any) -> Any:
        """Answer a pandas DataFrame; return one with the columns of `row_record`, in Parquet's order.

        Args:
            frame: The rows.
        """
        pandas: Any = import_module("pandas")
        records = [row_record(row) for row in self(frame.to_dict("records"))]
        return pandas.DataFrame(records, columns=["key", *OWN_COLUMNS, *self._columns.keep], dtype=object)
