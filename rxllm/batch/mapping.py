"""`map_prompts`: checks the arguments of a batch and returns it as an Observable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias, TypedDict, Unpack, cast

from reactivex import Observable, abc

from .._core.awaitable import AwaitableObservable
from .._schema import converted
from ..errors import ConfigurationError
from ..options import CallOptions
from ..prompt import Prompt
from ._jobs import Columns, RowIn
from ._progress_bar import with_progress_bar
from ._run import BaseRun, BatchEvent, Mode, Plan, Run, RunSettings
from ._worker import Settings
from ._worker_pool import LocalPool, limit_for
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


_RunFactory: TypeAlias = Callable[[abc.ObserverBase[BatchEvent]], BaseRun]


class RunOptions(TypedDict, total=False):
    """More arguments of `map_prompts`, all with defaults.

    Attributes:
        max_retries: Retries after transient errors, also in the middle of an answer; default: those of the model, or 2.
        outage_timeout: Seconds that requests wait while nearly all of them fail transiently: 600. 0 turns that off.
        stop_after_equal_failures: The run ends if its first prompts, this many, fail with the same permanent error: 20.
            0 turns that off.
        total: Number of prompts, for `BatchProgress.eta`; default: the length of `prompts`, if it has one.
        version: Change it when a model factory or what it closes over has changed: then all prompts are sent again.
        progress_every: Seconds between two `BatchProgress`: 1.
        show_progress: Draw a progress bar on stderr, with the package rich: False.
        start_timeout: With a cluster: seconds until the first worker must have started, machines that must boot
            included: 600.
        worker_options: With a cluster: options of the Ray actors, such as `{"num_gpus": 1}`.
        poll_seconds: With `mode="vendor_batch"`: seconds between two looks at the jobs, at first: 10. They grow to ten
            times that.
        batch_size: With `mode="vendor_batch"`: most prompts in one job; default: the vendor's limit.
    """

    max_retries: int
    outage_timeout: float
    stop_after_equal_failures: int
    total: int
    version: str
    progress_every: float
    show_progress: bool
    start_timeout: float
    worker_options: Mapping[str, object]
    poll_seconds: float
    batch_size: int


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

    Example:
        >>> events = map_prompts(["a", "b"], "openai:gpt-4o-mini", checkpoint="job.sqlite", max_concurrent=4)
    """
    if isinstance(keep, str):
        raise ConfigurationError(f"keep= takes a list of columns: keep=[{keep!r}]")
    if key is None and hasattr(prompts, "iter_rows"):
        raise ConfigurationError("the rows of a Dataset have no order: name their key column with key=")
    settings = _settings(
        prompts, mode=mode, max_concurrent=max_concurrent, workers=workers, retry_failures=retry_failures, **more
    )
    spec = ModelSpec(model) if isinstance(model, str) else model
    plan = Plan(
        items=_source(prompts),
        settings=settings,
        columns=Columns(prompt, key, options, tuple(keep)),
        fingerprint=fingerprint(spec, settings.version),
        response_type=spec.response_type if isinstance(spec, ModelSpec) else None,
        checkpoint=Path(checkpoint),
    )
    events = batch_of(_run_of(plan, spec, limits, cluster or ray_address is not None, ray_address))
    return with_progress_bar(events) if settings.show_progress else events


def batch_of(run: _RunFactory) -> Observable[BatchEvent]:
    """Return the batch: each subscription starts the run that `run` returns for its observer."""
    return AwaitableObservable(lambda observer, _: run(observer).start())


def _run_of(
    plan: Plan, spec: ModelSpec | ModelFactory, limits: RateLimits | None, on_cluster: bool, address: str | None
) -> _RunFactory:
    """Return what makes a run; raise `ConfigurationError` for arguments that do not fit together."""
    settings = plan.settings
    worker = Settings(spec, settings.max_concurrent, settings.max_retries, settings.outage_timeout)
    if settings.mode == "vendor_batch":
        from .vendor import api_for
        from .vendor.run import VendorRun  # most batches do not need them

        if not isinstance(spec, ModelSpec):
            raise ConfigurationError("mode='vendor_batch' takes a ModelSpec or its short form, not a function")
        api_for(spec)  # raises if the vendor has none
        return partial(VendorRun, plan, spec)
    if on_cluster:
        from ._ray_pool import RayPool  # the extra `ray`; nothing else imports it

        return lambda observer: Run(
            plan, RayPool(worker, settings.workers, limits, settings.worker_options or {}, address), observer
        )
    if settings.workers is not None or settings.worker_options is not None:
        raise ConfigurationError(
            "workers= and worker_options= are for a cluster: pass cluster=True, or max_concurrent="
        )
    limit = None if limits is None else limit_for(limits)
    return lambda observer: Run(plan, LocalPool(worker, limit), observer)


def _settings(prompts: object, **given: object) -> RunSettings:
    """Return the settings of a run; raise `ConfigurationError` if one does not exist or has a wrong value."""
    if isinstance(prompts, Sequence):
        given = {"total": len(cast("Sequence[object]", prompts)), **given}
    unknown = given.keys() - set(RunSettings.__struct_fields__)
    if unknown:
        raise ConfigurationError(f"map_prompts() has no argument {', '.join(map(repr, sorted(unknown)))}")
    plain = {name: getattr(value, "tolist", lambda kept=value: kept)() for name, value in given.items()}  # of numpy
    return converted(plain, RunSettings, "map_prompts() has a wrong argument")


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
    if not isinstance(given, Iterator):
        return lambda: given
    unread = [given]

    def take() -> Iterable[object]:
        """Return the generator once: a second run of it is an error, not an empty batch."""
        if not unread:
            raise ConfigurationError(
                "these prompts come from a generator, which an earlier run has read: pass the function that creates it"
            )
        return unread.pop()

    return take
