"""Thousands of prompts, faults among them, and the run killed half-way: a driver, Ray and its workers, all real."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rxllm.batch import AnswerRow, FailureRow, read_rows, write_parquet
from rxllm.testing import Drop, ErrorReply, Fail, Hang, LLMServer, RecordedRequest, Reply, Truncate
from rxllm.testing.replies import Answer

from .conftest import RAY_SETTINGS

COUNT = 4_000
PROGRAM = Path(__file__).parent / "programs" / "run_batch.py"
IN_HAND = 2 * 24
"""Two workers, 16 prompts asked and 8 waiting each: what a kill may catch on its way."""


def answer(request: RecordedRequest) -> Answer:
    """Of 100 prompts five meet a fault once; of 1,000 one is refused for good, and one fails each time."""
    number = int(request.prompt)
    if number % 1000 == 47:
        return ErrorReply(400, "this prompt is refused")
    if number % 1000 == 67:
        return ErrorReply(500, "this prompt breaks the server")
    if request.attempt == 1:
        match number % 100:
            case 7:
                return ErrorReply(429, "slow down", headers={"retry-after-ms": "20"})
            case 17:
                return ErrorReply(500, "a hiccup")
            case 27:
                return Reply(f"answer to {request.prompt}", fault=Drop(after=1))
            case 37:
                return Reply(f"answer to {request.prompt}", fault=Truncate(after=1))
            case 57:
                return Reply(f"answer to {request.prompt}", fault=Fail(after=1, kind="overloaded_error"))
            case _:
                pass
    return Reply(f"answer to {request.prompt}")


def answer_three_quarters(request: RecordedRequest) -> Answer:
    """The same, but the last quarter gets no answer: the run cannot end."""
    return Hang() if int(request.prompt) >= COUNT * 3 / 4 else answer(request)


DRIVERS: list[Driver] = []


@pytest.fixture(autouse=True)
def no_driver_is_left() -> Iterator[None]:
    """All processes of a test end with it."""
    yield
    while DRIVERS:
        DRIVERS.pop().kill_if_running()


class Driver:
    """A run in a process of its own."""

    def __init__(self, server: LLMServer, checkpoint: Path, count: int = COUNT, mode: str = "ray") -> None:
        command = [sys.executable, str(PROGRAM), server.base_url(), str(checkpoint), str(count), mode]
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": path, **RAY_SETTINGS}
        self._popen = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        DRIVERS.append(self)

    def kill_if_running(self) -> None:
        """A test that fails leaves nothing to the next one."""
        if self._popen.poll() is None:
            self.kill()
        else:
            self.finish()

    def progress(self) -> Iterator[dict[str, float]]:
        """What it tells of its progress, until it ends."""
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            yield json.loads(line)

    def finish(self) -> int:
        """Wait for its end; its exit code."""
        assert self._popen.stdout is not None
        self._popen.stdout.close()
        return self._popen.wait(60)

    def kill(self) -> int:
        """SIGKILL it, Ray, and the workers; how many processes that were."""
        root = psutil.Process(self._popen.pid)
        doomed = [root, *root.children(recursive=True)]
        for process in doomed:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        _, alive = psutil.wait_procs(doomed, timeout=60)
        assert [] == alive
        self.finish()
        return len(doomed)


@pytest.mark.timeout(600)
def test_a_killed_run_goes_on_without_asking_again_what_was_answered(tmp_path: Path) -> None:
    """Every prompt ends in one row; what was settled before the kill is never asked again.

    What the kill caught on its way is asked again: no more prompts than workers had in hand.
    """
    checkpoint = tmp_path / "job.sqlite"
    with LLMServer(default=answer_three_quarters) as server:
        first = Driver(server, checkpoint)
        assert any(progress["settled"] >= COUNT / 2 for progress in first.progress())
        assert first.kill() >= 4  # itself, Ray's own, and two workers
        server.default = answer
        before = Counter(request.prompt for request in server.requests)
        settled = {f"{row.key:06}" for row in read_rows(checkpoint)}
        assert COUNT / 2 <= len(settled) < COUNT
        assert len(before.keys() - settled) <= IN_HAND
        second = Driver(server, checkpoint)
        *_, last = second.progress()
        assert second.finish() == 0
        after = Counter(request.prompt for request in server.requests)
    assert {prompt: before[prompt] for prompt in settled} == {prompt: after[prompt] for prompt in settled}
    assert (len(settled), COUNT - len(settled)) == (last["skipped"], last["settled"])
    _check_rows(checkpoint, after, before.keys() - settled)
    assert write_parquet(read_rows(checkpoint), tmp_path / "rows") == COUNT


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("mode", "kills", "in_hand"), [("threads", 10, 24), ("ray", 1, IN_HAND)])
def test_kills_at_random_moments(tmp_path: Path, mode: str, kills: int, in_hand: int) -> None:
    """Every prompt ends in one row; what was in the checkpoint at a kill is not asked again."""
    kills = int(os.environ.get("RXLLM_KILLS", kills))
    checkpoint, count, chooser = tmp_path / "job.sqlite", 300 * kills, random.Random(mode)
    paid: list[dict[str, int]] = []
    """How often the prompts that were settled at each kill had been asked by then."""
    with LLMServer() as server:
        for _ in range(kills):
            driver = Driver(server, checkpoint, count, mode)
            goal = chooser.random() * 250
            for progress in driver.progress():
                if progress["settled"] >= goal:
                    break
            driver.kill()
            asked = Counter(request.prompt for request in server.requests)
            settled = {f"{row.key:06}" for row in read_rows(checkpoint)}
            assert len(asked.keys() - settled) <= in_hand
            paid.append({prompt: asked[prompt] for prompt in settled})
        last = Driver(server, checkpoint, count, mode)
        assert [] != list(last.progress())
        assert last.finish() == 0
        asked = Counter(request.prompt for request in server.requests)
    assert list(range(count)) == [row.key for row in read_rows(checkpoint)]
    assert all(isinstance(row, AnswerRow) for row in read_rows(checkpoint))
    for before in paid:
        assert before == {prompt: asked[prompt] for prompt in before}
    assert sum(asked.values()) <= count + kills * in_hand


def _check_rows(checkpoint: Path, asked: Counter[str], caught: set[str]) -> None:
    """One row each, and the right one; with `caught` apart, each prompt was asked as often as its faults need."""
    rows = list(read_rows(checkpoint))
    assert list(range(COUNT)) == [row.key for row in rows]
    for row in rows:
        number, prompt = int(row.key), f"{int(row.key):06}"
        assert {"prompt": prompt} == row.columns
        if number % 1000 == 47:
            assert isinstance(row, FailureRow)
            assert ("BadRequestError", 400) == (row.error, row.status_code)
            tries = 1
        elif number % 1000 == 67:
            assert isinstance(row, FailureRow)
            assert ("ServerError", 500) == (row.error, row.status_code)
            tries = 3
        else:
            assert isinstance(row, AnswerRow)
            assert f"answer to {prompt}" == row.text
            tries = 2 if number % 100 in (7, 17, 27, 37, 57) else 1
        if prompt not in caught:
            assert tries == asked[prompt] == row.tries
