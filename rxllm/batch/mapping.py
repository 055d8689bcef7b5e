"""`map_prompts`: where a batch is put together and becomes an Observable."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias, cast

from reactivex import Observable, abc

from ..errors import ConfigurationError
from ..options import CallOptions
from ..prompt import Prompt
from ._crew import Crew
from ._run import BatchEvent, Plan, Run
from ._work import Columns, RowIn
from ._worker import Settings
from .checkpoint import Retry
from .ledger import RateLimits
from .spec import ModelFactory, ModelSpec, fingerprint


class RayDataset(Protocol):
    """What is needed of a `ray.data.Dataset`."""

    def iter_rows(self) -> Iterable[dict[str, object]]:
        """Its rows."""
        ...


Prompts: TypeAlias = Iterable[Prompt | RowIn] | RayDataset | Callable[[], Iterable[Prompt | RowIn]]
"""Prompts or rows, or a function that gives them anew for each subscription."""


def map_prompts(
    prompts: Prompts,
    model: ModelSpec | ModelFactory | str,
    *,
    checkpoint: str | Path,
    prompt: str | Callable[[RowIn], Prompt] = "prompt",
    key: str | None = None,
    options: str | Callable[[RowIn], CallOptions] | None = None,
    keep: Sequence[str] = (),
    workers: int | None = None,
    max_concurrent: int = 16,
    limits: RateLimits | None = None,
    max_retries: int | None = None,
    retry_failures: Retry = "none",
    total: int | None = None,
    job: str = "",
    progress_every: float = 1.0,
    start_timeout: float = 600.0,
    sync: float = 1.0,
    worker_options: Mapping[str, object] | None = None,
) -> Observable[BatchEvent]:
    """Ask `model` every prompt, on all machines of a Ray cluster: a row for each, an `AnswerRow` or a `FailureRow`.

    ::

        p q r ...
        [ map_prompts(prompts, model, checkpoint="job.sqlite") ]
        %--Q--P--%--R|          rows as they come, % is progress

    `prompts` are read as they are needed. Each is a prompt, or a row: a mapping with the columns
    `prompt` (or a function of the row makes it), `key`, `options` (those of a call); `keep` names
    columns to carry over, "prompt" for one. Without `key`, a prompt is known by its number, so
    their order must be the same at each run; a Dataset has no order, and needs a key.

    `workers` processes (one for each CPU of the cluster) ask `max_concurrent` prompts each at a
    time. `limits` hold for all together. Transient errors are tried again, `max_retries` times
    (the model's number, 2), also in the middle of an answer.

    Every row is in `checkpoint`, a file on this machine, before it is emitted. A later run over
    that file asks only what has no row there, or whose prompt, model or options have changed, or
    which failed and `retry_failures` says "transient" or "all"; it emits the rows that are new,
    and `read_rows` gives all. `job` names the job in the file. `sync`: see `docs/batch.md`.

    Cold: each subscription is a run, on a thread of its own, on which everything is emitted;
    while on_next runs no more is given out. Disposing closes all connections within
    milliseconds, and settles what was ready. Rows fail one by one; on_error is for a run that
    cannot go on: `ConfigurationError` (a column that is missing, a key that comes twice, the
    checkpoint of another job, no model), an error that all prompts would meet (the vendor's key is
    refused, or there is nothing left to pay with), `WorkerLostError` (no worker can be started,
    within `start_timeout` seconds), what `prompts` raises. `worker_options` go to the actors of Ray:
    `{"num_gpus": 1}`. `progress_every` is in seconds; `eta` needs a `total`, or prompts with a length.

    Raises `ImportError` without Ray, and `ConfigurationError` where an argument makes no sense.
    """
    from ._ray import RayCrew  # the extra `ray`; without it, rows can still be read

    spec = ModelSpec(model) if isinstance(model, str) else model
    retries = max_retries if max_retries is not None else spec.max_retries if isinstance(spec, ModelSpec) else 2
    _check(1, max_concurrent=max_concurrent, workers=workers)
    _check(
        0, max_retries=max_retries, progress_every=progress_every, total=total, start_timeout=start_timeout, sync=sync
    )
    if retry_failures not in ("none", "transient", "all"):
        raise ConfigurationError(f"retry_failures is 'none', 'transient' or 'all'; got {retry_failures!r}")
    if key is None and hasattr(prompts, "iter_rows"):
        raise ConfigurationError("the rows of a Dataset come in any order: name their key column, key=")
    plan = Plan(
        items=_source(prompts),
        total=total if total is not None else _length(prompts),
        columns=Columns(prompt, key, options, tuple(keep)),
        fingerprint=fingerprint(spec),
        checkpoint=Path(checkpoint),
        about={"job": job, "key": key},
        retry=retry_failures,
        backlog=max_concurrent + max(2, max_concurrent // 2),
        progress_every=progress_every,
        start_timeout=start_timeout,
        sync=sync,
    )
    settings = Settings(spec, max_concurrent, retries, None if limits is None else limits.expected_tokens)
    return batch_of(plan, partial(RayCrew, settings, workers, limits, worker_options or {}))


def batch_of(plan: Plan, crew: Callable[[], Crew]) -> Observable[BatchEvent]:
    """A run of `plan` by a fresh crew for each subscription."""

    def subscribe(
        observer: abc.ObserverBase[BatchEvent], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        return Run(plan, crew(), observer).start()

    return Observable(subscribe)


def _source(prompts: object) -> Callable[[], Iterable[object]]:
    kind = type(prompts).__name__
    rows = getattr(prompts, "iter_rows", prompts)
    if callable(rows):
        return cast("Callable[[], Iterable[object]]", rows)
    if isinstance(prompts, str | Mapping) or not isinstance(prompts, Iterable):
        raise ConfigurationError(
            f"a batch takes an iterable of prompts or rows, a function that gives one, or a Ray Dataset; got a {kind}"
        )
    given = cast("Iterable[object]", prompts)
    return _once(given) if isinstance(given, Iterator) else lambda: given


def _once(prompts: Iterator[object]) -> Callable[[], Iterable[object]]:
    """A generator has its items for one run; a second must not take its silence for the end of the work."""
    given: list[Iterator[object]] = [prompts]

    def take() -> Iterable[object]:
        if not given:
            raise ConfigurationError(
                "these prompts came from a generator, and were read by an earlier run: pass the function that makes it"
            )
        return given.pop()

    return take


def _length(prompts: object) -> int | None:
    return len(cast("Sequence[object]", prompts)) if isinstance(prompts, Sequence) else None


def _check(least: int, **numbers: float | None) -> None:
    for name, number in numbers.items():
        if number is not None and not (number >= least and math.isfinite(number)):
            raise ConfigurationError(f"map_prompts({name}=...) takes {least} or more; got {number!r}")
