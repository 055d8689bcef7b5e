"""A run over a vendor's batch API: run_vendor_batch.py PROVIDER URL CHECKPOINT COUNT SIZE."""

from __future__ import annotations

import sys

import rxllm
from rxllm import batch


def main(provider: str, url: str, checkpoint: str, count: int, size: int) -> None:
    """Ask the prompts 0 to `count`, each a number."""
    events = batch.map_prompts(
        (f"{number:04}" for number in range(count)),
        batch.ModelSpec(provider, model="m", base_url=url, api_key="not-a-real-key"),
        checkpoint=checkpoint,
        mode="vendor_batch",
        poll_seconds=0.05,
        batch_size=size,
        total=count,
    )
    for _ in rxllm.iter_events(events):
        pass


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
