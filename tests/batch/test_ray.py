"""Batches on a real Ray: datasets, workers that are killed, limits that all share, and what stays secret."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

import psutil
import pytest

import rxllm
from rxllm import batch
from rxllm.testing import Gate, Hang, LLMServer, Reply

from ..operators.threads import Seen

LIMIT = 240.0
"""Seconds. On a busy machine each process of Ray takes half a minute to start."""

pytestmark = [pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(600)]

rays_own_warnings = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data")
"""Ray Data warns of settings of its own, as it is loaded."""


def spec_for(server: LLMServer) -> batch.ModelSpec:
    return batch.ModelSpec("openai", model="m", base_url=server.base_url(), api_key="not-a-real-key")


def rows(seen: Seen) -> list[batch.Row]:
    return [event for event in seen.values if not isinstance(event, batch.BatchProgress)]


def worker_processes() -> list[psutil.Process]:
    """The processes of our workers, by the name that Ray gives them."""
    found: list[psutil.Process] = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "_RayWorker" in " ".join([process.name(), *process.cmdline()]):
                found.append(process)
    return found


class Mood(TypedDict):
    """What is asked for."""

    mood: str


@rays_own_warnings
def test_a_dataset_becomes_rows_and_rows_a_dataset(llm_server: LLMServer, tmp_path: Path) -> None:
    """Columns say prompt, key, options and what to keep; a structured answer is data; Parquet is read back."""
    import pandas
    import ray.data

    def shouted(some: pandas.DataFrame) -> pandas.DataFrame:
        return some.assign(text=some["text"].str.upper())

    llm_server.default = lambda request: f'{{"mood": "{request.prompt}, {request.json.get("seed")}"}}'
    table = pandas.DataFrame({"id": [f"r{n}" for n in range(60)], "text": [f"t{n}" for n in range(60)]})
    table["options"] = [{"seed": n + 1} for n in range(60)]
    spec = batch.ModelSpec("openai", model="m", base_url=llm_server.base_url(), api_key="k", response_format=Mood)
    seen = Seen()
    seen.subscribe(
        batch.map_prompts(
            ray.data.from_pandas(table).map_batches(shouted, batch_format="pandas"),  # work for the same CPUs
            spec,
            cluster=True,
            checkpoint=tmp_path / "job.sqlite",
            prompt="text",
            key="id",
            options="options",
            keep=["text"],
        )
    )
    seen.wait(LIMIT)
    assert seen.error is None
    answers = {row.key: row for row in rows(seen) if isinstance(row, batch.AnswerRow)}
    assert {f"r{n}": {"mood": f"T{n}, {n + 1}"} for n in range(60)} == {key: row.value for key, row in answers.items()}
    assert {"text": "T7"} == answers["r7"].columns
    batch.write_parquet(batch.read_rows(tmp_path / "job.sqlite"), tmp_path / "rows")
    back = ray.data.read_parquet(str(tmp_path / "rows")).to_pandas()
    assert sorted(answers) == sorted(back["key"])
    assert {"answered"} == set(back["status"])


@rays_own_warnings
def test_a_dataset_needs_a_key(tmp_path: Path) -> None:
    """Its rows come in any order, so a number would be another row's tomorrow."""
    import ray.data

    with pytest.raises(rxllm.ConfigurationError, match="key="):
        batch.map_prompts(ray.data.range(3), "openai:m", cluster=True, checkpoint=tmp_path / "job")


def test_a_model_may_come_from_a_function(llm_server: LLMServer, tmp_path: Path) -> None:
    """Of the main program, say: it travels to the workers, and what it returns need not."""
    url = llm_server.base_url()

    def make() -> rxllm.StreamingModel:
        first = rxllm.create_streaming_model("openai", model="a", base_url=url, api_key="k")
        return rxllm.resilient_model(first, max_retries=0)

    seen = Seen()
    seen.subscribe(batch.map_prompts(["x", "y"], make, cluster=True, checkpoint=tmp_path / "job", workers=1))
    seen.wait(LIMIT)
    assert seen.error is None
    assert ["x", "y"] == sorted(row.text for row in rows(seen) if isinstance(row, batch.AnswerRow))


def test_a_function_that_makes_no_model_ends_the_run(tmp_path: Path) -> None:
    """With what it raised in the message, however strange its exception."""

    def make() -> rxllm.StreamingModel:
        class LocalError(Exception):
            pass

        raise LocalError("no licence")

    seen = Seen()
    seen.subscribe(batch.map_prompts(["x"], make, cluster=True, checkpoint=tmp_path / "job", workers=1))
    seen.wait(LIMIT)
    assert isinstance(seen.error, rxllm.ConfigurationError)
    assert "LocalError: no licence" in str(seen.error)


def test_long_answers_travel(llm_server: LLMServer, tmp_path: Path) -> None:
    """Half a megabyte each, more than Ray sends in a message."""
    llm_server.default = lambda request: Reply(pieces=[request.prompt * 1000] * 50)
    seen = Seen()
    prompts = [f"prompt {n:03}" for n in range(20)]
    seen.subscribe(
        batch.map_prompts(prompts, spec_for(llm_server), cluster=True, checkpoint=tmp_path / "job", keep=["prompt"])
    )
    seen.wait(LIMIT)
    answers = [row for row in rows(seen) if isinstance(row, batch.AnswerRow)]
    assert {prompt: prompt * 50_000 for prompt in prompts} == {str(row.columns["prompt"]): row.text for row in answers}


def test_a_worker_that_is_killed_is_noticed(llm_server: LLMServer, tmp_path: Path) -> None:
    """SIGKILL in the middle of its answers: its prompts are asked again, every prompt has one row."""
    gate = Gate()
    llm_server.default = lambda request: Reply(request.prompt, gate=None if request.attempt > 1 else gate)
    seen = Seen()
    prompts = [f"{number:03}" for number in range(100)]
    events = batch.map_prompts(
        prompts, spec_for(llm_server), cluster=True, checkpoint=tmp_path / "job", workers=2, max_concurrent=4
    )
    seen.subscribe(events)
    llm_server.wait_for_request(8, LIMIT)
    doomed = worker_processes()
    assert doomed
    doomed[0].kill()
    gate.open()
    seen.wait(LIMIT)
    assert seen.error is None
    assert prompts == sorted(row.text for row in rows(seen) if isinstance(row, batch.AnswerRow))
    assert 1 == seen.values[-1].lost_workers


def test_workers_that_die_at_start_do_not_end_a_healthy_run(llm_server: LLMServer, tmp_path: Path) -> None:
    """As on a node that lacks a library or a driver: all processes but one die while they make their model."""
    ticket, url = tmp_path / "ticket", llm_server.base_url()

    def model_of_one_process() -> rxllm.StreamingModel:
        try:
            ticket.touch(exist_ok=False)
        except FileExistsError:
            os._exit(1)
        return rxllm.create_streaming_model("openai", model="m", base_url=url, api_key="not-a-real-key")

    llm_server.default = lambda request: Reply(request.prompt, delay=0.05)
    seen = Seen()
    prompts = [f"{number:03}" for number in range(200)]
    events = batch.map_prompts(
        prompts, model_of_one_process, cluster=True, checkpoint=tmp_path / "job", workers=2, max_concurrent=2
    )
    seen.subscribe(events)
    seen.wait(LIMIT)
    assert seen.error is None
    assert prompts == sorted(row.text for row in rows(seen) if isinstance(row, batch.AnswerRow))


def test_dispose_closes_the_workers_connections_and_ends_them(llm_server: LLMServer, tmp_path: Path) -> None:
    """The server sees every connection close; no worker stays; the file can be used at once."""
    llm_server.default = Hang()
    seen = Seen()
    events = batch.map_prompts(
        ["a"] * 50, spec_for(llm_server), cluster=True, checkpoint=tmp_path / "job", max_concurrent=4
    )
    running = seen.subscribe(events)
    llm_server.wait_for_request(8, LIMIT)
    running.dispose()
    for request in llm_server.requests[:8]:
        assert request.closed.wait(LIMIT)
    assert [] == list(batch.read_rows(tmp_path / "job", patience=LIMIT))
    _, alive = psutil.wait_procs(worker_processes(), timeout=LIMIT)
    assert [] == alive
    assert not seen.ended.is_set()


@pytest.fixture
def limits() -> Iterator[batch.RateLimits]:
    limits = batch.RateLimits(requests_per_minute=20, name="of-this-test")
    yield limits
    import ray

    ray.kill(ray.get_actor("rxllm-limits-of-this-test", namespace="rxllm"))


def test_limits_hold_for_all_workers_and_all_runs(
    llm_server: LLMServer, tmp_path: Path, limits: batch.RateLimits
) -> None:
    """Two workers start no more than the limit together; a second run knows what the first one took."""
    seen = Seen()
    events = batch.map_prompts(
        [str(n) for n in range(50)],
        spec_for(llm_server),
        cluster=True,
        checkpoint=tmp_path / "job",
        workers=2,
        limits=limits,
    )
    running = seen.subscribe(events)
    llm_server.wait_for_request(20, LIMIT)
    with pytest.raises(TimeoutError):
        llm_server.wait_for_request(21, timeout=2)
    running.dispose()
    settled = len(list(batch.read_rows(tmp_path / "job", patience=LIMIT)))
    assert 20 == settled
    again = Seen()
    running = again.subscribe(events)
    with pytest.raises(TimeoutError):
        llm_server.wait_for_request(21, timeout=3)
    running.dispose()


def test_other_limits_of_the_same_name_are_refused(
    llm_server: LLMServer, tmp_path: Path, limits: batch.RateLimits
) -> None:
    """Whose would hold? The error shows both."""
    seen = Seen()
    seen.subscribe(
        batch.map_prompts(["a"], spec_for(llm_server), cluster=True, checkpoint=tmp_path / "job", limits=limits)
    )
    seen.wait(LIMIT)
    assert seen.error is None
    other = batch.RateLimits(requests_per_minute=7, name="of-this-test")
    seen = Seen()
    seen.subscribe(
        batch.map_prompts(["b"], spec_for(llm_server), cluster=True, checkpoint=tmp_path / "job", limits=other)
    )
    seen.wait(LIMIT)
    assert isinstance(seen.error, rxllm.ConfigurationError)
    assert "of-this-test" in str(seen.error)


def test_a_key_is_written_nowhere(llm_server: LLMServer, tmp_path: Path, local_ray: Path) -> None:
    """Neither to the checkpoint nor to Ray's logs, be it refused or not; the vendor gets it."""
    key = "sk-this-must-not-be-seen"
    llm_server.default = lambda request: "fine" if request.prompt == "a" else Hang()
    spec = batch.ModelSpec("openai", model="m", base_url=llm_server.base_url(), api_key=key)
    seen = Seen()
    running = seen.subscribe(batch.map_prompts(["a", "b"], spec, cluster=True, checkpoint=tmp_path / "job", workers=1))
    llm_server.wait_for_request(2, LIMIT)
    assert f"Bearer {key}" == llm_server.requests[0].headers["authorization"]
    for process in worker_processes():
        process.kill()  # a crash is when logs get long
    llm_server.wait_for_request(3, LIMIT)
    running.dispose()
    assert 1 >= len(list(batch.read_rows(tmp_path / "job", patience=LIMIT)))
    written = [*tmp_path.rglob("*"), *(local_ray / "logs").rglob("*")]
    assert len(written) > 5
    for path in written:
        if path.is_file():
            assert key.encode() not in path.read_bytes(), path
    assert key not in repr(spec)


def test_a_cluster_without_room_is_an_error_after_a_while(llm_server: LLMServer, tmp_path: Path) -> None:
    """It says that no worker came to work, instead of waiting for ever."""
    seen = Seen()
    events = batch.map_prompts(
        ["a"],
        spec_for(llm_server),
        cluster=True,
        checkpoint=tmp_path / "job",
        workers=1,
        worker_options={"num_cpus": 64},
        start_timeout=1.5,
    )
    seen.subscribe(events)
    seen.wait(LIMIT)
    assert isinstance(seen.error, batch.WorkerLostError)
    assert "the cluster" in str(seen.error)
    assert "room" in str(seen.error)


def test_options_that_ray_does_not_know_are_refused(llm_server: LLMServer, tmp_path: Path) -> None:
    """By name."""
    seen = Seen()
    events = batch.map_prompts(
        ["a"], spec_for(llm_server), cluster=True, checkpoint=tmp_path / "job", worker_options={"colour": "red"}
    )
    seen.subscribe(events)
    seen.wait(LIMIT)
    assert isinstance(seen.error, rxllm.ConfigurationError)
    assert "colour" in str(seen.error)


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ({"max_concurrent": 0}, "max_concurrent"),
        ({"workers": 0}, "workers"),
        ({"progress_every": -1.0}, "progress_every"),
        ({"retry_failures": "some"}, "retry_failures"),
        ({"max_retries": -1}, "max_retries"),
        ({"max_tokens": 5}, "no argument 'max_tokens'"),
        ({"keep": "prompt"}, "keep=\\['prompt'\\]"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_at_once(tmp_path: Path, named: dict[str, object], says: str) -> None:
    """By name."""
    with pytest.raises(rxllm.ConfigurationError, match=says):
        batch.map_prompts(["a"], "openai:m", cluster=True, checkpoint=tmp_path / "job", **named)


@pytest.mark.parametrize("prompts", ["one prompt", {"prompt": "one"}, 5])
def test_prompts_are_many(tmp_path: Path, prompts: object) -> None:
    """A text is not taken for an iterable of letters."""
    with pytest.raises(rxllm.ConfigurationError, match="an iterable of prompts"):
        batch.map_prompts(prompts, "openai:m", cluster=True, checkpoint=tmp_path / "job")


def test_a_generator_is_for_one_run(llm_server: LLMServer, tmp_path: Path) -> None:
    """A second run would find it empty, and say that all was done: it is an error instead."""
    events = batch.map_prompts(
        (text for text in "ab"), spec_for(llm_server), cluster=True, checkpoint=tmp_path / "job", workers=1
    )
    for error in (None, rxllm.ConfigurationError):
        seen = Seen()
        seen.subscribe(events)
        seen.wait(LIMIT)
        assert error is (seen.error and type(seen.error))


def test_without_ray_the_error_says_what_to_install() -> None:
    """And rows can be read all the same."""
    script = """
import sys
sys.modules["ray"] = None
import rxllm
from rxllm import batch
try:
    batch.map_prompts(["a"], "openai:m", cluster=True, checkpoint="job")
except rxllm.ConfigurationError as error:
    print(error)
print("pyarrow" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=LIMIT)
    assert ['cluster=True needs the package ray: pip install "rxllm[ray]"', "False"] == run.stdout.splitlines()
