"""A reader in a process of its own: prints the events as lines of JSON, and how the stream ended.

With a number of visits, it leaves after each first entry, and comes back with its id.
"""

from __future__ import annotations

import json
import sys
import threading

from rxllm._core.event_log import Entry
from rxllm.errors import LLMError
from rxllm.events import TokenEvent, event_to_json
from rxllm.relay import RedisLog


def visit(log: RedisLog, after: int, most: int | None) -> tuple[int, bool]:
    """Read at most `most` entries; where to go on, and whether the stream has ended."""
    over = threading.Event()
    ended = False
    count = 0

    def on_next(entry: Entry[TokenEvent]) -> None:
        nonlocal after, count
        if count == most:
            return
        after, count = entry.id, count + 1
        print(json.dumps({"id": entry.id, "event": event_to_json(entry.event)}), flush=True)
        if count == most:
            over.set()

    def end(error: Exception | None = None) -> None:
        nonlocal ended
        if count == most:
            return  # it comes before dispose(), but entries that this visit does not read come before it
        ended = True
        partial = error.partial if isinstance(error, LLMError) else None
        text = None if partial is None else partial.text
        print(json.dumps({"end": type(error).__name__, "partial": text}), flush=True)
        over.set()

    subscription = log.read(after).subscribe(on_next, end, end)
    over.wait()
    subscription.dispose()
    return after, ended


def main(redis: str, stream: str, after: str, visits: str) -> None:
    log = RedisLog(stream, redis, wait=60)
    position, ended = int(after), False
    for _ in range(int(visits)):
        position, ended = visit(log, position, 1)
    if not ended:
        visit(log, position, None)


if __name__ == "__main__":
    main(*sys.argv[1:])
