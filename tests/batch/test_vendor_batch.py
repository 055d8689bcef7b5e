"""Batches at vendors, on a server that plays their APIs: formats, faults, kills."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict

import msgspec
import pytest

from rxllm import batch
from rxllm.batch import AnswerRow, BatchProgress, FailureRow, ModelSpec, read_rows
from rxllm.batch.vendor.anthropic import AnthropicBatches
from rxllm.batch.vendor.gemini import GeminiBatches
from rxllm.batch.vendor.openai import OpenAIBatches
from rxllm.errors import ConfigurationError
from rxllm.testing.recorded import RecordedRequest
from tests.batch.vendor_server import Outcome, VendorBatchServer

from ..operators.threads import LIMIT, Seen

PROVIDERS = ("openai", "openai-responses", "anthropic", "gemini")
PROGRAM = Path(__file__).parent / "programs" / "run_vendor_batch.py"
ROOT = Path(__file__).resolve().parents[2]

every_vendor = pytest.mark.parametrize("provider", PROVIDERS)


@pytest.fixture
def vendor() -> Iterator[VendorBatchServer]:
    with VendorBatchServer() as server:
        yield server


def batch_of(vendor: VendorBatchServer, place: Path, prompts: Any, provider: str = "openai", **options: Any) -> Any:
    spec = ModelSpec(provider, model="m", base_url=vendor.base_url(provider), api_key="k")
    options = {"poll_seconds": 0.02, **options}
    return batch.map_prompts(prompts, spec, checkpoint=place / "job", mode="vendor_batch", **options)


def run(vendor: VendorBatchServer, place: Path, prompts: Any, provider: str = "openai", **options: Any) -> Seen:
    """A whole run, to its end."""
    seen = Seen()
    seen.subscribe(batch_of(vendor, place, prompts, provider, **options))
    seen.wait()
    return seen


def alter_results(
    vendor: VendorBatchServer,
    monkeypatch: pytest.MonkeyPatch,
    lines: Callable[[bytes], bytes],
    inline: Callable[[list[Any]], None],
) -> None:
    """Have the server alter results: `lines` returns those of a file, `inline` changes those in Gemini's answer."""
    handle = vendor.handle

    def altered(method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes] | None:
        found = handle(method, path, headers, body)
        if found is None or method != "GET":
            return found
        status, answer = found
        if path.endswith(("/content", "/results")):
            answer = lines(answer)
        elif b"inlinedResponses" in answer:
            operation = msgspec.json.decode(answer)
            inline(operation["response"]["inlinedResponses"]["inlinedResponses"])
            answer = msgspec.json.encode(operation)
        return status, answer

    monkeypatch.setattr(vendor, "handle", altered)


def rows(seen: Seen) -> list[AnswerRow | FailureRow]:
    return sorted((each for each in seen.values if not isinstance(each, BatchProgress)), key=lambda row: row.key)


def submitted(vendor: VendorBatchServer) -> Counter[str]:
    """How often each prompt was submitted."""
    return Counter(request.prompt for job in vendor.jobs for request in job.requests.values())


def numbered(count: int) -> list[str]:
    return [f"{number:04}" for number in range(count)]


class Verdict(TypedDict):
    """What the model is asked for."""

    mood: str


def test_an_answer_is_of_the_type_unless_its_prompt_has_a_format_of_its_own(
    vendor: VendorBatchServer, tmp_path: Path
) -> None:
    """The model echoes the prompt."""
    spec = ModelSpec("openai", model="m", base_url=vendor.base_url(), api_key="k", response_format=Verdict)
    prompts = [
        {"prompt": '{"mood": "good"}', "o": None},
        {"prompt": '{"n": 1}', "o": {"response_format": "json"}},
        {"prompt": '{"n": 2}', "o": None},
    ]
    seen = Seen()
    seen.subscribe(
        batch.map_prompts(
            prompts, spec, checkpoint=tmp_path / "job", mode="vendor_batch", options="o", poll_seconds=0.02
        )
    )
    seen.wait()
    good, own, wrong = rows(seen)
    assert isinstance(good, AnswerRow)
    assert {"mood": "good"} == good.value
    assert isinstance(own, AnswerRow)
    assert {"n": 1} == own.value
    assert isinstance(wrong, FailureRow)
    assert "OutputParsingError" == wrong.error


@every_vendor
def test_each_prompt_becomes_one_row(vendor: VendorBatchServer, tmp_path: Path, provider: str) -> None:
    """In jobs of at most so many; with text, tokens and what is kept. A second run submits nothing."""
    seen = run(vendor, tmp_path, numbered(25), provider, batch_size=10, keep=["prompt"])
    assert seen.error is None
    assert numbered(25) == [row.text for row in rows(seen) if isinstance(row, AnswerRow)]
    assert {"prompt": "0003"} == rows(seen)[3].columns
    first = rows(seen)[0]
    assert isinstance(first, AnswerRow)
    assert (1, "stop") == (first.response.usage.output_tokens, first.response.finish_reason)
    assert [10, 10, 5] == [len(job.requests) for job in vendor.jobs]
    assert rows(seen) == list(read_rows(tmp_path / "job"))
    again = run(vendor, tmp_path, numbered(25), provider)
    assert [] == rows(again)
    assert 25 == again.values[-1].skipped
    assert 3 == len(vendor.jobs)


@every_vendor
def test_requests_carry_options_and_no_stream(vendor: VendorBatchServer, tmp_path: Path, provider: str) -> None:
    """What a single request would carry, apart from the wish for a stream."""
    items = [{"prompt": "a", "o": {"max_tokens": 7}}, {"prompt": "b", "o": {"top_k": -1, "nonsense": 1}}]
    seen = run(vendor, tmp_path, items, provider, options="o")
    (request,) = vendor.jobs[0].requests.values()
    assert "stream" not in request.json
    assert "7" in request.body.decode()
    assert isinstance(rows(seen)[1], FailureRow)


@every_vendor
def test_a_prompt_that_fails_is_a_failure_row(vendor: VendorBatchServer, tmp_path: Path, provider: str) -> None:
    """With the vendor's own words; the others are answered."""

    def answer(request: RecordedRequest) -> Outcome:
        return (400, "this prompt is refused") if request.prompt == "b" else request.prompt

    vendor.answer = answer
    fine, refused = rows(run(vendor, tmp_path, ["a", "b"], provider))
    assert isinstance(fine, AnswerRow)
    assert isinstance(refused, FailureRow)
    assert "this prompt is refused" in refused.message
    assert not refused.transient


@every_vendor
def test_a_result_that_comes_twice_is_one_row(
    vendor: VendorBatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    """The first one counts, and the rows keep the order of the results."""

    def repeated(lines: bytes) -> bytes:
        return b"".join(line + line for line in lines.splitlines(keepends=True))

    def repeated_inline(entries: list[Any]) -> None:
        entries *= 2

    alter_results(vendor, monkeypatch, repeated, repeated_inline)
    seen = run(vendor, tmp_path, numbered(5), provider)
    assert seen.error is None
    keys = [row.key for row in seen.values if isinstance(row, AnswerRow)]
    assert keys == ([0, 1, 2, 3, 4] if provider == "gemini" else [4, 3, 2, 1, 0])  # the others' servers reverse them


@pytest.mark.parametrize("broken", ["cut off", "no answer"])
@every_vendor
def test_an_unreadable_result_is_one_failure_row(
    vendor: VendorBatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: str, broken: str
) -> None:
    """It may be asked again; the other results count."""

    def damaged(lines: bytes) -> bytes:
        first, *others = lines.splitlines()
        custom_id = msgspec.json.decode(first)["custom_id"]
        line = first[:20] if broken == "cut off" else msgspec.json.encode({"custom_id": custom_id, "response": 7})
        return b"\n".join([line, *others])

    def damaged_inline(entries: list[Any]) -> None:
        entries[0] = 7 if broken == "cut off" else {"metadata": entries[0]["metadata"], "response": 7}

    alter_results(vendor, monkeypatch, damaged, damaged_inline)
    seen = run(vendor, tmp_path, numbered(5), provider)
    assert seen.error is None
    assert 5 == len(rows(seen))
    (failure,) = [row for row in rows(seen) if isinstance(row, FailureRow)]
    monkeypatch.undo()
    again = run(vendor, tmp_path, numbered(5), provider, retry_failures="transient" if failure.transient else "all")
    assert [failure.key] == [row.key for row in rows(again)]
    assert 5 == sum(isinstance(row, AnswerRow) for row in read_rows(tmp_path / "job"))


@every_vendor
def test_batches_stay_below_the_vendors_size(
    vendor: VendorBatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    """Large prompts are spread over several; one that is larger than a batch is a failure row."""
    api = {"anthropic": AnthropicBatches, "gemini": GeminiBatches}.get(provider, OpenAIBatches)
    monkeypatch.setattr(api, "max_bytes", 10_000)
    prompts = ["a" * 4000, "b" * 4000, "c" * 4000, "d" * 20_000, "e" * 9000, "f"]
    seen = run(vendor, tmp_path, prompts, provider)
    assert seen.error is None
    assert [None, None, None, "ConfigurationError", None, None] == [getattr(row, "error", None) for row in rows(seen)]
    assert "at most 10,000" in str(getattr(rows(seen)[3], "message", ""))
    sizes = [[len(request.prompt) for request in job.requests.values()] for job in vendor.jobs]
    assert [[4000, 4000], [4000], [9000, 1]] == sizes


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_what_an_expired_batch_has_answered_counts(vendor: VendorBatchServer, tmp_path: Path, provider: str) -> None:
    """The rest is transient failures, which the next run submits."""
    vendor.hold()
    seen = Seen()
    seen.subscribe(batch_of(vendor, tmp_path, numbered(10), provider))
    vendor.wait_for_jobs(1)
    vendor.jobs[0].status = "expired"
    seen.wait()
    assert 5 == sum(isinstance(row, AnswerRow) for row in rows(seen))
    assert all(row.transient for row in rows(seen) if isinstance(row, FailureRow))
    vendor.release()
    again = run(vendor, tmp_path, numbered(10), provider, retry_failures="transient")
    assert 5 == len(rows(again)) == len(vendor.jobs[1].requests)
    assert 10 == sum(isinstance(row, AnswerRow) for row in read_rows(tmp_path / "job"))


@every_vendor
def test_a_batch_whose_creation_was_not_confirmed_is_found(
    vendor: VendorBatchServer, tmp_path: Path, provider: str
) -> None:
    """The vendor created it, the answer was lost: it is not created twice."""
    vendor.lost_answers = 1
    seen = run(vendor, tmp_path, numbered(8), provider)
    assert 8 == len(rows(seen))
    assert 1 == len(vendor.jobs)


def test_a_batch_that_the_vendor_does_not_know_yet_is_polled_on(vendor: VendorBatchServer, tmp_path: Path) -> None:
    """404 for a while after its creation."""
    vendor.hidden_polls = 5
    assert 3 == len(rows(run(vendor, tmp_path, numbered(3))))
    assert 1 == len(vendor.jobs)


def test_passing_failures_of_the_api_are_waited_out(vendor: VendorBatchServer, tmp_path: Path) -> None:
    """503 at the upload, and while polling."""
    vendor.failing_calls = 3
    assert 3 == len(rows(run(vendor, tmp_path, numbered(3))))
    assert 1 == len(vendor.jobs)


def test_a_full_queue_is_waited_for(vendor: VendorBatchServer, tmp_path: Path) -> None:
    """token_limit_exceeded fails no row: the same file is submitted again."""
    vendor.jobs_to_refuse = 2
    seen = run(vendor, tmp_path, numbered(3))
    assert [AnswerRow] * 3 == [type(row) for row in rows(seen)]
    assert 3 == len(vendor.jobs)


def test_a_batch_that_is_refused_as_a_whole_ends_the_run(vendor: VendorBatchServer, tmp_path: Path) -> None:
    """With the vendor's reason; the prompts have no row, and the next run submits them."""
    vendor.refusal = "this model has no batches"
    seen = run(vendor, tmp_path, numbered(3))
    assert isinstance(seen.error, ConfigurationError)
    assert "this model has no batches" in str(seen.error)
    assert [] == list(read_rows(tmp_path / "job"))
    vendor.refusal = ""
    assert 3 == len(rows(run(vendor, tmp_path, numbered(3))))


def test_the_same_error_for_all_ends_the_run(vendor: VendorBatchServer, tmp_path: Path) -> None:
    """No credit: nothing is stored, and nothing is read again by the next run."""
    vendor.answer = lambda request: (400, "your credit balance is too low")
    seen = run(vendor, tmp_path, numbered(50))
    assert "credit balance" in str(seen.error)
    assert [] == list(read_rows(tmp_path / "job"))
    vendor.answer = lambda request: request.prompt
    assert 50 == len(rows(run(vendor, tmp_path, numbered(50))))


def test_cancelling_by_the_checkpoint(vendor: VendorBatchServer, tmp_path: Path) -> None:
    """After a dispose, which leaves the job to the vendor; the next run takes what was answered."""
    vendor.hold()
    seen = Seen()
    running = seen.subscribe(batch_of(vendor, tmp_path, numbered(10)))
    vendor.wait_for_jobs(1)
    running.dispose()
    spec = ModelSpec("openai", model="m", base_url=vendor.base_url(), api_key="k")
    assert _eventually(lambda: batch.cancel_vendor_batches(tmp_path / "job", spec)) == 1
    assert 10 == len(rows(run(vendor, tmp_path, numbered(10))))
    assert 1 == len(vendor.jobs)


@every_vendor
def test_a_batch_that_was_deleted_at_the_vendor(
    vendor: VendorBatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    """Or was made by another project's key: the run says so and what helps; then the prompts are submitted again."""
    vendor.hold()
    seen = Seen()
    running = seen.subscribe(batch_of(vendor, tmp_path, numbered(4), provider))
    vendor.wait_for_jobs(1)
    running.dispose()
    _eventually(lambda: list(read_rows(tmp_path / "job")))
    vendor.jobs.clear()
    monkeypatch.setattr("rxllm.batch.vendor.run._NOT_YET_SECONDS", 0.0)
    failed = run(vendor, tmp_path, numbered(4), provider)
    assert isinstance(failed.error, ConfigurationError)
    assert "cancel_vendor_batches" in str(failed.error)
    spec = ModelSpec(provider, model="m", base_url=vendor.base_url(provider), api_key="k")
    assert _eventually(lambda: batch.cancel_vendor_batches(tmp_path / "job", spec)) == 1
    monkeypatch.undo()
    vendor.release()
    assert 4 == len(rows(run(vendor, tmp_path, numbered(4), provider)))
    assert all(isinstance(row, AnswerRow) for row in read_rows(tmp_path / "job"))


def _eventually(look: Any) -> Any:
    until = time.monotonic() + LIMIT
    while True:
        try:
            return look()
        except ConfigurationError:
            if time.monotonic() > until:
                raise


def test_only_vendors_with_a_batch_api(tmp_path: Path) -> None:
    """Others are refused at once, as are functions that make a model."""
    with pytest.raises(ConfigurationError, match="no batch API"):
        batch.map_prompts(["a"], "ollama:m", checkpoint=tmp_path / "job", mode="vendor_batch")
    with pytest.raises(ConfigurationError, match="ModelSpec"):
        batch.map_prompts(["a"], lambda: None, checkpoint=tmp_path / "job", mode="vendor_batch")  # type: ignore[arg-type, return-value]


@pytest.mark.timeout(6 * LIMIT)
@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini"])
def test_a_killed_run_submits_nothing_twice(vendor: VendorBatchServer, tmp_path: Path, provider: str) -> None:
    """Killed at random moments, before and after each step; every prompt is submitted once, and has one row."""
    kills_wanted = int(os.environ.get("RXLLM_KILLS", 10))
    count, chooser = 10 * (kills_wanted + 1), random.Random(provider)
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    command = [
        sys.executable,
        str(PROGRAM),
        provider,
        vendor.base_url(provider),
        str(tmp_path / "job"),
        str(count),
        "10",
    ]
    vendor.hold()
    kills = 0
    while kills < kills_wanted:
        process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})
        jobs = len(vendor.jobs)
        until = time.monotonic() + 5  # a run that cannot tell yet whether its last job exists creates none
        while len(vendor.jobs) == jobs and jobs < count // 10 and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(chooser.random() * 0.1)
        if len(vendor.jobs) >= count // 10:
            vendor.release()
        process.kill()
        process.wait(LIMIT)
        kills += 1
    vendor.release()
    assert (
        0 == subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, timeout=2 * LIMIT, check=False).returncode
    )
    assert {f"{number:04}": 1 for number in range(count)} == dict(submitted(vendor))
    assert list(range(count)) == [row.key for row in read_rows(tmp_path / "job")]
    assert all(isinstance(row, AnswerRow) for row in read_rows(tmp_path / "job"))
