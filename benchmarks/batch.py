"""What a batch costs: a worker per prompt and per token, the driver per row, the checkpoint, the permits, a stop.

    python benchmarks/batch.py [--prompts 10000]

A server in a process of its own answers every prompt with a canned OpenAI chat stream. CPU is that of
the process that is measured; read it as an upper bound of what its core can do. `docs/batch.md` reckons
with these figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import ray

import rxllm
from rxllm import batch
from rxllm.batch import _ray_pool as ray_pool
from rxllm.batch._jobs import Columns, Job, jobs_of
from rxllm.batch._worker import Settings, Worker
from rxllm.batch.checkpoint import Checkpoint
from rxllm.batch.rows import Settled
from rxllm.batch.shared_limits import Lease, LeaseRequest, PermitServer, RateLimits
from rxllm.events import Response, Usage
from rxllm.testing import Hang, LLMServer

SHORT, LONG = 10, 210
"""Tokens of an answer: two lengths, so that what a token costs and what a prompt costs come apart."""


def stream_bytes(tokens: int) -> bytes:
    """A whole answer, an HTTP chunk for each token."""

    def chunk(delta: dict[str, object], finish: str | None, usage: dict[str, int] | None = None) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        data = json.dumps(
            {"id": "c-1", "object": "chat.completion.chunk", "model": "m", "choices": choices, "usage": usage}
        )
        event = f"data: {data}\n\n".encode()
        return b"%x\r\n%b\r\n" % (len(event), event)

    counted = {"prompt_tokens": 20, "completion_tokens": tokens, "total_tokens": tokens + 20}
    events = [chunk({"content": " the"}, None) for _ in range(tokens)]
    events += [chunk({}, "stop", counted), b"e\r\ndata: [DONE]\n\n\r\n", b"0\r\n\r\n"]
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"".join(events)


class Canned(asyncio.Protocol):
    """Answers each request on a connection: /short/... with a short stream, any other with a long one."""

    answers = (stream_bytes(SHORT), stream_bytes(LONG))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to read."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._read = b""

    def data_received(self, data: bytes) -> None:
        """Answer what has come in whole."""
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            head = self._read[:end].lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            if len(self._read) < end + 4 + length:
                return
            self._transport.write(self.answers[not self._read.startswith(b"POST /short")])
            self._read = self._read[end + 4 + length :]


async def serve() -> None:
    """Until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def canned_server() -> Iterator[str]:
    """The server's address."""
    process = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.communicate()


def spec_for(url: str, kind: str) -> batch.ModelSpec:
    """A model behind the server."""
    return batch.ModelSpec("openai", model="m", base_url=f"{url}/{kind}/v1", api_key="k")


def jobs(count: int) -> list[Job]:
    """Prompts as a driver makes them."""
    made = jobs_of((f"Say something about number {n}" for n in range(count)), Columns(), b"m")
    return [job for job in made if isinstance(job, Job)]


def worker_cpu(url: str, kind: str, prompts: int) -> tuple[float, float]:
    """One worker in this process: seconds of CPU for each prompt, and prompts each second."""
    worker = Worker(Settings(spec_for(url, kind), 16, 2))
    worker.exchange([])
    todo = jobs(prompts + 50)
    left = iter(todo)
    done, in_hand = 0, 0
    cpu, began = time.process_time(), time.perf_counter()
    while done < prompts + 50:
        more = [job for job in (next(left, None) for _ in range(24 - in_hand)) if job is not None]
        rows = worker.exchange(more)
        in_hand += len(more) - len(rows)
        if done < 50 <= done + len(rows):  # connections stand, code is warm
            cpu, began = time.process_time(), time.perf_counter()
        done += len(rows)
    used, took = time.process_time() - cpu, time.perf_counter() - began
    worker.stop()
    return used / prompts, prompts / took


def chat_cpu(url: str, prompts: int) -> float:
    """The floor: seconds of CPU for each prompt, where the same model is asked one after the other."""
    model = spec_for(url, "short")()
    for _ in range(50):
        model.chat("hi")
    cpu = time.process_time()
    for number in range(prompts):
        model.chat(f"Say something about number {number}")
    return (time.process_time() - cpu) / prompts


def row(key: int, characters: int) -> Settled:
    """An answer of so many characters."""
    response = Response("x" * characters, usage=Usage(20, 200, 220), model="m", provider="openai")
    return Settled(key, b"d" * 16, batch.AnswerRow(key, response))


def per(count: int, work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """Microseconds of CPU, or of another clock's, that `work` takes for each of `count`."""
    began = clock()
    work()
    return (clock() - began) / count * 1e6


def checkpoint_costs(place: Path, count: int) -> list[tuple[str, str]]:
    """Writing, looking up, reading back, Parquet: microseconds of CPU a row."""
    rows = [row(number, 800) for number in range(count)]
    file = Checkpoint(place / "job", {"key": None})

    def write() -> None:
        for start in range(0, count, 8):
            file.write(rows[start : start + 8])

    def look_up() -> None:
        for number in range(count):
            file.standing(number, b"d" * 16, "none")

    wrote, looked = per(count, write), per(count, look_up)
    file.close()
    size = (place / "job").stat().st_size / count
    read = per(count, lambda: sum(1 for _ in batch.read_rows(place / "job")))
    parquet = per(count, lambda: batch.write_parquet(batch.read_rows(place / "job"), place / "rows"))
    return [
        ("checkpoint: settle a row of 800 characters, 8 to a commit", f"{wrote:.0f} us of CPU, {size:.0f} bytes"),
        ("checkpoint: skip a settled row (look-up only)", f"{looked:.1f} us of CPU"),
        ("checkpoint: read a row back", f"{read:.0f} us of CPU"),
        ("read a row back and write it to Parquet", f"{parquet:.0f} us of CPU"),
        ("make a job of a prompt (parse, digest)", f"{per(count, lambda: jobs(count)):.1f} us of CPU"),
    ]


def ledger_costs() -> list[tuple[str, str]]:
    """The server itself, and through its actor."""
    limits = RateLimits(requests_per_minute=1e9, tokens_per_minute=1e12)
    server = PermitServer(limits, 0.0)

    def lease_all() -> None:
        lease = Lease()
        for number in range(20_000):
            spent = [(permit, 230.0) for permit in lease.permits]
            lease = server.lease(LeaseRequest(16, 200.0, spent), number / 1000)

    pure = per(20_000, lease_all)
    actor = ray_pool._server_for(limits)
    request = LeaseRequest(16, 200.0)
    trips = [per(1, lambda: ray.get(actor.lease.remote(request)), time.perf_counter) for _ in range(500)]
    many = per(5_000, lambda: ray.get([actor.lease.remote(request) for _ in range(5_000)]), time.perf_counter)
    ray.kill(actor)
    return [
        ("server: a lease of 16 permits, without Ray", f"{pure:.1f} us of CPU"),
        ("server: a lease through its actor, there and back", f"{statistics.median(trips):.0f} us"),
        ("server: leases through its actor, many callers", f"{1e6 / many:,.0f} a second"),
    ]


def run_on_ray(url: str, prompts: int, place: Path, limits: RateLimits | None) -> list[tuple[str, str]]:
    """All of it: two workers, and the CPU of this process, which is the driver."""
    cpu, began, first, settled = 0.0, 0.0, 0, 0
    memory = 0.0
    texts: Sequence[str] = [f"Say something about number {n}" for n in range(prompts)]
    events = batch.map_prompts(
        texts, spec_for(url, "short"), cluster=True, checkpoint=place / "run", workers=2, limits=limits
    )
    for event in rxllm.iter_events(events):
        if isinstance(event, batch.BatchProgress):
            settled = event.settled
            if not first and settled > 500:
                first, cpu, began = settled, time.process_time(), time.perf_counter()
                memory = worker_memory()
    used, took = time.process_time() - cpu, time.perf_counter() - began
    (place / "run").unlink()
    name = "with shared limits" if limits else "without limits"
    return [
        (f"driver: CPU for each row, {name}", f"{used / (settled - first) * 1e6:.0f} us"),
        (f"rows each second on this machine (driver, 2 workers, server), {name}", f"{(settled - first) / took:.0f}"),
        (f"memory of a worker's process, {name}", f"{memory / 1e6:.0f} MB resident"),
    ]


def exchange_costs(url: str) -> list[tuple[str, str]]:
    """A letter to a worker and its answer, without jobs or rows: what each sign of life costs the driver."""
    settings = Settings(spec_for(url, "short"), 16, 2)
    pool = ray_pool.RayPool(settings, 1, None, {})
    pool.open()
    pool.start_worker(0)
    assert pool.next(60) is not None

    def exchange_all() -> None:
        for _ in range(2_000):
            pool.exchange(0, [])
            assert pool.next(60) is not None

    began = time.perf_counter()
    cpu = per(2_000, exchange_all)
    took = (time.perf_counter() - began) / 2_000 * 1e6
    pool.close()
    return [("driver: an exchange with a worker, rows apart", f"{cpu:.0f} us of CPU, {took:.0f} us there and back")]


def worker_memory() -> float:
    """Resident bytes of a worker's process; the mean of all."""
    found = [p for p in psutil.Process().children(recursive=True) if "_RayWorker" in " ".join([p.name(), *p.cmdline()])]
    return statistics.mean(process.memory_info().rss for process in found)


def stop_latency(place: Path) -> list[tuple[str, str]]:
    """From dispose() to the server seeing all connections close."""
    taken: list[float] = []
    for number in range(5):
        with LLMServer(default=Hang()) as server:
            spec = batch.ModelSpec("openai", model="m", base_url=server.base_url(), api_key="k")
            events = batch.map_prompts(["a"] * 99, spec, cluster=True, checkpoint=place / f"stop-{number}", workers=2)
            running = events.subscribe(lambda event: None)
            server.wait_for_request(32, 60)
            began = time.monotonic()
            running.dispose()
            for request in server.requests:
                assert request.closed.wait(60)
            taken.append(max(request.closed_at or 0.0 for request in server.requests) - began)
    return [("dispose() to the last of 32 connections closed, 2 workers", f"{statistics.median(taken) * 1e3:.0f} ms")]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--prompts", type=int, default=10_000)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve())
        return
    place = Path(tempfile.mkdtemp())
    table: list[tuple[str, str]] = []
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        with canned_server() as url:
            short, long = (worker_cpu(url, kind, arguments.prompts // 4) for kind in ("short", "long"))
            floor = chat_cpu(url, arguments.prompts // 4)
            token = (long[0] - short[0]) / (LONG - SHORT)
            table += [
                (f"model.chat(), one after the other: CPU for each prompt of {SHORT} tokens", f"{floor * 1e6:.0f} us"),
                (f"worker: CPU for each prompt of {SHORT} tokens", f"{short[0] * 1e6:.0f} us"),
                ("worker: CPU for each prompt, its tokens apart", f"{(short[0] - SHORT * token) * 1e6:.0f} us"),
                ("worker: CPU for each token", f"{token * 1e6:.1f} us"),
                (
                    f"worker: prompts each second, {SHORT} tokens each",
                    f"{short[1]:.0f} ({1 / short[0]:.0f} by its CPU)",
                ),
                (f"worker: prompts each second, {LONG} tokens each", f"{long[1]:.0f} ({1 / long[0]:.0f} by its CPU)"),
            ]
            ray.init(
                address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
            )
            table += run_on_ray(url, arguments.prompts, place, None)
            table += run_on_ray(url, arguments.prompts, place, RateLimits(requests_per_minute=1e7))
            table += exchange_costs(url)
        table += ledger_costs()
        table += checkpoint_costs(place, 20_000)
        table += stop_latency(place)
        ray.shutdown()
    finally:
        shutil.rmtree(place)
    print("| what | measured |\n|---|--:|")
    for what, measured in table:
        print(f"| {what} | {measured} |")


if __name__ == "__main__":
    main()
