"""The one command: measure rxllm, its floors, and the peers that are installed; write a report and plots.

    python -m benchmarks [--only cost,crowd] [--rounds N] [--quick] [--peers PYTHON] [--clients REGEX] [--out DIR]

Run it from the root of the checkout, on a machine that does nothing else. It takes under 6 minutes on
two cores, and under 15 with the peers; README.md beside this file says how to read what it writes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from .clients import OURS, Client, environment
from .peers import PEERS
from .plots import plot
from .report import Results, Sample, report
from .wires import WIRES

ROOT = Path(__file__).resolve().parent.parent
OPERATORS = "operators"
IMPORTS = {
    "import requests, reactivex, sseclient": "import requests, reactivex, reactivex.operators, sseclient",
    "import rxllm": "from rxllm import create_streaming_model",  # the name loads the package
    "import rxllm, and its operators": "from rxllm import operators",
}


class Measure(NamedTuple):
    """How much of one measure is done."""

    name: str
    function: str
    limit: float
    """Seconds for one run of it, then it is given up."""
    rounds: int
    peer_rounds: int
    options: dict[str, float]
    quick: dict[str, float]


MEASURES = (
    Measure("cost", "cost", 60, 3, 2, {"deltas": 20_000, "passes": 5}, {"deltas": 200, "passes": 1}),
    Measure(
        OPERATORS,
        OPERATORS,
        60,
        3,
        0,
        {"answer": 2_000, "repeat": 10, "passes": 5},
        {"answer": 100, "repeat": 1, "passes": 1},
    ),
    Measure("import", "import", 60, 5, 3, {}, {}),
    Measure("first", "first", 30, 3, 2, {"warm": 50}, {"warm": 2}),
    Measure("pace", "pace", 30, 2, 1, {"deltas": 200, "rate": 50}, {"deltas": 3, "rate": 50}),
    Measure("cancel", "cancel", 60, 2, 1, {"each": 25, "patience": 2}, {"each": 1, "patience": 0.25}),
    Measure(
        "crowd-200",
        "crowd",
        60,
        2,
        1,
        {"streams": 200, "deltas": 250, "rate": 50, "limit": 40},
        {"streams": 4, "deltas": 3, "rate": 50, "limit": 40},
    ),
    Measure(
        "crowd-1000",
        "crowd",
        60,
        2,
        1,
        {"streams": 1000, "deltas": 120, "rate": 20, "limit": 40},
        {"streams": 80, "deltas": 3, "rate": 20, "limit": 40},
    ),
)


class Found(NamedTuple):
    """A client that is installed, and where."""

    client: type[Client]
    python: str
    is_peer: bool


class Run(NamedTuple):
    """One measurement to be made in a process of its own."""

    measure: Measure
    client: str
    wire: str
    python: str
    rounds: int


def main() -> None:
    """Measure, and write results.json, README.md and the plots into the directory for results."""
    options = arguments()
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    runs, versions, left_out = plan(options)
    results = Results(machine(), options.quick, versions, left_out, [])
    with server() as base:
        for number in range(max((run.rounds for run in runs), default=0)):
            for run in runs:
                if number < run.rounds:
                    sample = take(run, number, base, quick=options.quick)
                    results.samples.append(sample)
                    print(f"{time.monotonic() - started:5.0f} s  {told(sample)}", file=sys.stderr, flush=True)
            (out / "results.json").write_text(results.to_json(), encoding="utf-8")
    plots = plot(results, out)
    text = report(results, plots)
    (out / "README.md").write_text(text, encoding="utf-8")
    print(text)


def arguments() -> argparse.Namespace:
    """The command line."""
    names = ", ".join(measure.name for measure in MEASURES)
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", metavar="MEASURES", help=f"some of: {names}")
    parser.add_argument("--rounds", type=int, help="rounds of each measure, instead of what each has")
    parser.add_argument("--quick", action="store_true", help="so few of everything that the figures mean nothing")
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON", help="the interpreter with the peers")
    parser.add_argument("--clients", default="", metavar="REGEX", help="only the clients whose names it finds")
    parser.add_argument("--out", default=str(ROOT / "benchmarks" / "results"), metavar="DIR")
    return parser.parse_args()


def plan(options: argparse.Namespace) -> tuple[list[Run], dict[str, str], list[str]]:
    """What is to be run, in the order of a round; the versions of it; and what is not installed."""
    wanted = options.only.split(",") if options.only else [measure.name for measure in MEASURES]
    measures = [m for m in MEASURES if any(m.name == name or m.function == name for name in wanted)]
    if not measures:
        raise SystemExit(f"--only takes some of: {', '.join(m.name for m in MEASURES)}; got {options.only!r}")
    versions: dict[str, str] = {}
    left_out: list[str] = []
    clients: list[Found] = []
    for client, python in [*((c, sys.executable) for c in OURS), *((c, options.peers) for c in PEERS)]:
        if not re.search(options.clients, client.name):
            continue
        found = in_process(python, "benchmarks.measures", "probe", client.name, "", "", "", limit=60)
        if "error" in found:
            left_out.append(client.name)
        else:
            versions |= found
            clients.append(Found(client, python, client in PEERS))
    return list(runs_of(measures, clients, options.rounds)), versions, left_out


def runs_of(measures: list[Measure], clients: list[Found], rounds: int | None) -> Iterator[Run]:
    """Each measure of each client, next to those it will be compared with."""
    for measure in measures:
        if measure.function == OPERATORS:
            yield Run(measure, "rxllm", "", sys.executable, rounds or measure.rounds)
            continue
        if measure.function == "import":
            for row in IMPORTS:
                yield Run(measure, row, "", sys.executable, rounds or measure.rounds)
            peers = {client.imports: client for client, _, is_peer in reversed(clients) if is_peer}
            for client, python, _ in clients:
                if client in peers.values():
                    yield Run(measure, client.name, "", python, rounds or measure.peer_rounds)
            continue
        runs: list[Run] = []
        for client, python, is_peer in clients:
            if measure.function in client.measures:
                wires = client.wires if measure.function == "cost" else client.wires[:1]
                count = rounds or (measure.peer_rounds if is_peer else measure.rounds)
                runs += [Run(measure, client.name, wire, python, count) for wire in wires]
        yield from sorted(runs, key=lambda run: list(WIRES).index(run.wire))


def take(run: Run, number: int, base: str, *, quick: bool) -> Sample:
    """Make one measurement, or say why it could not be made."""
    measure = run.measure
    if measure.function == "import":
        statement = IMPORTS.get(run.client) or next(c.imports for c in PEERS if c.name == run.client)
        code = f"import time; t = time.process_time(); {statement}; print((time.process_time() - t) * 1e3)"
        figures = in_process(run.python, code, limit=measure.limit)
    else:
        options = json.dumps(measure.quick if quick else measure.options)
        said = (measure.function, run.client, run.wire, base, options)
        figures = in_process(run.python, "benchmarks.measures", *said, limit=measure.limit)
    error = figures.pop("error", None)
    return Sample(measure.name, run.client, run.wire, number, figures, error)


def in_process(python: str, code: str, *arguments: str, limit: float) -> dict[str, Any]:
    """What a module of ours (or, without arguments, a piece of code) prints in a fresh process, read as JSON."""
    command = [python, "-m", code, *arguments] if arguments else [python, "-c", code]
    try:
        done = subprocess.run(
            command, env=environment(str(ROOT)), cwd=ROOT, timeout=limit, capture_output=True, text=True
        )
    except subprocess.TimeoutExpired:
        return {"error": f"not done in {limit:.0f} s"}
    except OSError as error:
        return {"error": str(error)}
    try:
        said = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        return {"error": (done.stderr.strip().splitlines() or ["no output"])[-1][:200]}
    return said if isinstance(said, dict) else {"ms": said}


@contextmanager
def server() -> Iterator[str]:
    """The replay server in a process of its own; its address."""
    command = [sys.executable, "-m", "benchmarks.server"]
    with subprocess.Popen(
        command, env=environment(str(ROOT)), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with process.stdin:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"


def machine() -> str:
    """What this was measured on, and when."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = re.findall(r"model name\s*:\s*(.+)", info.read_text(encoding="utf-8"))
        cpu = names[0] if names else cpu
    python = f"{platform.python_implementation()} {platform.python_version()}"
    load = f"load {os.getloadavg()[0]:.1f} before the run"
    return f"{time.strftime('%Y-%m-%d')}, {python}, {os.cpu_count()} cores, {cpu}, {platform.system()}, {load}"


def told(sample: Sample) -> str:
    """One line about a sample."""
    short = {name: value for name, value in sample.figures.items() if not isinstance(value, list)}
    said = sample.error or " ".join(f"{name}={value:.3g}" for name, value in short.items())
    return f"{sample.measure:10} {sample.wire:10} {sample.client:38} {said}"


if __name__ == "__main__":
    main()
