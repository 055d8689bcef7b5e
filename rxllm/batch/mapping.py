"""`map_prompts`: checks the arguments of a batch and returns it as an Observable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, TypedDict, Unpack, cast, get_args

import msgspec
from reactivex import Observable, abc

from ..errors import ConfigurationError
from ..options import CallOptions
from ..prompt import Prompt
from ._base_run import BaseRun, BatchEvent, Plan, RunSettings
from ._jobs import Columns, RowIn
from ._local_pool import LocalPool, limit_for
from ._progress_bar import with_progress_bar
from ._run import Run
from ._worker import Settings
from .checkpoint import Retry
from .model_spec import ModelFactory, ModelSpec, fingerprint
from .shared_limits import RateLimits


class RayDataset(Protocol):
    """The part of `ray.data.Dataset` that a batch uses."""

    def iter_rows(self) -> Iterable[dict[str, object]]:
        """Return its rows."""
        ...


Prompts: TypeAlias = Iterable[Prompt | RowIn] | RayDataset | Callable[[], Iterable[Prompt | RowIn]]
"""Prompts or rows, or a function that returns them for each subscription."""


Mode: TypeAlias = Literal["stream", "vendor_batch"]
"""How prompts are sent: each in its own request, or through the vendor's batch API."""


class RunOptions(TypedDict, total=False):
    """More arguments of `map_prompts`, all with defaults."""

    max_retries: int
    """Retries after transient errors, also in the middle of an answer; default: those of the model, or 2."""
    outage_timeout: float
    """Seconds that requests wait while nearly all of them fail transiently: 600. 0 turns that off."""
    stop_after_equal_failures: int
    """The run ends if its first prompts, this many, fail with the same permanent error: 20. 0 turns that off."""
    total: int
    """Number of prompts, for `BatchProgress.eta`; default: the length of `prompts`, if it has one."""
    job: str
    """Name of the job in its checkpoint; a run with another name is refused. Default: ""."""
    version: str
    """Change it when a model factory or what it closes over has changed: then all prompts are sent again."""
    progress_every: float
    """Seconds between two `BatchProgress`: 1."""
    show_progress: bool
    """Draw a progress bar on stderr, with the package tqdm or rich: False."""
    sync: float
    """Seconds of work that a power cut (not a crash) may lose: 1."""
    start_timeout: float
    """With a cluster: seconds until the first worker must have started, machines that must boot included: 600."""
    worker_options: Mapping[str, object]
    """With a cluster: options of the Ray actors, such as `{"num_gpus": 1}`."""
    poll_seconds: float
    """With `mode="vendor_batch"`: seconds between two looks at the jobs, at first: 10. They grow to ten times that."""
    batch_size: int
    """With `mode="vendor_batch"`: most prompts in one job; default: the vendor's limit."""
    deadline: float
    """With `mode="vendor_batch"`: seconds after which a job is cancelled: 93,600 (26 hours)."""


def map_prompts(
    prompts: Prompts,
    model: ModelSpec | ModelFactory | str,
    *,
    checkpoint: str | Path,
    prompt: str | Callable[[RowIn], Prompt] = "prompt",
    key: str | None = None,
    options: str | Callable[[RowIn], CallOptions] | None = None,
    keep: Sequence[str] = (),
    mode: Mode = "stream",
    cluster: bool = False,
    ray_address: str | None = None,
    workers: int | None = None,
    max_concurrent: int = 16,
    limits: RateLimits | None = None,
    retry_failures: Retry = "none",
    **more: Unpack[RunOptions],
) -> Observable[BatchEvent]:
    """Ask `model` every prompt; emit a row for each, an `AnswerRow` or a `FailureRow`, and the progress.

    Cold: each subscription is a run on a thread of its own, on which everything is emitted. While on_next runs, no
    further request starts. Disposing closes all connections within milliseconds and stores what was ready.

    Each row is in the file `checkpoint` before it is emitted. A later run over the same file asks, and emits, only
    prompts without a row, prompts that have changed (the prompt, the model, an option), and failures if
    `retry_failures` says so. `read_rows` returns all rows.

    A prompt that fails is a row. on_error is for a run that cannot continue: `ConfigurationError` (a missing column,
    a key that occurs twice, the checkpoint of another job, no model), an error that all prompts would meet (a
    refused key, no credit, the first 20 prompts fail alike), `WorkerLostError` (no worker starts), or what reading
    `prompts` raises.

    Args:
        prompts: Prompts, or rows: mappings whose columns hold the prompt and more. An iterable, a function that
            returns one for each run, or a Ray Dataset. Read as needed, on a thread of its own.
        model: A `ModelSpec`, its short form ("openai:gpt-4o-mini"), or a function that creates a model.
        checkpoint: Path of the SQLite file with the rows; it is created if it does not exist.
        prompt: Column with the prompt, or a function of the row that returns it.
        key: Column with the key, text or a whole number, that identifies a prompt in all runs. Default: its number
            from 0, so the order must be the same in each run; a Dataset needs a key.
        options: Column with options of the call, or a function of the row that returns them.
        keep: Columns that rows carry over ("prompt" of a prompt by itself). Their values must be JSON.
        mode: "stream" makes a request for each prompt. "vendor_batch" submits jobs to the batch API of OpenAI,
            Anthropic or Gemini, at half the price and with results within 24 hours. Disposing then leaves the jobs to
            the vendor; the next run over the checkpoint takes their results. `cancel_vendor_batches` cancels them.
        cluster: Run worker processes on a Ray cluster (needs the extra `ray`). Default: threads of this process.
        ray_address: Address of the cluster; implies `cluster`. Default: the one that this process is connected to,
            else what `ray.init()` finds or starts.
        workers: With a cluster, the number of worker processes; default: one for each CPU, also of nodes that join.
        max_concurrent: Requests at a time, of each worker.
        limits: Requests and tokens per minute, of all workers together.
        retry_failures: Failures of earlier runs to ask again: "none", "transient" or "all".
        more: See `RunOptions`.

    Raises:
        ConfigurationError: An argument is wrong.
        ImportError: `cluster` without the package ray.

    Example:
        >>> events = map_prompts(["a", "b"], "openai:gpt-4o-mini", checkpoint="job.sqlite", max_concurrent=4)
    """
    chosen = _chosen(more, prompts)
    _check(retry_failures, keep, max_concurrent=max_concurrent, workers=workers)
    if key is None and hasattr(prompts, "iter_rows"):
        raise ConfigurationError("the rows of a Dataset have no order: name their key column with key=")
    spec = ModelSpec(model) if isinstance(model, str) else model
    plan = Plan(
        items=_source(prompts),
        settings=chosen,
        columns=Columns(prompt, key, options, tuple(keep)),
        fingerprint=fingerprint(spec, chosen.version),
        response_type=spec.response_type if isinstance(spec, ModelSpec) else None,
        checkpoint=Path(checkpoint),
        about={"job": chosen.job, "key": key},
        retry=retry_failures,
        backlog=max_concurrent + max(2, max_concurrent // 2),
    )
    worker = Settings(spec, max_concurrent, chosen.max_retries, chosen.outage_timeout)
    if mode == "vendor_batch":
        from .vendor.run import VendorRun, api_for  # most batches do not need them

        if not isinstance(spec, ModelSpec):
            raise ConfigurationError("mode='vendor_batch' takes a ModelSpec or its short form, not a function")
        events = batch_of(partial(VendorRun, plan, spec, api_for(spec)))
    elif mode != "stream":
        raise ConfigurationError(f"mode is 'stream' or 'vendor_batch'; got {mode!r}")
    elif cluster or ray_address is not None:
        from ._ray_pool import RayPool  # the extra `ray`; nothing else imports it

        pool = partial(RayPool, worker, workers, limits, chosen.worker_options or {}, ray_address)
        events = batch_of(lambda observer: Run(plan, pool(), observer))
    elif workers is not None or chosen.worker_options is not None:
        raise ConfigurationError(
            "workers= and worker_options= are for a cluster: pass cluster=True, or max_concurrent="
        )
    else:
        limit = None if limits is None else limit_for(limits)
        events = batch_of(lambda observer: Run(plan, LocalPool(worker, limit), observer))
    return with_progress_bar(events) if chosen.show_progress else events


def batch_of(run: Callable[[abc.ObserverBase[BatchEvent]], BaseRun]) -> Observable[BatchEvent]:
    """Return the batch: each subscription starts the run that `run` returns for its observer."""

    def subscribe(
        observer: abc.ObserverBase[BatchEvent], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        return run(observer).start()

    return Observable(subscribe)


def _check(retry: object, keep: object, **counts: int | None) -> None:
    """Raise `ConfigurationError` for arguments that cannot be meant."""
    for name, count in counts.items():
        if count is not None and count < 1:
            raise ConfigurationError(f"map_prompts({name}=...) takes 1 or more; got {count!r}")
    if retry not in get_args(Retry):
        raise ConfigurationError(f"retry_failures is 'none', 'transient' or 'all'; got {retry!r}")
    if isinstance(keep, str):
        raise ConfigurationError(f"keep= takes a list of columns: keep=[{keep!r}]")


def _source(prompts: object) -> Callable[[], Iterable[object]]:
    """Return a function that returns the prompts; raise if `prompts` is not an iterable, a function or a Dataset."""
    kind = type(prompts).__name__
    if hasattr(prompts, "iterrows") or hasattr(prompts, "to_dicts"):  # pandas, Polars; they iterate over columns
        raise ConfigurationError(
            f"prompts= takes rows, not a {kind}: pass frame.to_dict('records') or frame.to_dicts()"
        )
    rows = getattr(prompts, "iter_rows", prompts)
    if callable(rows):
        return cast("Callable[[], Iterable[object]]", rows)
    if isinstance(prompts, str | Mapping) or not isinstance(prompts, Iterable):
        raise ConfigurationError(
            f"prompts= takes an iterable of prompts or rows, a function returning one, or a Ray Dataset; got a {kind}"
        )
    given = cast("Iterable[object]", prompts)
    return _once(given) if isinstance(given, Iterator) else lambda: given


def _once(prompts: Iterator[object]) -> Callable[[], Iterable[object]]:
    """Return a function that returns `prompts` once: a second run of a generator is an error, not an empty batch."""
    given: list[Iterator[object]] = [prompts]

    def take() -> Iterable[object]:
        if not given:
            raise ConfigurationError(
                "these prompts come from a generator, which an earlier run has read: pass the function that creates it"
            )
        return given.pop()

    return take


def _chosen(more: RunOptions, prompts: object) -> RunSettings:
    """Return the settings of a run; raise `ConfigurationError` if one does not exist or has a wrong value."""
    unknown = more.keys() - RunOptions.__annotations__.keys()
    if unknown:
        raise ConfigurationError(f"map_prompts() has no argument {', '.join(map(repr, sorted(unknown)))}")
    total = len(cast("Sequence[object]", prompts)) if isinstance(prompts, Sequence) else None
    given: dict[str, object] = {"total": total, **more}
    plain = {name: getattr(value, "tolist", lambda kept=value: kept)() for name, value in given.items()}  # of numpy
    try:
        return msgspec.convert(plain, RunSettings)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"map_prompts() has a wrong argument: {error}") from error
