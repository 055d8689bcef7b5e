"""What an operator costs as the answer grows: in proportion, or with its square.

Runs operators over synthetic answers in deltas of 4 characters, each answer twice as long as the
one before, and prints microseconds per delta: a linear operator keeps its figure. "x" is the
time against that of the answer half as long: 2.0 is linear, 4.0 quadratic.

    python benchmarks/operators_linear.py [--deltas 25000] [--doublings 3] [--repeat 3]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from rxllm import operators as ops
from rxllm.events import Response, StreamEnd, TextDelta, TokenEvent

SIZE = 4
PROSE = "Dr. Who paid $3.50 for it, e.g. on Monday. “Really?” she asked. It was so… He left.\n\nThen *nothing* came. "
CODE = "Some text.\n\n```python\ndef f(x):\n    return x + 1\n```\n\n- one\n- two\n\n"

Operator: TypeAlias = Callable[[Observable[Any]], Observable[Any]]


@dataclass
class Item:
    """An element of the typed JSON."""

    id: int
    name: str
    tags: list[str]


@dataclass
class Items:
    """The typed JSON."""

    items: list[Item]


def prose(length: int) -> str:
    """Prose of `length` characters."""
    return (PROSE * (length // len(PROSE) + 1))[:length]


def markdown(length: int) -> str:
    """Markdown of `length` characters."""
    return (CODE * (length // len(CODE) + 1))[:length]


def objects(length: int) -> str:
    """A JSON object of some `length` characters, which holds a list of objects."""
    item = {"id": 1, "name": "some name here, and more of it", "tags": ["a", "b"]}
    return json.dumps({"items": [item] * (length // (len(json.dumps(item)) + 2))})


def numbers(length: int) -> str:
    """A flat JSON list of some `length` characters."""
    return json.dumps([1234567] * (length // 9))


def long_text(length: int) -> str:
    """A JSON object with one text of `length` characters."""
    return json.dumps({"text": "x" * length})


ROWS: Sequence[tuple[str, Callable[[], Operator], Callable[[int], str]]] = [
    ("text", ops.text, prose),
    ("accumulate", ops.accumulate, prose),
    ("accumulate(Response)", lambda: ops.accumulate(Response), prose),
    ("words", ops.words, prose),
    ("sentences", ops.sentences, prose),
    ("lines", ops.lines, prose),
    ("stop_at", lambda: ops.stop_at("STOP", "\n\nHuman:"), prose),
    ("think_tags", ops.think_tags, prose),
    ("redact", lambda: ops.redact(r"sk-\w{8,}"), prose),
    ("grapheme_safe", ops.grapheme_safe, prose),
    ("code_blocks", ops.code_blocks, markdown),
    ("markdown_blocks", ops.markdown_blocks, markdown),
    ("partial_json", ops.partial_json, objects),
    ("partial_json, one text", ops.partial_json, long_text),
    ("partial_json, flat list", ops.partial_json, numbers),
    ("partial_json(type)", lambda: ops.partial_json(Items), objects),
    ("array_items(type)", lambda: ops.array_items(Item, path="items"), objects),
    ("parse(type)", lambda: ops.parse(Items), objects),
]


def events_of(text: str) -> list[TokenEvent]:
    """`text` as an answer in small deltas."""
    pieces = (text[at : at + SIZE] for at in range(0, len(text), SIZE))
    return [*map(TextDelta, pieces), StreamEnd(Response(text=text))]


def seconds(operator: Operator, events: Sequence[TokenEvent]) -> float:
    """How long `events` take through `operator`, to a subscriber that keeps the latest value."""
    latest: list[object] = [None]

    def subscribe(observer: abc.ObserverBase[TokenEvent], _: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        emit = observer.on_next
        for event in events:
            emit(event)
        observer.on_completed()
        return Disposable()

    def keep(value: object) -> None:
        latest[0] = value

    began = time.perf_counter()
    Observable(subscribe).pipe(operator).subscribe(keep, _fail)
    return time.perf_counter() - began


def _fail(error: Exception) -> None:
    raise error


def measured(deltas: int, doublings: int, repeat: int) -> Iterator[str]:
    """The lines of the table."""
    sizes = [deltas << n for n in range(doublings + 1)]
    yield f"{'operator, us per delta':26}" + "".join(f"{size:>12,}{'x':>6}" for size in sizes)
    for name, operator, text in ROWS:
        line, before = f"{name:26}", 0.0
        for size in sizes:
            events = events_of(text(size * SIZE))
            took = min(seconds(operator(), events) for _ in range(repeat))
            line += f"{took / size * 1e6:12.2f}" + (f"{took / before:6.1f}" if before else " " * 6)
            before = took
        yield line


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deltas", type=int, default=25_000)
    parser.add_argument("--doublings", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    for line in measured(options.deltas, options.doublings, options.repeat):
        print(line, flush=True)


if __name__ == "__main__":
    main()
