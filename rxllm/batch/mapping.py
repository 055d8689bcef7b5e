"""`map_prompts`: where a batch is put together and becomes an Observable."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias, TypedDict, Unpack, cast

from reactivex import Observable, abc

from ..errors import ConfigurationError
from ..options import CallOptions
from ..prompt import Prompt
from ._jobs import Columns, RowIn
from ._run import BatchEvent, Plan, Run
from ._worker import Settings
from ._worker_pool import WorkerPool
from .checkpoint import Retry
from .model_spec import ModelFactory, ModelSpec, fingerprint
from .shared_limits import RateLimits


class RayDataset(Protocol):
    """What is needed of a `ray.data.Dataset`."""

    def iter_rows(self) -> Iterable[dict[str, object]]:
        """Its rows."""
        ...


Prompts: TypeAlias = Iterable[Prompt | RowIn] | RayDataset | Callable[[], Iterable[Prompt | RowIn]]
"""Prompts or rows, or a function that gives them anew for each subscription."""


class RunOptions(TypedDict, total=False):
    """The finer points of a run, all with defaults: arguments of `map_prompts`."""

    max_retries: int
    """Tries again after transient errors, also in the middle of an answer, which nobody has seen: the model's, or 2."""
    total: int
    """How many prompts there are, for `BatchProgress.eta`; known without where they have a length."""
    job: str
    """What the job is called in its checkpoint; a run that calls it otherwise is refused."""
    progress_every: float
    """Seconds between two `BatchProgress`: 1."""
    start_timeout: float
    """Seconds that the first worker may take to start, machines that are yet to be booted included: 600."""
    sync: float
    """Seconds of work that a power cut (not a crash) of the driver's machine may take: 1."""
    worker_options: Mapping[str, object]
    """Options of the workers' Ray actors: `{"num_gpus": 1}`, `{"runtime_env": {"env_vars": ...}}`."""


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
    retry_failures: Retry = "none",
    **finer: Unpack[RunOptions],
) -> Observable[BatchEvent]:
    """Ask `model` every prompt, on all machines of a Ray cluster: a row for each, an `AnswerRow` or a `FailureRow`.

    `prompts` are read as they are needed. Each is a prompt, or a row: a mapping with the columns
    `prompt` (or a function of the row makes it), `key`, and `options` (those of a call); `keep`
    names columns to carry over ("prompt", of a prompt by itself). Without `key` a prompt is known by its
    number, so their order must be the same at each run; a Dataset has none, and needs a key.

    `workers` processes (one for each CPU of the cluster) ask `max_concurrent` prompts each at a
    time; `limits` hold for all together. Every row is in the file `checkpoint` before it is
    emitted. A later run over that file asks, and emits, only what has no row there, what has
    changed (prompt, model, options), and failures if `retry_failures` is "transient" or "all";
    `read_rows` gives all.

    Cold: each subscription is a run on a thread of its own, on which all is emitted; while
    on_next runs nothing more is given out. Disposing closes all connections within milliseconds,
    and settles what was ready. Rows fail one by one; on_error is for a run that cannot go on:
    `ConfigurationError` (a column that is missing, a key that comes twice, the checkpoint of another
    job, no model), an error that all prompts would meet (the vendor refuses the key, nothing is left
    to pay with), `WorkerLostError` (no worker starts), what `prompts` raises.

    Raises `ImportError` without Ray, and `ConfigurationError` where an argument makes no sense.
    """
    from ._ray_pool import RayPool  # the extra `ray`; without it, rows can still be read

    _check_finer(finer, max_concurrent=max_concurrent, workers=workers)
    spec = ModelSpec(model) if isinstance(model, str) else model
    columns = _columns(prompts, prompt, key, options, keep)
    plan = _plan(prompts, columns, spec, Path(checkpoint), retry_failures, max_concurrent, finer)
    retries = finer.get("max_retries", spec.max_retries if isinstance(spec, ModelSpec) else 2)
    settings = Settings(spec, max_concurrent, retries, None if limits is None else limits.expected_tokens)
    return batch_of(plan, partial(RayPool, settings, workers, limits, finer.get("worker_options", {})))


def batch_of(plan: Plan, pool: Callable[[], WorkerPool]) -> Observable[BatchEvent]:
    """A run of `plan` by a fresh pool for each subscription."""

    def subscribe(
        observer: abc.ObserverBase[BatchEvent], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        return Run(plan, pool(), observer).start()

    return Observable(subscribe)


def _columns(
    prompts: object,
    prompt: str | Callable[[RowIn], Prompt],
    key: str | None,
    options: str | Callable[[RowIn], CallOptions] | None,
    keep: Sequence[str],
) -> Columns:
    if key is None and hasattr(prompts, "iter_rows"):
        raise ConfigurationError("the rows of a Dataset come in any order: name their key column, key=")
    if isinstance(keep, str):
        raise ConfigurationError(f"keep= takes a list of columns: keep=[{keep!r}]")
    return Columns(prompt, key, options, tuple(keep))


def _plan(
    prompts: object,
    columns: Columns,
    model: ModelSpec | ModelFactory,
    checkpoint: Path,
    retry: Retry,
    max_concurrent: int,
    finer: RunOptions,
) -> Plan:
    if retry not in ("none", "transient", "all"):
        raise ConfigurationError(f"retry_failures is 'none', 'transient' or 'all'; got {retry!r}")
    return Plan(
        items=_source(prompts),
        total=finer.get("total", _length(prompts)),
        columns=columns,
        fingerprint=fingerprint(model),
        response_type=model.response_type if isinstance(model, ModelSpec) else None,
        checkpoint=checkpoint,
        about={"job": finer.get("job", ""), "key": columns.key},
        retry=retry,
        backlog=max_concurrent + max(2, max_concurrent // 2),
        progress_every=finer.get("progress_every", 1.0),
        start_timeout=finer.get("start_timeout", 600.0),
        sync=finer.get("sync", 1.0),
    )


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


def _check_finer(finer: RunOptions, **counts: int | None) -> None:
    unknown = finer.keys() - RunOptions.__annotations__.keys()
    if unknown:
        raise ConfigurationError(f"map_prompts() has no argument {', '.join(map(repr, sorted(unknown)))}")
    _check(1, counts)
    names = ("max_retries", "total", "progress_every", "start_timeout", "sync")
    _check(0, {name: cast("float | None", finer.get(name)) for name in names})


def _check(least: int, numbers: Mapping[str, float | None]) -> None:
    for name, number in numbers.items():
        if number is not None and not (number >= least and math.isfinite(number)):
            raise ConfigurationError(f"map_prompts({name}=...) takes {least} or more; got {number!r}")
