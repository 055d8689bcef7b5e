"""Batches without a word of Ray: own_ray.py URL DIRECTORY. Two runs, Ray shut down in a third, an exit in a fourth."""

from __future__ import annotations

import sys
import threading

import ray
from reactivex import Observable

import rxllm
from rxllm import batch


def main(url: str, directory: str) -> None:
    """Print what becomes of each."""

    def events(prompts: list[str], name: str) -> Observable[batch.BatchEvent]:
        spec = batch.ModelSpec("openai", model="m", base_url=url, api_key="not-a-real-key")
        return batch.map_prompts(prompts, spec, cluster=True, checkpoint=f"{directory}/{name}", workers=1)

    for number in range(2):
        rows = [
            each for each in rxllm.iter_events(events(["a", "b"], str(number))) if isinstance(each, batch.AnswerRow)
        ]
        print(len(rows), "answers", flush=True)
    ended, began = threading.Event(), threading.Event()

    def on_error(error: Exception) -> None:
        print(type(error).__name__, error, flush=True)
        ended.set()

    def begin(event: batch.BatchEvent) -> None:
        if isinstance(event, batch.AnswerRow):
            began.set()

    events(["a", "hang"], "shut-down").subscribe(begin, on_error)
    began.wait(150)
    ray.shutdown()
    ended.wait(150)
    began.clear()
    events(["a", "hang"], "left").subscribe(begin, on_error)
    began.wait(150)
    print("leaving", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
