"""A run of a batch: run_batch.py URL CHECKPOINT COUNT ray|threads. Prints its progress, a line of JSON each.

With "ray" on a Ray of its own.
"""

from __future__ import annotations

import sys

import msgspec

import rxllm
from rxllm import batch


def main(url: str, checkpoint: str, count: int, mode: str) -> None:
    """Ask the prompts 0 to `count`, each a number."""
    if mode == "ray":
        import ray

        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    events = batch.map_prompts(
        (f"{number:06}" for number in range(count)),
        batch.ModelSpec("openai", model="m", base_url=url, api_key="not-a-real-key"),
        cluster=mode == "ray",
        checkpoint=checkpoint,
        keep=["prompt"],
        progress_every=0.1,
        total=count,
    )
    for event in rxllm.iter_events(events):
        if isinstance(event, batch.BatchProgress):
            print(msgspec.json.encode(event).decode(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
