"""The results as tables of Markdown."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import TypeAlias

from .clients import EpollLoop, RawSocket, RequestsAndSSEClient, Rxllm
from .operators import MAP
from .wires import WIRES

Figures: TypeAlias = dict[str, float | list[float]]

RAW, NAIVE, LOOP, OURS = RawSocket.name, RequestsAndSSEClient.name, EpollLoop.name, Rxllm.name
CROWDS = {"crowd-200": "200 streams at 50 tokens/s", "crowd-1000": "1,000 streams at 20 tokens/s"}
PHASES = {
    "connecting": "connecting",
    "TLS": "TLS handshake",
    "headers": "before the headers",
    "streaming": "streaming",
    "stalled": "stalled",
}


@dataclass
class Sample:
    """One measurement: the figures of it, or why there are none."""

    measure: str
    client: str
    wire: str
    round: int
    figures: Figures
    error: str | None


@dataclass
class Results:
    """All that was measured in one run of the command."""

    machine: str
    quick: bool
    versions: dict[str, str]
    left_out: list[str]
    samples: list[Sample]

    def to_json(self) -> str:
        """All of it; what is not a number is "Infinity"."""
        return json.dumps(asdict(self), indent=1) + "\n"

    def clients(self, measure: str, wire: str | None = None) -> list[str]:
        """Who was measured so, in that order."""
        names = (s.client for s in self.samples if s.measure == measure and wire in (None, s.wire))
        return list(dict.fromkeys(names))

    def by_round(self, measure: str, client: str, figure: str, wire: str | None = None) -> dict[int, float]:
        """A figure in each round; where it is a list, the median of that."""
        found: dict[int, float] = {}
        for sample in self.samples:
            if (sample.measure, sample.client) == (measure, client) and wire in (None, sample.wire):
                value = sample.figures.get(figure)
                if isinstance(value, list) and value:
                    found[sample.round] = statistics.median(value)
                elif isinstance(value, float | int) and not math.isnan(value):
                    found[sample.round] = value
        return found

    def median(self, measure: str, client: str, figure: str, wire: str | None = None) -> float | None:
        """Over the rounds."""
        values = self.by_round(measure, client, figure, wire)
        return statistics.median(values.values()) if values else None

    def ratio(self, measure: str, client: str, floor: str, figure: str, wire: str | None = None) -> float | None:
        """To the floor's of the same round, the median over the rounds."""
        mine, its = (self.by_round(measure, name, figure, wire) for name in (client, floor))
        ratios = [mine[number] / its[number] for number in mine.keys() & its.keys() if its[number]]
        return statistics.median(ratios) if ratios else None

    def percentile(self, measure: str, client: str, figure: str, percent: int) -> float | None:
        """Of the single events of all rounds."""
        pooled: list[float] = []
        for sample in self.samples:
            value = sample.figures.get(figure)
            if (sample.measure, sample.client) == (measure, client) and isinstance(value, list):
                pooled += value
        return sorted(pooled)[min(len(pooled) - 1, len(pooled) * percent // 100)] if pooled else None

    def errors(self) -> Iterable[str]:
        """What could not be measured, and why."""
        for sample in self.samples:
            if sample.error:
                yield f"{sample.measure}, {sample.client}, {sample.wire}, round {sample.round + 1}: {sample.error}"


def report(results: Results, plots: dict[str, str]) -> str:
    """The whole report; `plots` are names of files by measure."""
    parts = ["# Results", f"{results.machine}. Medians; ratios are to the floor in the same round. How to read them: "]
    parts[1] += "[README.md](../README.md)."
    if results.quick:
        parts.append("**Made with `--quick`: so few of everything that no figure here means anything.**")
    if results.left_out:
        parts.append(f"Not installed, and left out: {', '.join(results.left_out)}.")
    measured = {sample.measure for sample in results.samples}
    for section, (title, note, table) in SECTIONS.items():
        if section in measured:
            parts += [f"## {title}", note, table(results)]
            if section in plots:
                parts.append(f"![{title}]({plots[section]})")
    if errors := list(results.errors()):
        parts += ["## What could not be measured", "\n".join(f"- {error}" for error in errors)]
    parts.append(
        "Versions: " + ", ".join(f"{name} {number}" for name, number in sorted(results.versions.items())) + "."
    )
    return "\n\n".join(parts) + "\n"


def number(value: float | None) -> str:
    """A figure with what digits are worth reading."""
    if value is None:
        return ""
    if math.isinf(value):
        return "never"
    if value == int(value):
        return f"{value:.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cost(results: Results) -> str:
    def cell(client: str, wire: str) -> str:
        ratio = results.ratio("cost", client, RAW, "us", wire)
        beside = f" ({ratio:.2f})" if ratio is not None else ""
        return number(results.median("cost", client, "us", wire)) + beside

    clients = results.clients("cost")
    rows = ([client, *(cell(client, wire) for wire in WIRES)] for client in clients)
    return _table(["client", *WIRES], rows)


def _operators(results: Results) -> str:
    figures = next((s.figures for s in results.samples if s.measure == "operators" and s.figures), {})

    def row(name: str) -> list[str]:
        return [
            name,
            number(results.median("operators", OURS, name)),
            _relative(results.by_round("operators", OURS, name), results.by_round("operators", OURS, MAP)),
        ]

    return _table(["what", "us per item", "to reactivex's map"], map(row, figures))


def _relative(mine: dict[int, float], its: dict[int, float]) -> str:
    ratios = [mine[number] / its[number] for number in mine.keys() & its.keys() if its[number] > 0]
    return number(statistics.median(ratios)) if ratios else ""


def _imports(results: Results) -> str:
    clients = results.clients("import")
    rows = (
        [
            client,
            number(results.median("import", client, "ms")),
            number(results.ratio("import", client, clients[0], "ms")),
        ]
        for client in clients
    )
    return _table(["what", "ms CPU", "ratio"], rows)


def _first(results: Results) -> str:
    rows = (
        [
            client,
            number(results.median("first", client, "cold")),
            number(results.median("first", client, "warm")),
            number(results.ratio("first", client, NAIVE, "warm")),
        ]
        for client in results.clients("first")
    )
    return _table(["client", "cold ms", "warm ms", "warm, to requests + sseclient-py"], rows)


def _pace(results: Results) -> str:
    columns = [("chunked", 50), ("chunked", 99), ("close", 50), ("close", 99)]
    rows = (
        [client, *(number(results.percentile("pace", client, *column)) for column in columns)]
        for client in results.clients("pace")
    )
    return _table(["client", "chunked p50 ms", "p99 ms", "without chunks p50 ms", "p99 ms"], rows)


def _cancel(results: Results) -> str:
    def cell(client: str, phase: str) -> str:
        p50, p99 = (results.percentile("cancel", client, phase, percent) for percent in (50, 99))
        said = number(p50)
        return said if p50 == p99 else f"{said} / {number(p99)}"

    rows = ([client, *(cell(client, phase) for phase in PHASES)] for client in results.clients("cancel"))
    return _table(["client, ms p50 / p99", *PHASES.values()], rows)


def _crowd(measure: str) -> Callable[[Results], str]:
    columns = {
        "CPU us per delta": "us",
        "delay p50 ms": "p50",
        "p99 ms": "p99",
        "p99 ms once all had begun": "later",
        "all had begun after s": "start",
        "KB a stream": "kb",
        "threads": "threads",
        "not through": "failed",
        "server late p99 ms": "late",
    }

    def table(results: Results) -> str:
        def cells(client: str) -> list[str]:
            return [number(results.median(measure, client, figure)) for figure in columns.values()]

        rows = (
            [client, number(results.ratio(measure, client, LOOP, "us")), *cells(client)]
            for client in results.clients(measure)
        )
        return _table(["client", "CPU to one loop", *columns], rows)

    return table


SECTIONS: dict[str, tuple[str, str, Callable[[Results], str]]] = {
    "cost": (
        "CPU per text delta",
        "Microseconds of the client process on each wire at full speed; in brackets, to the raw socket's.",
        _cost,
    ),
    "operators": (
        "What operators add",
        "Microseconds of CPU per item, without a wire; what begins with reactivex is its own cost.",
        _operators,
    ),
    "import": ("Import", "Milliseconds of CPU in a fresh process, to rxllm's own dependencies.", _imports),
    "first": (
        "First token",
        "Milliseconds from asking to the first text: cold from making the client (imports done), warm after that.",
        _first,
    ),
    "pace": (
        "Delay added per token at 50 tokens/s",
        "Milliseconds from the server's sending to the subscriber's seeing it.",
        _pace,
    ),
    "cancel": (
        "Cancelling",
        "Milliseconds until the server sees the close; while connecting, until the thread is free. Never: over 2 s.",
        _cancel,
    ),
} | {
    name: (
        title,
        "All asked for at once, by one client; the delays are of the whole run, start included.",
        _crowd(name),
    )
    for name, title in CROWDS.items()
}
