"""A producer in a process of its own: asks the model, publishes the answer, and says how that went."""

from __future__ import annotations

import sys

import rxllm
from rxllm import relay


def main(redis: str, stream: str, base_url: str, lease: str, take_over: str) -> None:
    model = rxllm.create_streaming_model("openai", model="m", base_url=base_url)
    try:
        publication = relay.publish(
            model.stream("Hello"), stream, redis=redis, lease=float(lease), take_over=take_over == "yes"
        )
    except relay.StreamTakenError:
        print("refused", flush=True)
        return
    print("published", flush=True)
    publication.wait()
    print(publication.state, type(publication.error).__name__, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
