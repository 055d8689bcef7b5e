"""What operators add per item, in this process and without a wire; what is reactivex's own stands apart.

The source is `reactivex.create` over items that exist already. Each row is the CPU of a pass with
the operator less that of a pass without, per item.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

BARE = "reactivex: create to subscribe"
MAP = "reactivex: + map"


def operators(answer: int, repeat: int, passes: int) -> dict[str, float]:
    """Microseconds by row, for answers of so many deltas; "10x" is an answer ten times as long."""
    rx = import_module("reactivex.operators")
    ops, events = import_module("rxllm.operators"), import_module("rxllm.events")
    numbers = list(range(answer))
    tokens = [events.TextDelta(" the") for _ in range(10 * answer)]
    end = [events.StreamEnd(events.Response(text=" the" * answer))]
    with ui() as scheduler:
        cases: dict[str, tuple[Sequence[object], tuple[Any, ...]]] = {
            BARE: (numbers, ()),
            MAP: (numbers, (rx.map(lambda number: number + 1),)),
            "reactivex: + scan": (numbers, (rx.scan(lambda total, number: total + number, 0),)),
            "tokens, no operator": (tokens[:answer] + end, ()),
            "text": (tokens[:answer] + end, (ops.text(),)),
            "accumulate": (tokens[:answer] + end, (ops.accumulate(),)),
            "timing": (tokens[:answer] + end, (ops.timing(),)),
            "observe_on_ui": (tokens[:answer] + end, (ops.observe_on_ui(scheduler),)),
            "10x tokens, no operator": (tokens + end, ()),
            "accumulate, 10x": (tokens + end, (ops.accumulate(),)),
        }
        best = {name: _best(items, stages, repeat, passes) for name, (items, stages) in cases.items()}
    bare, plain, plain_10x = best[BARE], best["tokens, no operator"], best.pop("10x tokens, no operator")
    for name in best:
        if name.startswith("reactivex: +"):
            best[name] -= bare
        elif name.endswith("10x"):
            best[name] -= plain_10x
        elif name not in (BARE, "tokens, no operator"):
            best[name] -= plain
    return best


def _best(items: Sequence[object], stages: tuple[Any, ...], repeat: int, passes: int) -> float:
    """The best of the passes, each of `repeat` streams one after another, in microseconds per item."""
    source = import_module("reactivex").create(_emit(items)).pipe(*stages)
    best = float("inf")
    for _ in range(passes + 1):  # the first warms up, and is never the best by much
        before = time.process_time_ns()
        for _ in range(repeat):
            ended = threading.Event()
            source.subscribe(_ignore, None, ended.set)
            ended.wait()
        best = min(best, (time.process_time_ns() - before) / 1e3 / repeat / len(items))
    return best


def _emit(items: Sequence[object]) -> Callable[[Any, Any], None]:
    def subscribe(observer: Any, scheduler: Any) -> None:
        on_next = observer.on_next
        for item in items:
            on_next(item)
        observer.on_completed()

    return subscribe


def _ignore(item: object) -> None:
    """A subscriber that costs as little as one can."""


@contextmanager
def ui() -> Iterator[Any]:
    """The scheduler of an asyncio loop on a thread of its own, as a user interface would have."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield import_module("rxllm.ui.asyncio").AsyncIOScheduler(loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
