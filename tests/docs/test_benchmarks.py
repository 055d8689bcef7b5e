"""The benchmark command: every measure gives figures, and a report of them."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest

from benchmarks.clients import OURS, EpollLoop, RawSocket, RequestsAndSSEClient, Rxllm
from benchmarks.operators import MAP
from benchmarks.plots import DRAWN
from benchmarks.report import Results, Sample, report
from benchmarks.wires import WIRES

ROOT = Path(__file__).resolve().parents[2]
FLOORS = (RawSocket.name, RequestsAndSSEClient.name)
MINE = "|".join(client.name.replace("+", r"\+") for client in OURS)
FIGURES = {
    "first": {"cold", "warm"},
    "pace": {"chunked", "close"},
    "cancel": {"connecting", "TLS", "headers", "streaming", "stalled"},
    "crowd-200": {"us", "p50", "p99", "kb", "failed", "start"},
    "crowd-1000": {"us", "p50", "p99", "kb", "failed", "start"},
}


def run(out: Path, *arguments: str) -> Results:
    """What the command writes; its report is at `out`."""
    command = [sys.executable, "-m", "benchmarks", "--quick", "--rounds", "1", "--out", str(out), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    stored = json.loads((out / "results.json").read_text(encoding="utf-8"))
    samples = [Sample(**sample) for sample in stored.pop("samples")]
    return Results(**stored, samples=samples)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def results(out: Path) -> Results:
    return run(out, "--clients", f"^({MINE})$")


def numbers(results: Results, measure: str, client: str, wire: str | None = None) -> dict[str, list[float]]:
    """The figures of each sample of it, one or many."""
    found: dict[str, list[float]] = {}
    for sample in results.samples:
        if (sample.measure, sample.client) == (measure, client) and wire in (None, sample.wire):
            for name, value in sample.figures.items():
                found.setdefault(name, []).extend(value if isinstance(value, list) else [value])
    return found


class TestFigures:
    """What the measures say."""

    def test_nothing_failed(self, results: Results) -> None:
        """Every measurement of rxllm and of its floors can be made here."""
        assert list(results.errors()) == []

    @pytest.mark.parametrize("wire", WIRES)
    @pytest.mark.parametrize("client", [Rxllm.name, *FLOORS])
    def test_cost(self, results: Results, client: str, wire: str) -> None:
        """A delta costs CPU, on every wire, ours and the floors'."""
        assert all(value > 0 for value in numbers(results, "cost", client, wire)["us"])

    @pytest.mark.parametrize("client", [Rxllm.name, *FLOORS])
    @pytest.mark.parametrize("measure", FIGURES)
    def test_all_are_numbers(self, results: Results, measure: str, client: str) -> None:
        """Each measure says all that it promises, in numbers."""
        found = numbers(results, measure, client)
        assert found.keys() >= FIGURES[measure]
        assert all(values and not any(map(math.isnan, values)) for values in found.values())

    @pytest.mark.parametrize("measure", ["crowd-200", "crowd-1000"])
    def test_crowd(self, results: Results, measure: str) -> None:
        """A crowd is also read by one loop, and none of its streams fails, whoever reads."""
        for client in (Rxllm.name, *FLOORS, EpollLoop.name):
            assert numbers(results, measure, client)["failed"] == [0]

    def test_operators(self, results: Results) -> None:
        """What reactivex costs stands beside what our operators add."""
        found = numbers(results, "operators", Rxllm.name)
        assert found.keys() >= {MAP, "text", "accumulate", "timing", "observe_on_ui"}
        assert all(map(math.isfinite, chain(*found.values())))

    def test_imports(self, results: Results) -> None:
        """The import of rxllm stands beside that of its dependencies."""
        floor, ours = (numbers(results, "import", name)["ms"][0] for name in list(results.clients("import"))[:2])
        assert floor > 0
        assert ours > 0


class TestReport:
    """What is written of them."""

    def test_tables(self, results: Results, out: Path) -> None:
        """Every table has as many cells in each row as in its head, and no figure of rxllm's is missing."""
        text = (out / "README.md").read_text(encoding="utf-8")
        sections = text.split("\n## ")[1:]
        assert len(sections) == len(DRAWN)
        for section in sections:
            rows = [line.split("|") for line in section.splitlines() if line.startswith("|")]
            assert len(rows) > 2
            assert len({len(row) for row in rows}) == 1
            ours = [row for row in rows if row[1].strip() == "rxllm"]
            assert all(cell.strip() for row in ours for cell in row[1:-1])

    def test_plots(self, results: Results, out: Path) -> None:
        """Every measure has its picture, and the report shows it."""
        text = (out / "README.md").read_text(encoding="utf-8")
        for measure in DRAWN:
            assert (out / f"{measure}.svg").read_text(encoding="utf-8").startswith("<?xml")
            assert f"]({measure}.svg)" in text

    def test_ratios_are_of_one_round(self) -> None:
        """A slow round slows client and floor alike, and leaves the ratio as it was."""
        rounds = ((4.0, 2.0), (40.0, 20.0), (6.0, 3.0))
        samples = [
            Sample("cost", client, "chat", number, {"us": value}, None)
            for number, values in enumerate(rounds)
            for client, value in zip((Rxllm.name, RawSocket.name), values, strict=True)
        ]
        results = Results("here", False, {}, [], samples)
        assert results.ratio("cost", Rxllm.name, RawSocket.name, "us", "chat") == 2.0
        assert results.median("cost", Rxllm.name, "us", "chat") == 6.0

    def test_what_failed_is_told(self) -> None:
        """A measurement that could not be made, and a peer that is not there, are in the report."""
        failed = Sample("first", "openai", "chat", 0, {}, "not done in 30 s")
        text = report(Results("here", False, {}, ["litellm"], [failed]), {})
        assert "first, openai, chat, round 1: not done in 30 s" in text
        assert "left out: litellm" in text


class TestCommand:
    """Its arguments."""

    def test_unknown_measure(self, tmp_path: Path) -> None:
        """A measure that does not exist is refused, with those that do."""
        command = [sys.executable, "-m", "benchmarks", "--only", "speed", "--out", str(tmp_path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode != 0
        assert "crowd-1000" in done.stderr

    def test_an_interpreter_without_rxllm_or_peers(self, tmp_path: Path) -> None:
        """What the interpreter for the peers does not have is left out, and said so."""
        nobody = run(tmp_path, "--only", "import", "--clients", "^ollama$", "--peers", "/nonexistent/python")
        assert nobody.left_out == ["ollama"]
