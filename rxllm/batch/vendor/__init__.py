"""The batch APIs of vendors: many prompts in one job, at half the price, answered within 24 hours."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path

from ..._protocol import Wire, WireRequest
from ...errors import ConfigurationError, NotFoundError
from ...model import StreamingModel
from ...providers.vendors import vendor_named
from ..checkpoint import Checkpoint
from ..model_spec import ModelSpec
from .anthropic import AnthropicBatches
from .api import VendorApi, wire_request
from .gemini import GeminiBatches
from .openai import OpenAIBatches
from .pending import PendingJobs

__all__ = ["cancel_vendor_batches"]

_APIS: dict[str, Callable[[WireRequest], VendorApi]] = {
    "openai-chat": OpenAIBatches,
    "openai-responses": OpenAIBatches,
    "anthropic": AnthropicBatches,
    "gemini": GeminiBatches,
}


def api_for(spec: ModelSpec) -> Callable[[WireRequest], VendorApi]:
    """Return what connects to the batch API of the model's vendor; raises `ConfigurationError` if there is none."""
    api = _APIS.get(vendor_named(spec.provider).wire)
    if api is None:
        raise ConfigurationError(f"provider {spec.provider!r} has no batch API that rxllm knows: use mode='stream'")
    return api


@contextmanager
def connected(spec: ModelSpec) -> Generator[tuple[StreamingModel, Wire, VendorApi]]:
    """Provide the model, its wire and its vendor's batch API, and close them afterwards."""
    with closing(spec()) as model:
        wire, request = wire_request(model, "?", {})
        with closing(api_for(spec)(request)) as api:
            yield model, wire, api


def cancel_vendor_batches(checkpoint: str | Path, model: ModelSpec | str) -> int:
    """Cancel the jobs that a checkpoint has at the vendor; return how many.

    Prompts that are answered by then keep their results: run the batch once more to store them. A job that the vendor
    no longer knows is forgotten: the next run submits its prompts again.

    Args:
        checkpoint: Path of the checkpoint, which no run may have open.
        model: The model of the batch, for the vendor and the key.

    Raises:
        ConfigurationError: The checkpoint does not exist or is in use.
        LLMError: The vendor refused.
    """
    if not Path(checkpoint).is_file():
        raise ConfigurationError(f"there is no checkpoint {str(checkpoint)!r}")
    spec = ModelSpec(model) if isinstance(model, str) else model
    with closing(Checkpoint(Path(checkpoint), None)) as file, connected(spec) as (_, _, api):
        pending = PendingJobs(file)
        jobs = [(noted.token, noted.job) for noted in pending.jobs() if noted.job is not None]
        for token, job in jobs:
            try:
                api.cancel(job)
            except NotFoundError:
                pending.forget(token)
    return len(jobs)
