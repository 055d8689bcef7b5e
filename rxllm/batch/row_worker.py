"""The worker of a batch as a callable, for engines that bring rows and keep results: Ray Data, Spark, Dask."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, Unpack, cast

from ..errors import LLMError
from ..options import CallOptions
from ..prompt import Prompt
from ._jobs import Columns, Job, RowIn, jobs_of
from ._worker import Settings, Worker
from .mapping import RunOptions
from .model_spec import ModelFactory, ModelSpec, fingerprint
from .parquet import OWN_COLUMNS, row_record
from .rows import Row, Settled, row_from_json


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
        more: `max_retries` and `outage_timeout` of `RunOptions`.

    Example:
        >>> worker = RowWorker("openai:gpt-4o-mini", prompt="question", keep=["id"])
        >>> # ray.data: dataset.map_batches(worker.columns, ...); Spark: frame.mapInPandas(worker.frames, schema)
    """

    def __init__(
        self,
        model: ModelSpec | ModelFactory | str,
        *,
        prompt: str | Callable[[RowIn], Prompt] = "prompt",
        options: str | Callable[[RowIn], CallOptions] | None = None,
        keep: Sequence[str] = (),
        max_concurrent: int = 16,
        **more: Unpack[RunOptions],
    ) -> None:
        spec = ModelSpec(model) if isinstance(model, str) else model
        self._settings = Settings(spec, max_concurrent, more.get("max_retries"), more.get("outage_timeout", 600.0))
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
        worker = self._worker()
        found: dict[int, Row] = {}
        jobs: list[Job] = []
        count = 0
        for job in jobs_of(rows, self._columns, fingerprint(self._settings.model)):
            count += 1
            if isinstance(job, Settled):
                found[job.position] = job.row
            else:
                jobs.append(job)
        pending = len(jobs)
        while pending:
            for encoded in worker.exchange(jobs):
                if encoded.fatal is not None:
                    worker.stop()
                    del self._local.worker
                    raise encoded.fatal
                found[cast(int, encoded.key)] = row_from_json(encoded.row)
                pending -= 1
            jobs = []
        return [found[position] for position in range(count)]

    def columns(self, batch: Mapping[str, Sequence[object]]) -> dict[str, list[object]]:
        """Answer a batch of columns, as `ray.data.Dataset.map_batches` passes them; return columns (`row_record`).

        Args:
            batch: Sequences of equal length, by column.
        """
        names = list(batch)
        rows = [dict(zip(names, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        records = [row_record(row) for row in self(rows)]
        found = dict.fromkeys(name for record in records for name in record)
        return {name: [record.get(name) for record in records] for name in found}

    def frame(self, frame: Any) -> Any:
        """Answer a pandas DataFrame; return one with the columns of `row_record`, in Parquet's order.

        Args:
            frame: The rows.
        """
        pandas: Any = import_module("pandas")
        records = [row_record(row) for row in self(frame.to_dict("records"))]
        return pandas.DataFrame(records, columns=["key", *OWN_COLUMNS, *self._columns.keep], dtype=object)

    def frames(self, frames: Iterable[Any]) -> Iterator[Any]:
        """Answer pandas DataFrames one by one, as Spark's `mapInPandas` passes them.

        Args:
            frames: The rows, in parts.
        """
        for frame in frames:
            yield self.frame(frame)

    def _worker(self) -> Worker:
        """Return this thread's worker, made when it is first needed."""
        worker: Worker | None = getattr(self._local, "worker", None)
        if worker is None:
            worker = Worker(self._settings)
            error: LLMError | None = worker.prepare()
            if error is not None:
                raise error
            self._local.worker = worker
        return worker
