"""A run, with real workers on threads and a real server: what is settled, told, taken back, and stopped."""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from reactivex import Observable

from rxllm.batch import AnswerRow, BatchProgress, FailureRow, ModelSpec, Row, map_prompts, read_rows
from rxllm.batch._jobs import Columns, Job
from rxllm.batch._run import Plan, Run, RunSettings
from rxllm.batch._worker import Settings, Worker
from rxllm.batch.checkpoint import Retry
from rxllm.batch.mapping import batch_of
from rxllm.batch.model_spec import fingerprint
from rxllm.errors import ConfigurationError
from rxllm.testing import Drop, ErrorReply, Gate, LLMServer, RecordedRequest, Reply

from ..operators.threads import LIMIT, Seen
from .killable_pool import KillablePool


class Desk:
    """What a test needs to run batches: a server, a model, a place for the checkpoint."""

    def __init__(self, server: LLMServer, place: Path) -> None:
        self.server = server
        self.checkpoint = place / "job.sqlite"
        self.spec = ModelSpec("openai", model="m", base_url=server.base_url(), api_key="k")
        self.pool: KillablePool | None = None

    def batch(
        self,
        items: Callable[[], Iterable[object]] | Sequence[object],
        *,
        spec: ModelSpec | None = None,
        columns: Columns | None = None,
        max_concurrent: int = 4,
        max_retries: int = 2,
        retry: Retry = "none",
        pool: dict[str, Any] | None = None,
    ) -> Observable[Any]:
        """A batch whose pool is kept as `pool`."""
        model = spec or self.spec
        made = Plan(
            items=items if callable(items) else lambda: items,
            settings=RunSettings(
                total=None if callable(items) else len(items),
                progress_every=1e9,
                start_timeout=LIMIT,
                max_concurrent=max_concurrent,
                retry_failures=retry,
            ),
            columns=columns or Columns(),
            fingerprint=fingerprint(model),
            response_type=model.response_type,
            checkpoint=self.checkpoint,
        )

        def start_pool() -> KillablePool:
            self.pool = KillablePool(Settings(model, max_concurrent, max_retries), **(pool or {}))
            return self.pool

        return batch_of(lambda observer: Run(made, start_pool(), observer))

    def run(self, *arguments: Any, **named: Any) -> Seen:
        """A whole run, to its end."""
        seen = Seen()
        seen.subscribe(self.batch(*arguments, **named))
        seen.wait()
        return seen

    @property
    def asked(self) -> list[str]:
        """The prompts that came to the server, sorted."""
        return sorted(request.prompt for request in self.server.requests)


@pytest.fixture
def desk(llm_server: LLMServer, tmp_path: Path) -> Desk:
    return Desk(llm_server, tmp_path)


def rows(seen: Seen) -> list[AnswerRow | FailureRow]:
    return sorted((each for each in seen.values if not isinstance(each, BatchProgress)), key=lambda row: row.key)


def texts(seen: Seen) -> list[str]:
    return [row.text for row in rows(seen) if isinstance(row, AnswerRow)]


def numbered(count: int) -> list[str]:
    return [f"{number:04}" for number in range(count)]


def test_every_prompt_becomes_one_row(desk: Desk) -> None:
    """On disk and in the stream, with the first and the last progress around."""
    seen = desk.run(numbered(50), columns=Columns(keep=("prompt",)))
    assert seen.completed
    assert numbered(50) == texts(seen) == desk.asked
    assert rows(seen) == list(read_rows(desk.checkpoint))
    assert {"prompt": "0007"} == rows(seen)[7].columns
    first, last = seen.values[0], seen.values[-1]
    assert (0, 50, None) == (first.settled, first.total, first.eta)
    assert (50, 0, 0, 0.0) == (last.settled, last.failed, last.running, last.eta)
    assert (50, 50) == (last.input_tokens, last.output_tokens)
    assert 1 == len(seen.threads)


def test_a_second_run_asks_nothing_that_is_settled(desk: Desk) -> None:
    """It starts no worker for nothing; a changed prompt, model or option is asked again."""
    desk.run(numbered(5))
    again = desk.run(numbered(5))
    assert [] == rows(again)
    assert 5 == again.values[-1].skipped
    assert desk.pool is not None
    assert 0 == desk.pool.hired
    assert 5 == len(desk.server.requests)
    changed = desk.run([*numbered(2), "new", *numbered(5)[3:]])
    assert ["new"] == texts(changed)
    other = ModelSpec("openai", model="m", base_url=desk.server.base_url(), api_key="k", seed=3)
    assert 5 == len(rows(desk.run(numbered(5), spec=other)))
    assert 5 == len(list(read_rows(desk.checkpoint)))


def test_prompts_are_read_as_they_are_needed(desk: Desk) -> None:
    """Of an endless source no more is taken than workers have in hand."""
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield f"prompt {read}"

    enough, seen = threading.Event(), Seen()
    seen._also = lambda event: enough.set() if len(rows(seen)) >= 100 else None
    running = seen.subscribe(desk.batch(endless, max_concurrent=4))
    assert enough.wait(LIMIT)
    running.dispose()
    assert read <= len(desk.server.requests) + 2 * 8 + 8 + 2  # two hands, what is read ahead


def test_failures_are_rows(desk: Desk) -> None:
    """With the name of the error, its status, and what had come of the answer."""
    desk.server.enqueue(ErrorReply(400, "no such role"))
    (refused,) = rows(desk.run(["a"]))
    assert isinstance(refused, FailureRow)
    assert ("BadRequestError", 400, False, 1) == (
        refused.error,
        refused.status_code,
        refused.transient,
        refused.tries,
    )
    assert "no such role" in refused.message
    desk.server.enqueue(*[Reply(pieces=["Hel", "lo"], fault=Drop(after=1))] * 3)
    (cut,) = rows(desk.run(["b"]))
    assert isinstance(cut, FailureRow)
    assert ("StreamInterruptedError", True, 3) == (cut.error, cut.transient, cut.tries)
    assert cut.partial is not None
    assert "Hel" == cut.partial.text


def test_an_answer_that_is_cut_is_asked_again(desk: Desk) -> None:
    """Nobody has seen it yet, so it may begin anew; the row says how often it was tried."""
    desk.server.enqueue(Reply("Hello there", fault=Drop(after=1)), ErrorReply(500), "Hello")
    (row,) = rows(desk.run(["a"]))
    assert isinstance(row, AnswerRow)
    assert ("Hello", 3) == (row.text, row.tries)


def test_failed_rows_are_asked_again_when_a_run_says_so(desk: Desk) -> None:
    """And then they have one row, the new one."""
    desk.server.enqueue(ErrorReply(400), ErrorReply(503))
    desk.run(["a", "b"], max_retries=0, max_concurrent=1, pool={"workers": 1})
    assert [] == rows(desk.run(["a", "b"]))
    assert ["b"] == texts(desk.run(["a", "b"], retry="transient"))
    assert ["a"] == texts(desk.run(["a", "b"], retry="all"))
    assert ["a", "b"] == [row.text for row in read_rows(desk.checkpoint) if isinstance(row, AnswerRow)]


def test_a_prompt_that_cannot_be_asked_fails_alone(desk: Desk) -> None:
    """Here already, or where the provider refuses its options."""
    items = [{"prompt": 5, "o": {}}, {"prompt": "a", "o": {"top_k": 3}}, {"prompt": "b", "o": {}}]
    none, refused, fine = rows(desk.run(items, columns=Columns(options="o")))
    assert isinstance(none, FailureRow)
    assert isinstance(refused, FailureRow)
    assert ("ConfigurationError", "ConfigurationError") == (none.error, refused.error)
    assert "top_k" in refused.message
    assert isinstance(fine, AnswerRow)
    assert [] == rows(desk.run(items, columns=Columns(options="o")))


@dataclasses.dataclass
class City:
    """What is asked for."""

    name: str
    inhabitants: int


def test_structured_answers_are_values_or_failures(desk: Desk) -> None:
    """An answer of the type is the row's value; any other is a failure that holds it."""
    spec = ModelSpec("openai", model="m", base_url=desk.server.base_url(), api_key="k", response_format=City)
    good, bad = '{"name": "Oslo", "inhabitants": 700000}', '{"name": "Oslo"}'
    desk.server.default = lambda request: good if request.prompt == "a" else bad
    answered, failed = rows(desk.run(["a", "b"], spec=spec))
    assert isinstance(answered, AnswerRow)
    assert City("Oslo", 700000) == msgspec.convert(answered.value, City)
    assert isinstance(failed, FailureRow)
    assert "OutputParsingError" == failed.error
    assert failed.partial is not None
    assert bad == failed.partial.text
    assert "json_schema" in desk.server.requests[0].body.decode()


def test_options_of_a_row_hold_for_that_row(desk: Desk) -> None:
    """Its model, its format, its retries."""
    desk.server.default = lambda request: ErrorReply(500) if request.model == "big" else "[1]"
    items = [
        {"prompt": "a", "o": {"response_format": "json"}},
        {"prompt": "b", "o": {"model": "big", "max_retries": 0}},
    ]
    first, second = rows(desk.run(items, columns=Columns(options="o")))
    assert isinstance(first, AnswerRow)
    assert [1] == first.value
    assert isinstance(second, FailureRow)
    assert 1 == second.tries


def test_a_slow_subscriber_slows_the_asking(desk: Desk) -> None:
    """While on_next does not return, workers finish what they have, and nothing piles up."""
    gate, first = threading.Event(), threading.Event()

    def hold(event: object) -> None:
        if isinstance(event, AnswerRow):
            first.set()
            assert gate.wait(LIMIT)

    seen = Seen(hold)
    seen.subscribe(desk.batch(numbered(200), max_concurrent=2))
    assert first.wait(LIMIT)
    full = 2 * 4 + 4  # two workers with full hands, and what the first had handed over
    assert desk.pool is not None
    given = [key for _, keys in desk.pool.exchanges for key in keys]
    assert len(given) <= full
    desk.server.wait_for_request(len(given), LIMIT)
    assert given == [key for _, keys in desk.pool.exchanges for key in keys]
    assert len(given) == len(desk.server.requests)
    gate.set()
    seen.wait()
    assert numbered(200) == texts(seen)


def test_dispose_closes_all_connections_and_settles_what_was_ready(desk: Desk) -> None:
    """Nothing more is told; what had been answered is not asked again."""
    gate = Gate()

    def answer(request: RecordedRequest) -> Reply:
        return Reply(request.prompt, gate=None if int(request.prompt) < 3 else gate)

    desk.server.default = answer
    seen, told = Seen(), threading.Event()
    seen._also = lambda event: told.set() if rows(seen) else None
    running = seen.subscribe(desk.batch(numbered(100), max_concurrent=4, pool={"workers": 1}))
    assert told.wait(LIMIT)
    desk.server.wait_for_request(7, LIMIT)
    open_ones = [request for request in desk.server.requests if int(request.prompt) >= 3]
    running.dispose()
    heard = len(seen.values)
    for request in open_ones:
        assert request.closed.wait(LIMIT)
    assert desk.pool is not None
    assert desk.pool.closed.wait(LIMIT)
    assert heard == len(seen.values)
    assert not seen.ended.is_set()
    desk.server.default = "again"
    asked = len(desk.server.requests)
    again = desk.run(numbered(100))
    assert 97 == len(rows(again)) == len(desk.server.requests) - asked


def test_a_subscriber_that_raises_ends_the_run(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its exception surfaces through threading.excepthook, and the row it was told stays settled."""
    raised: list[threading.ExceptHookArgs] = []
    surfaced = threading.Event()

    def hook(arguments: threading.ExceptHookArgs) -> None:
        raised.append(arguments)
        surfaced.set()

    monkeypatch.setattr(threading, "excepthook", hook)

    def fail(event: object) -> None:
        if isinstance(event, AnswerRow):
            raise ZeroDivisionError("the subscriber's own")

    seen = Seen(fail)
    seen.subscribe(desk.batch(numbered(50)))
    assert surfaced.wait(LIMIT)
    assert ZeroDivisionError is raised[0].exc_type
    assert desk.pool is not None
    assert desk.pool.closed.wait(LIMIT)
    assert seen.error is None
    assert 1 <= len(list(read_rows(desk.checkpoint))) < 50


def test_prompts_of_a_dead_worker_are_asked_by_others(desk: Desk) -> None:
    """Each ends in one row; another worker takes the place of the dead one."""
    killed: list[int] = []

    def kill_some(pool: KillablePool, worker: int, jobs: Sequence[Job]) -> None:
        if len(pool.exchanges) in (4, 9):
            killed.append(worker)
            pool.kill(worker)

    seen = desk.run(numbered(100), pool={"on_exchange": kill_some})
    assert numbered(100) == texts(seen)
    assert 2 == len(killed) == seen.values[-1].lost_workers
    assert desk.pool is not None
    assert desk.pool.hired >= 3  # the second one may be lost when the run is nearly over


def test_a_worker_that_shows_no_sign_of_life_is_taken_for_dead(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its prompts are asked by others, and it is ended."""
    monkeypatch.setattr("rxllm.batch._run._SILENT_SECONDS", 1.5)

    def silence(pool: KillablePool, worker: int, jobs: Sequence[Job]) -> None:
        if worker == 0:
            pool.forget(worker)

    seen = desk.run(numbered(20), pool={"on_exchange": silence})
    assert numbered(20) == texts(seen)
    assert 1 == seen.values[-1].lost_workers


def test_a_run_that_was_stopped_waits_for_its_workers(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """After SIGSTOP and SIGCONT, or a debugger, no worker has had the time to send anything."""
    monkeypatch.setattr("rxllm.batch._run._SILENT_SECONDS", 1.5)
    now, skipped = time.monotonic, [0.0]

    class Clock:
        monotonic = staticmethod(lambda: now() + skipped[0])

    monkeypatch.setattr("rxllm.batch._run.time", Clock)

    def stop(pool: KillablePool, worker: int, jobs: Sequence[Job]) -> None:
        if worker == 1 and not skipped[0]:  # the other one is busy by then
            skipped[0] = 60.0

    seen = desk.run(numbered(20), pool={"on_exchange": stop})
    assert numbered(20) == texts(seen)
    assert 0 == seen.values[-1].lost_workers


def test_the_only_worker_of_this_process_is_replaced(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was silent for too long, whose thread stood still, is closed; its prompts are asked again."""
    monkeypatch.setattr("rxllm.batch._run._SILENT_SECONDS", 1.5)
    proceed, exchange, count = threading.Event(), Worker.exchange, itertools.count()

    def stand_still(worker: Worker, jobs: Sequence[Job]) -> list[Row]:
        if next(count) == 1:
            assert proceed.wait(LIMIT)
        return exchange(worker, jobs)

    monkeypatch.setattr(Worker, "exchange", stand_still)
    seen = Seen()
    seen.subscribe(map_prompts(numbered(4), desk.spec, checkpoint=desk.checkpoint, progress_every=1e9))
    try:
        seen.wait()
    finally:
        proceed.set()
    assert numbered(4) == texts(seen)
    assert 1 == seen.values[-1].lost_workers


def test_a_prompt_that_kills_its_worker_becomes_a_failure(desk: Desk) -> None:
    """After three deaths, and no other prompt fails with it."""

    def kill(pool: KillablePool, worker: int, jobs: Sequence[Job]) -> None:
        if any(job.key == 13 for job in jobs):
            pool.kill(worker)

    seen = desk.run(numbered(40), pool={"on_exchange": kill})
    assert seen.completed
    failed = [row for row in rows(seen) if isinstance(row, FailureRow)]
    assert [(13, "WorkerLostError", True)] == [(row.key, row.error, row.transient) for row in failed]
    assert 39 == len(texts(seen))


def test_workers_that_do_not_start_end_the_run(desk: Desk) -> None:
    """No prompt is blamed for it; the error says why."""
    seen = desk.run(numbered(9), pool={"starts": lambda worker: False})
    assert "WorkerLostError" == type(seen.error).__name__
    assert "it does not start" in str(seen.error)
    assert [] == list(read_rows(desk.checkpoint))


@pytest.mark.parametrize("healthy", [0, 5])
def test_workers_that_do_not_start_leave_a_healthy_one_alone(desk: Desk, healthy: int) -> None:
    """A node where they die at start does not end the run, even if the healthy one is the last to be ready."""
    seen = desk.run(numbered(30), pool={"workers": 6, "starts": lambda worker: worker == healthy})
    assert seen.completed
    assert numbered(30) == texts(seen) == desk.asked


def test_a_model_that_cannot_be_made_ends_the_run(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the error that making it raises: it names the key that is missing."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    seen = desk.run(numbered(9), spec=ModelSpec("openai:m"))
    assert isinstance(seen.error, ConfigurationError)
    assert "OPENAI_API_KEY" in str(seen.error)


@pytest.mark.parametrize(
    ("reply", "name"),
    [
        (ErrorReply(401, "no such key"), "AuthenticationError"),
        (ErrorReply(402, "pay first"), "PermissionDeniedError"),
        (
            ErrorReply(429, b'{"error": {"message": "no money", "code": "insufficient_quota"}}'),
            "RateLimitError",
        ),
    ],
)
def test_what_every_prompt_would_meet_ends_the_run(desk: Desk, reply: ErrorReply, name: str) -> None:
    """A million failures would help nobody: these prompts have no row, and are asked again."""
    desk.server.default = lambda request: reply if int(request.prompt) >= 20 else request.prompt
    seen = desk.run(numbered(1000))
    assert name == type(seen.error).__name__
    assert {row.text for row in read_rows(desk.checkpoint) if isinstance(row, AnswerRow)} <= set(numbered(20))
    assert len(desk.server.requests) < 100
    desk.server.default = lambda request: request.prompt
    desk.run(numbered(1000))
    assert numbered(1000) == [row.text for row in read_rows(desk.checkpoint) if isinstance(row, AnswerRow)]


@pytest.mark.parametrize(
    ("items", "says"),
    [
        ([{"prompt": "y"}, {"id": "a", "prompt": "x"}], "row 0: there is no column 'id'"),
        ([{"id": "a", "prompt": "x"}, {"id": "a", "prompt": "y"}], "two prompts have the key 'a'"),
    ],
)
def test_rows_that_make_no_sense_end_the_run(desk: Desk, items: list[dict[str, str]], says: str) -> None:
    """What was answered before stays settled."""
    seen = desk.run(items, columns=Columns(key="id"))
    assert isinstance(seen.error, ConfigurationError)
    assert says in str(seen.error)
    assert desk.pool is None or desk.pool.closed.wait(LIMIT)


def test_what_the_prompts_raise_goes_to_on_error(desk: Desk) -> None:
    """As it is."""

    def broken() -> Iterator[str]:
        yield "a"
        raise LookupError("the table is gone")

    seen = desk.run(broken)
    assert isinstance(seen.error, LookupError)


def test_each_subscription_is_a_run(desk: Desk) -> None:
    """A batch is cold: nothing happens before, and a second subscription goes on after the first."""
    batch = desk.batch(numbered(3))
    assert not desk.checkpoint.exists()
    for expected in (3, 0):
        seen = Seen()
        seen.subscribe(batch)
        seen.wait()
        assert expected == len(rows(seen))
