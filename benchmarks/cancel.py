"""How long after dispose() the server sees the connection close, in each phase.

    python benchmarks/cancel.py [--count 200]

Prints the distribution in milliseconds. "Connecting" has no server to see anything: there it is
the time until the worker thread has ended.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator

import rxllm
from rxllm.testing import Hang, LLMServer, Reply, Stall

LIMIT = 30.0


def over_http(reply: Reply | Hang, tokens: int) -> float:
    """Milliseconds against the loopback server, once so many tokens have come."""
    got = threading.Event()
    seen = 0

    def on_next(event: rxllm.TokenEvent) -> None:
        nonlocal seen
        seen += isinstance(event, rxllm.TextDelta)
        if seen >= tokens:
            got.set()

    with LLMServer(reply) as server:
        model = rxllm.create_streaming_model("openai-compatible", model="m", base_url=server.base_url())
        subscription = model.stream("Count").subscribe(on_next, lambda error: None)
        request = server.wait_for_request()
        if tokens:
            got.wait(LIMIT)
        started = time.monotonic()
        subscription.dispose()
        if not request.closed.wait(LIMIT) or request.closed_at is None:
            raise SystemExit("the server never saw the close")
        return (request.closed_at - started) * 1000


def in_handshake() -> float:
    """Milliseconds until a server that accepts, and never answers the TLS handshake, sees the close."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/v1"
        model = rxllm.create_streaming_model("openai-compatible", model="m", base_url=url)
        subscription = model.stream("Count").subscribe(lambda event: None, lambda error: None)
        with listener.accept()[0] as connection:
            connection.settimeout(LIMIT)
            connection.recv(1)
            started = time.monotonic()
            subscription.dispose()
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(65536):
                    pass
            return (time.monotonic() - started) * 1000


def while_connecting(url: str) -> float:
    """Milliseconds until the worker is free again that connects to where the kernel answers no SYN."""
    model = rxllm.create_streaming_model("openai-compatible", model="m", base_url=url)
    subscription = model.stream("Count").subscribe(lambda event: None, lambda error: None)
    worker = next(thread for thread in threading.enumerate() if thread.name.startswith("rxllm-openai-compatible"))
    worker.join(0.02)  # let it reach connect(): nothing tells when a SYN is out
    started = time.monotonic()
    subscription.dispose()
    while worker.name.startswith("rxllm-openai-compatible"):  # it bears another when it has nothing to do
        worker.join(0.0001)
    return (time.monotonic() - started) * 1000


@contextlib.contextmanager
def full_backlog() -> Iterator[str]:
    """The address of a listener whose queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as stack:
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


def main() -> None:
    """Measure all phases, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=200, help="cancellations per phase")
    count = parser.parse_args().count
    endless = Reply(pieces=[f"{n} " for n in range(100_000)], delay=0.002)
    with full_backlog() as unreachable:
        phases: dict[str, Callable[[], float]] = {
            "connecting (until its thread is free)": lambda: while_connecting(unreachable),
            "TLS handshake": in_handshake,
            "waiting for headers": lambda: over_http(Hang(), 0),
            "streaming": lambda: over_http(endless, 3),
            "stalled": lambda: over_http(Reply(pieces=["a", "b"], fault=Stall(after=1)), 1),
        }
        print("| phase | count | p50 ms | p90 ms | p99 ms | max ms |\n|---|--:|--:|--:|--:|--:|")
        for phase, sample in phases.items():
            values = sorted(sample() for _ in range(count))
            cuts = statistics.quantiles(values, n=100, method="inclusive")
            print(f"| {phase} | {count} | {cuts[49]:.2f} | {cuts[89]:.2f} | {cuts[98]:.2f} | {values[-1]:.2f} |")


if __name__ == "__main__":
    main()
