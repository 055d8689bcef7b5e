"""Thousands of streams, half of them stopped at random moments, leave nothing behind."""

from __future__ import annotations

import gc
import os
import random
import threading
from pathlib import Path

import pytest

import rxllm
from rxllm.testing import LLMServer, Reply

from ..raw_server import LIMIT

STREAMS = 2000
AT_ONCE = 40


def open_sockets() -> int:
    return sum("socket:" in str(os.readlink(link)) for link in Path("/proc/self/fd").iterdir() if link.exists())


def worker_threads() -> int:
    return sum(thread.name.startswith("rxllm-openai") for thread in threading.enumerate())


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts sockets through /proc")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("crowd", [64, 0], ids=["own threads", "crowd"])
def test_nothing_is_left_of_two_thousand_streams(crowd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads, sockets and memory are what they were; every stream that was not stopped is whole."""
    monkeypatch.setattr("rxllm._core.thread_choice.CROWD", crowd)
    sockets = open_sockets()
    with LLMServer(default=Reply(pieces=[f"{n} " for n in range(20)])) as server:
        model = rxllm.create_streaming_model("openai-compatible", model="m", base_url=server.base_url(), max_retries=0)
        model.chat("warm up")
        _run(model, AT_ONCE * 5, seed=1)
        model.close()
        before = resident_mb()
        _run(model, STREAMS, seed=2)
        gc.collect()
        after = resident_mb()
        model.close()
        _wait_until_no_workers()
        gc.collect()
        assert after - before < 30
    assert open_sockets() <= sockets


def _run(model: rxllm.StreamingModel, count: int, seed: int) -> None:
    dice = random.Random(seed)
    slots = threading.Semaphore(AT_ONCE)
    wrong: list[object] = []
    for _ in range(count):
        assert slots.acquire(timeout=LIMIT)
        _one(model, dice.choice([None, 0, 1, 3, 10, 21]), slots, wrong)
    for _ in range(AT_ONCE):
        assert slots.acquire(timeout=LIMIT)
    assert wrong == []


def _one(model: rxllm.StreamingModel, stop_at: int | None, slots: threading.Semaphore, wrong: list[object]) -> None:
    """One stream, stopped after so many events, or left to its end."""
    seen = 0
    freed = threading.Event()
    handle: list[object] = []

    def free() -> None:
        if not freed.is_set():
            freed.set()
            slots.release()

    def stop() -> None:
        subscribed.wait(LIMIT)
        handle[0].dispose()  # type: ignore[attr-defined]  # a disposable
        free()

    def on_next(event: rxllm.TokenEvent) -> None:
        nonlocal seen
        seen += 1
        if seen == stop_at:
            stop()

    def on_error(error: Exception) -> None:
        wrong.append(error)
        free()

    subscribed = threading.Event()
    handle.append(model.stream("?").subscribe(on_next, on_error, free))
    subscribed.set()
    if stop_at == 0:
        stop()


def _wait_until_no_workers() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("rxllm-openai"):
            thread.join(LIMIT)
    assert worker_threads() == 0
