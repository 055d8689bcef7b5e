"""Bad rows, outages, jobs that are wrong as a whole, slow sources: in this process, with a real server."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import reactivex
from reactivex.scheduler import VirtualTimeScheduler

import rxllm
from rxllm import batch
from rxllm.batch import AnswerRow, BatchProgress, FailureRow, ModelSpec, _progress_bar, _worker_pool, read_rows
from rxllm.batch._outage import Outages, with_retries
from rxllm.errors import BadRequestError, ConfigurationError, NotFoundError, ServerError
from rxllm.events import Response, StreamEnd
from rxllm.testing import ErrorReply, LLMServer, RecordedRequest, Reply
from rxllm.testing.replies import Answer

from ..operators.threads import LIMIT, Seen


def spec_for(server: LLMServer, **options: Any) -> ModelSpec:
    return ModelSpec("openai", model="m", base_url=server.base_url(), api_key="k", **options)


def run(server: LLMServer, place: Path, prompts: Any, **options: Any) -> Seen:
    """A whole run, to its end."""
    seen = Seen()
    seen.subscribe(batch.map_prompts(prompts, spec_for(server), checkpoint=place / "job", **options))
    seen.wait()
    return seen


def rows(seen: Seen) -> list[AnswerRow | FailureRow]:
    return [each for each in seen.values if not isinstance(each, BatchProgress)]


def _raises_for_b(row: Any) -> str:
    if row["prompt"] == "b":
        raise KeyError("no template")
    return str(row["prompt"])


@pytest.mark.parametrize(
    ("bad", "options", "says"),
    [
        ({"id": "b", "prompt": "b", "x": "a\udc81"}, {}, "surrogates not allowed"),
        ({"id": "b", "prompt": "hi \ud83d", "x": 1}, {}, "surrogates not allowed"),
        ({"id": "b\udc81", "prompt": "b", "x": 1}, {}, "surrogates not allowed"),
        ({"id": 2**63, "prompt": "b", "x": 1}, {}, "at most 64 bits"),
        ({"id": None, "prompt": "b", "x": 1}, {}, "'id' is None"),
        ({"prompt": "b", "x": 1}, {}, "no column 'id'"),
        ({"id": "b", "x": 1}, {}, "no column 'prompt'"),
        ({"id": "b", "prompt": "b"}, {}, "no column 'x'"),
        ({"id": "b", "prompt": "b", "x": object()}, {}, "cannot be kept as JSON"),
        ({"id": "b", "prompt": "b", "x": 1}, {"prompt": _raises_for_b}, "no template"),
        (
            {"id": "b", "prompt": "b", "x": 1},
            {"options": lambda row: {"nonsense": 1} if row["id"] == "b" else {}},
            "nonsense",
        ),
    ],
)
def test_a_bad_row_is_one_failure_row(
    llm_server: LLMServer, tmp_path: Path, bad: dict[str, object], options: dict[str, Any], says: str
) -> None:
    """It carries its number; the others are answered, and a second run asks nothing."""
    good: list[dict[str, object]] = [{"id": f"g{n}", "prompt": "hi", "x": 1} for n in range(5)]
    items = [*good[:2], bad, *good[2:]]
    seen = run(llm_server, tmp_path, items, key="id", keep=["x"], **options)
    assert seen.completed
    (failure,) = (row for row in rows(seen) if isinstance(row, FailureRow))
    assert says in failure.message
    assert "row 2" in failure.message
    assert 5 == sum(isinstance(row, AnswerRow) for row in rows(seen))
    assert 6 == len(list(read_rows(tmp_path / "job")))
    again = run(llm_server, tmp_path, items, key="id", keep=["x"], **options)
    assert [] == rows(again)


def test_an_answer_that_cannot_be_stored_is_a_failure(tmp_path: Path) -> None:
    """Text that is not Unicode, from a model of the user's; the run goes on."""

    class Broken:
        """Answers with a lone surrogate to "b"."""

        def stream(self, prompt: Any, **_: Any) -> Any:
            text = "\ud800" if prompt[0].text == "b" else "fine"
            return reactivex.just(StreamEnd(Response(text)))

        def close(self) -> None: ...

    seen = Seen()
    seen.subscribe(batch.map_prompts(["a", "b", "c"], Broken, checkpoint=tmp_path / "job"))  # type: ignore[arg-type]
    seen.wait()
    found = {row.key: row for row in rows(seen)}
    assert isinstance(found[1], FailureRow)
    assert isinstance(found[0], AnswerRow)
    assert isinstance(found[2], AnswerRow)


def test_an_outage_turns_no_prompt_into_a_failure(
    llm_server: LLMServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While everything fails there is one request at a time; then the run goes on."""
    monkeypatch.setattr("rxllm.batch._outage._FIRST_PROBE", 0.05)
    failing = threading.Event()
    failing.set()
    failures = 0

    def answer(request: RecordedRequest) -> Answer:
        nonlocal failures
        if failing.is_set():
            failures += 1
            if failures == 12:  # eight at once, and four probes
                failing.clear()
            return ErrorReply(503, "down")
        return Reply("ok")

    llm_server.default = answer
    seen = run(llm_server, tmp_path, [str(n) for n in range(100)], max_concurrent=8)
    assert seen.completed
    assert 100 == sum(isinstance(row, AnswerRow) for row in rows(seen))
    assert 112 == len(llm_server.requests)


def _failing(errors: list[Exception | None], made: list[int]) -> reactivex.Observable[Any]:
    def attempt(_: Any) -> reactivex.Observable[Any]:
        made.append(1)
        error = errors.pop(0) if errors else None
        return reactivex.just(StreamEnd(Response("ok"))) if error is None else reactivex.throw(error)

    return reactivex.defer(attempt)


def test_an_outage_ends_by_its_timeout() -> None:
    """In virtual time: probes grow apart, and after the timeout failures count again."""
    clock = VirtualTimeScheduler()
    outages, made, ended = Outages(1, 100.0, lambda: float(clock.clock)), list[int](), list[Exception]()
    forever: list[Exception | None] = [ServerError("down", status_code=503)] * 1000
    stream = with_retries(_failing(forever, made), outages, 9, jitter=lambda low, high: high)
    stream.subscribe(on_error=ended.append, scheduler=clock)
    clock.start()
    assert [ServerError] == [type(error) for error in ended]
    assert clock.clock >= 100.0
    assert len(made) < 40


def test_told_waits_are_not_counted_as_retries() -> None:
    """A Retry-After is the server's decision; the retries are for what it did not announce."""
    clock = VirtualTimeScheduler()
    told = [rxllm.RateLimitError("slow", status_code=429, retry_after=1.0) for _ in range(4)]
    made, ended = list[int](), list[object]()
    outages = Outages(50, 100.0, lambda: float(clock.clock))
    with_retries(_failing([*told, ServerError("x", status_code=500)], made), outages, 1).subscribe(
        ended.append, ended.append, scheduler=clock
    )
    clock.start()
    assert 6 == len(made)
    assert isinstance(ended[0], StreamEnd)


def test_the_same_error_for_the_first_prompts_ends_the_run(llm_server: LLMServer, tmp_path: Path) -> None:
    """No failure is stored: with the right model the next run asks all of them."""
    llm_server.default = ErrorReply(404, "no such model")
    seen = run(llm_server, tmp_path, [str(n) for n in range(300)])
    assert isinstance(seen.error, NotFoundError)
    assert "the first 20 prompts all failed with the same error" in str(seen.error)
    assert len(llm_server.requests) < 100
    assert [] == list(read_rows(tmp_path / "job"))
    llm_server.default = "ok"
    assert 300 == len(rows(run(llm_server, tmp_path, [str(n) for n in range(300)])))


def test_few_prompts_or_different_errors_are_failures(llm_server: LLMServer, tmp_path: Path) -> None:
    """Fewer than 20 are stored; so are 20 whose errors differ, or follow an answer."""
    llm_server.default = ErrorReply(404, "no such model")
    assert 5 == len(rows(run(llm_server, tmp_path, [str(n) for n in range(5)])))
    llm_server.default = lambda request: ErrorReply(400, f"prompt {request.prompt} is refused")
    many = [f"p{n}" for n in range(50)]
    seen = run(llm_server, tmp_path, many)
    assert seen.completed
    assert all(isinstance(row, FailureRow) and row.error == BadRequestError.__name__ for row in rows(seen))
    assert 50 == len(rows(seen))


def test_a_function_that_raises_for_all_rows_ends_the_run(llm_server: LLMServer, tmp_path: Path) -> None:
    """After 20 of a million."""
    seen = run(llm_server, tmp_path, ["b"] * 1000, prompt=_raises_for_b)
    assert isinstance(seen.error, ConfigurationError)
    assert "no template" in str(seen.error)
    assert not llm_server.requests


def test_a_slow_source_delays_no_row(llm_server: LLMServer, tmp_path: Path) -> None:
    """The first answer arrives while the source blocks on the second prompt."""
    answered = threading.Event()

    def slow() -> Iterator[str]:
        yield "a"
        assert answered.wait(LIMIT)
        yield "b"

    seen = Seen()
    seen._also = lambda event: answered.set() if isinstance(event, AnswerRow) else None
    seen.subscribe(batch.map_prompts(slow, spec_for(llm_server), checkpoint=tmp_path / "job"))
    seen.wait()
    assert 2 == len(rows(seen))


def test_dispose_while_the_source_blocks(llm_server: LLMServer, tmp_path: Path) -> None:
    """The checkpoint is free at once."""
    asked, gate = threading.Event(), threading.Event()

    def stuck() -> Iterator[str]:
        yield "a"
        asked.set()
        gate.wait(LIMIT)

    seen = Seen()
    running = seen.subscribe(batch.map_prompts(stuck, spec_for(llm_server), checkpoint=tmp_path / "job"))
    assert asked.wait(LIMIT)
    running.dispose()
    try:
        read = _eventually(lambda: len(list(read_rows(tmp_path / "job"))))
        assert read <= 1
    finally:
        gate.set()


def _eventually(look: Callable[[], int]) -> int:
    until = time.monotonic() + LIMIT
    while True:
        try:
            return look()
        except ConfigurationError:
            if time.monotonic() > until:
                raise


def test_limits_hold_in_this_process(llm_server: LLMServer, tmp_path: Path) -> None:
    """With a name, they are shared by runs; other limits of that name are refused."""
    limits = batch.RateLimits(requests_per_minute=3, name="of-this-test")
    seen, enough = Seen(), threading.Event()
    seen._also = lambda event: enough.set() if len(rows(seen)) == 3 else None
    running = seen.subscribe(
        batch.map_prompts(["a"] * 9, spec_for(llm_server), checkpoint=tmp_path / "job", limits=limits)
    )
    assert enough.wait(LIMIT)
    running.dispose()
    assert 3 == len(llm_server.requests)
    other = batch.RateLimits(requests_per_minute=4, name="of-this-test")
    with pytest.raises(ConfigurationError, match="of-this-test"):
        batch.map_prompts(["a"], spec_for(llm_server), checkpoint=tmp_path / "other", limits=other)


def test_a_version_asks_everything_again(llm_server: LLMServer, tmp_path: Path) -> None:
    """A factory is known by its name only: what it closes over may have changed."""

    def make() -> rxllm.StreamingModel:
        return spec_for(llm_server)()

    counts: Counter[str] = Counter()
    for version in ("", "", "2"):
        seen = Seen()
        seen.subscribe(batch.map_prompts(["a"], make, checkpoint=tmp_path / "job", version=version))
        seen.wait()
        counts[version] += len(rows(seen))
    assert {"": 1, "2": 1} == dict(counts)


def test_a_progress_bar_ends_with_a_line(
    llm_server: LLMServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where stderr is no terminal: counts and rate, once."""
    run(llm_server, tmp_path, ["a", "b"], show_progress=True)
    assert capsys.readouterr().err.startswith("2 of 2 rows, ")


class Terminal(io.StringIO):
    """What a program writes to a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("package", "shown"), [("rich", "2 of 2 rows"), ("tqdm", "2/2")])
def test_a_progress_bar_on_a_terminal(
    llm_server: LLMServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, shown: str
) -> None:
    """Of the package that is installed."""
    pytest.importorskip(package, reason=f"{package} is not installed")
    monkeypatch.setattr(_progress_bar, "find_spec", lambda name: name == package)
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    run(llm_server, tmp_path, ["a", "b"], show_progress=True)
    assert shown in terminal.getvalue()


def test_a_frame_is_not_taken_for_its_column_names(tmp_path: Path) -> None:
    """The error says how to get its rows."""
    import pandas

    frame: Any = pandas.DataFrame({"prompt": ["a"]})
    with pytest.raises(ConfigurationError, match="to_dict"):
        batch.map_prompts(frame, "openai:m", checkpoint=tmp_path / "job")


def test_numbers_and_texts_of_numpy(llm_server: LLMServer, tmp_path: Path) -> None:
    """As options, prompts and keys; a key that could not be written stopped the run for ever."""
    import numpy

    prompts: Any = [{"prompt": text, "id": text} for text in numpy.array(["a", "b"])]
    more: Any = {"total": numpy.int64(2), "progress_every": numpy.float64(1)}
    seen = run(llm_server, tmp_path, prompts, key="id", **more)
    assert ["a", "b"] == sorted(str(row.key) for row in rows(seen))


class _Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    "error",
    [SystemExit("out"), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit(), _Unreadable()],
    ids=repr,
)
def test_a_run_ends_whatever_code_of_the_user_raises(
    llm_server: LLMServer, tmp_path: Path, error: BaseException
) -> None:
    """As a failure row if it is about one prompt, else as the error of the run."""
    says = type(error).__name__

    def prompt(row: Any) -> str:
        if row["prompt"] == "b":
            raise error
        return str(row["prompt"])

    def prompts() -> Iterator[str]:
        yield "a"
        raise error

    def model() -> rxllm.StreamingModel:
        raise error

    seen = run(llm_server, tmp_path / "row", [{"prompt": "a"}, {"prompt": "b"}], prompt=prompt)
    assert seen.completed
    assert [says in row.message for row in rows(seen) if isinstance(row, FailureRow)] == [True]
    seen = run(llm_server, tmp_path / "source", prompts())
    assert says in str(seen.error)
    seen = Seen()
    seen.subscribe(batch.map_prompts(["a"], model, checkpoint=tmp_path / "job"))
    seen.wait()
    assert says in str(seen.error)


@pytest.mark.parametrize("begun", [0, 2])
def test_without_threads_a_run_ends_with_an_error_of_this_package(
    llm_server: LLMServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: int
) -> None:
    """At its start or later; what is answered by then is kept, and the next run does the rest."""
    start, names = _worker_pool.workers.run, list[str]()
    prompts = [f"prompt {number}" for number in range(30)]  # more than a worker is given at once

    def run_some(name: str, task: Callable[[], object]) -> None:
        names.append(name)
        if len(names) > begun:
            raise RuntimeError("can't start new thread")
        start(name, task)

    with monkeypatch.context() as patched:
        patched.setattr(_worker_pool, "workers", SimpleNamespace(run=run_some))
        seen = run(llm_server, tmp_path, prompts, max_concurrent=1)
    assert isinstance(seen.error, batch.WorkerLostError)
    assert len(rows(seen)) < 30
    again = run(llm_server, tmp_path, prompts)
    assert again.completed
    assert len(rows(seen)) + len(rows(again)) == 30
