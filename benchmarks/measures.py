"""The measures: each is one function, run in a process of its own, that returns numbers by name.

A list of numbers is of single events, and is pooled over the rounds; a plain number is a figure of
the whole run, and the median over the rounds is reported. Infinity means: not within the limit.

    python -m benchmarks.measures MEASURE CLIENT WIRE SERVER OPTIONS

prints them as JSON. "probe" tells the versions of what the client is made of.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from typing import TypeAlias

from .clients import OURS, Client, OnText
from .operators import operators
from .peers import PEERS
from .server import Control, now_us, raise_file_limit, script

Figures: TypeAlias = dict[str, float | list[float]]

CLIENTS: dict[str, type[Client]] = {client.name: client for client in (*OURS, *PEERS)}
PHASES = ("connecting", "TLS", "headers", "streaming", "stalled")
_PASS_SECONDS = 0.5


def cost(make: Callable[[str], Client], base: str, deltas: int, passes: int) -> Figures:
    """CPU microseconds of this process per text delta at full speed: the best of the passes.

    A client that would take more than half a second of CPU for a pass gets a shorter answer.
    """
    client = make(base)
    probe = min(deltas, 500)
    _cpu_per_delta(client, probe)
    expected = _cpu_per_delta(client, probe) * deltas / 1e6
    if expected > _PASS_SECONDS:
        deltas = max(probe, int(deltas * _PASS_SECONDS / expected) // 500 * 500)
    return {"us": min(_cpu_per_delta(client, deltas) for _ in range(passes)), "deltas": deltas}


def _cpu_per_delta(client: Client, deltas: int) -> float:
    seen = 0

    def on_text(text: str) -> None:
        nonlocal seen
        seen += 1

    before = time.process_time_ns()
    client.read(script("full", deltas), on_text)
    spent = time.process_time_ns() - before
    if seen != deltas:
        raise SystemExit(f"{client.name} saw {seen} of {deltas} deltas")
    return spent / deltas / 1e3


def first(make: Callable[[str], Client], base: str, warm: int) -> Figures:
    """Milliseconds from asking to the first text: for a client just made, and for its later requests."""
    cold_from = time.perf_counter()
    client = make(base)
    cold = _first_at(client) - cold_from
    later: list[float] = []
    for _ in range(warm):
        asked = time.perf_counter()
        later.append((_first_at(client) - asked) * 1e3)
    return {"cold": cold * 1e3, "warm": later}


def _first_at(client: Client) -> float:
    at: list[float] = []
    client.read(script("full", 1), lambda text: at.append(time.perf_counter()))
    return at[0]


def pace(make: Callable[[str], Client], base: str, deltas: int, rate: int) -> Figures:
    """Milliseconds from the server's sending a delta to the subscriber's seeing it, with and without chunks."""
    client = make(base)
    _first_at(client)
    figures: Figures = {}
    for framing in ("chunked", "close"):
        delays: list[float] = []

        def on_text(text: str, delays: list[float] = delays) -> None:
            delays.append((now_us() - int(text)) / 1e3)

        client.read(script("paced", deltas, rate, chunked=framing == "chunked"), on_text)
        if len(delays) != deltas:
            raise SystemExit(f"{client.name} saw {len(delays)} of {deltas} deltas")
        figures[framing] = list(delays)
    return figures


def cancel(make: Callable[[str], Client], base: str, each: int, patience: float) -> Figures:
    """Milliseconds from cancelling to the server's seeing the connection close, in each phase of a request.

    While connecting there is no server to see anything: there it is the time until the thread that
    connects is free. A client that twice does not close within `patience` seconds is not asked again.
    """
    control = Control(base)
    figures: Figures = {}
    with full_backlog() as unreachable:
        targets = {"connecting": unreachable, "TLS": base.replace("http://", "https://")}
        for phase in PHASES:
            samples: list[float] = []
            while len(samples) < each and samples.count(math.inf) < 2:
                samples.append(_cancelled_after(make(targets.get(phase, base)), phase, control, patience))
            figures[phase] = samples
    return figures


_keys = (f"p{os.getpid()}n{number}" for number in count())


def _cancelled_after(client: Client, phase: str, control: Control, patience: float) -> float:
    key = "tls" if phase == "TLS" else next(_keys)
    control.ask("forget")
    models = {
        "streaming": script("paced", 100_000, 200, key=key),
        "stalled": script("stall", 1, key=key),
    }
    wanted = {"streaming": 3, "stalled": 1}.get(phase, 0)
    got = threading.Semaphore(0)

    def read() -> None:
        with contextlib.suppress(Exception):  # each client has an exception of its own for having been stopped
            client.read(models.get(phase, script("hang", key=key)), lambda text: got.release())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    if phase != "connecting" and control.ask(f"arrived/{key}") is None:
        raise SystemExit(f"{client.name}: no request came in the phase {phase}")
    if not all(got.acquire(timeout=10) for _ in range(wanted)):
        raise SystemExit(f"{client.name}: no text came in the phase {phase}")
    if phase != "streaming":
        reader.join(0.02)  # nothing tells when it waits for the network, as it does nearly all the time
    asked = _cancelling(client)
    if phase == "connecting":
        return _freed_after(client, reader, asked, patience)
    closed = control.ask(f"closed/{key}", patience)
    return math.inf if closed is None else (closed - asked) * 1e3


def _cancelling(client: Client) -> float:
    """Begin to cancel, and return the time of that; some clients' closing blocks until the stream ends."""
    asked = [0.0]
    begun = threading.Event()

    def cancel() -> None:
        asked[0] = time.monotonic()
        begun.set()
        with contextlib.suppress(Exception):  # a client that cannot be closed meanwhile says so in many ways
            client.cancel()

    threading.Thread(target=cancel, daemon=True).start()
    begun.wait()
    return asked[0]


def _freed_after(client: Client, reader: threading.Thread, asked: float, patience: float) -> float:
    tick = threading.Event()
    while not client.is_free(reader):
        if time.monotonic() - asked > patience:
            return math.inf
        tick.wait(0.0001)
    return (time.monotonic() - asked) * 1e3


@contextlib.contextmanager
def full_backlog() -> Iterator[str]:
    """The address of a listener whose queue is full: the kernel answers no SYN."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as stack:
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


class _Arrivals:
    """When each delta of each stream came, and how long it was under way; takes its memory beforehand."""

    def __init__(self, streams: int, deltas: int) -> None:
        self._streams, self._deltas = streams, deltas
        self._at, self._delays = (array("q", bytes(8 * streams * deltas)) for _ in range(2))

    def listener(self, stream: int) -> OnText:
        """What one stream is to call."""
        at, delays = self._at, self._delays
        places = iter(range(stream * self._deltas, (stream + 1) * self._deltas))

        def on_text(text: str) -> None:
            now, place = now_us(), next(places)
            at[place], delays[place] = now, now - int(text)

        return on_text

    def count(self) -> int:
        """How many came."""
        return sum(map(bool, self._at))

    def figures(self, began: int) -> Figures:
        """Delays in milliseconds, and the start in seconds, of what came."""
        came = [(at, delay) for at, delay in zip(self._at, self._delays, strict=True) if at]
        delays = [delay for _, delay in came]
        firsts, lasts = self._at[:: self._deltas], self._at[self._deltas - 1 :: self._deltas]
        figures: Figures = {"p50": _percentile(delays, 50) / 1e3, "p99": _percentile(delays, 99) / 1e3}
        figures["failed"] = sum(not at for at in lasts)
        if all(firsts):
            all_had_begun = max(firsts)
            figures["start"] = (all_had_begun - began) / 1e6
            if later := [delay for at, delay in came if at >= all_had_begun]:
                figures["later"] = _percentile(later, 99) / 1e3
        return figures


def crowd(make: Callable[[str], Client], base: str, streams: int, deltas: int, rate: int, limit: float) -> Figures:
    """Many streams, all asked for at once, from one thread where the client allows.

    The delays are of the whole run. "later" is of what came once every stream had brought its
    first delta. A stream that has not brought all its deltas within `limit` seconds has failed.
    """
    raise_file_limit()
    client, control = make(base), Control(base)
    _first_at(client)
    control.ask("late")
    arrivals = _Arrivals(streams, deltas)
    listeners = [arrivals.listener(stream) for stream in range(streams)]
    resident, threads = _resident_kb(), 0
    peak, began, cpu = resident, now_us(), time.process_time()
    run = threading.Thread(target=client.crowd, args=(script("paced", deltas, rate), listeners), daemon=True)
    run.start()
    while run.is_alive() and now_us() - began < limit * 1e6:
        run.join(0.25)
        peak, threads = max(peak, _resident_kb()), max(threads, threading.active_count() - 2)
    cpu = time.process_time() - cpu
    came = arrivals.count()
    if not came:
        raise SystemExit(f"{client.name}: nothing came")
    figures = {"us": cpu / came * 1e6, "kb": (peak - resident) / streams, "threads": threads}
    return figures | arrivals.figures(began) | {"late": (control.ask("late") or 0.0) * 1e3}


def _resident_kb() -> float:
    """Of this process, now; not a number where the system has no /proc."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024
    except OSError:
        return math.nan


def _percentile(values: list[int], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


MEASURES: dict[str, Callable[..., Figures]] = {
    "cost": cost,
    "first": first,
    "pace": pace,
    "cancel": cancel,
    "crowd": crowd,
}


def probe(client: type[Client]) -> dict[str, str]:
    """The versions of what the client is made of; raises where it is not installed."""
    exec(client.imports)  # noqa: S102 - one of our own statements
    found: dict[str, str] = {}
    for package in client.packages:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def main(measure: str, name: str, wire: str, base: str, options: str) -> None:
    """Measure in this process, print, and leave whatever still runs."""
    figures: object
    if measure == "operators":
        figures = operators(**json.loads(options))
    elif measure == "probe":
        figures = probe(CLIENTS[name])
    else:
        exec(CLIENTS[name].imports)  # noqa: S102 - imports are a measure of their own
        figures = MEASURES[measure](lambda base: CLIENTS[name](base, wire), base, **json.loads(options))
    print(json.dumps(figures), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
