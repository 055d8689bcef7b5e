"""The primitive: steps, and what runs them under Rx."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import reactivex as rx
from reactivex import operators as rxo
from reactivex.subject import Subject

from rxllm import operators as ops
from rxllm.events import Response
from rxllm.operators._operator import Step, run_steps

from .kit import Boom, Case, OperatorContract, play


class Twice(Step[str, str]):
    """Gives each text twice, and a last word."""

    def feed(self, item: str, /) -> Sequence[str]:
        return (item, item)

    def close(self) -> Sequence[str]:
        return ("end",)


class Until(Step[str, str]):
    """Ends the stream at a given text."""

    def __init__(self, last: str) -> None:
        self._last = last
        self.done = False

    def feed(self, item: str, /) -> Sequence[str]:
        self.done = item == self._last
        return (item,)


class Failing(Step[str, str]):
    """Raises where it is told to."""

    def __init__(self, where: str, error: Exception) -> None:
        self._where = where
        self._error = error

    def feed(self, item: str, /) -> Sequence[str]:
        if self._where == "feed":
            raise self._error
        return ()

    def close(self) -> Sequence[str]:
        raise self._error


CASES = [Case("run_steps", lambda: run_steps(Twice), ["a", "b"], ["a", "a", "b", "b", "end"], empty=["end"])]


class TestContract(OperatorContract):
    """The contract, over a step that gives several values at once."""

    cases = CASES


@pytest.mark.parametrize("where", ["feed", "close"])
def test_what_a_step_raises_goes_to_on_error_as_it_is(where: str) -> None:
    """A step's exception is on_error's, the same object, and the upstream is disposed."""
    boom = Boom()
    run = play(run_steps(lambda: Failing(where, boom)), ["a", "b"])
    assert run.error is boom
    assert run.upstream_closed_at == (210 if where == "feed" else 230)


def test_a_step_that_is_done_completes_and_lets_the_upstream_go() -> None:
    """The last value comes, then on_completed, and the upstream is disposed at that moment."""
    run = play(run_steps(lambda: Until("b")), ["a", "b", "c"])
    assert run.values == ["a", "b"]
    assert run.completed
    assert run.upstream_closed_at == 220


@pytest.mark.parametrize("ending", ["completed", "error"])
def test_nothing_follows_the_end_of_a_source_that_does_not_stop(ending: str) -> None:
    """A source that goes on after being disposed, synchronously, is not heard."""

    def deaf(observer: rx.abc.ObserverBase[str], _: rx.abc.SchedulerBase | None = None) -> rx.abc.DisposableBase:
        for item in "abcd":
            observer.on_next(item)
        if ending == "completed":
            observer.on_completed()
        else:
            observer.on_error(Boom())
        return rx.disposable.Disposable()

    seen: list[str] = []
    rx.create(deaf).pipe(run_steps(lambda: Until("b"))).subscribe(seen.append, seen.append, lambda: seen.append("."))
    assert seen == ["a", "b", "."]


def test_what_is_caused_inside_on_next_comes_after_what_was_due() -> None:
    """Of two values given at once the second comes before those of an event pushed at the first."""
    source: Subject[str] = Subject()
    seen: list[str] = []

    def on_next(value: str) -> None:
        seen.append(value)
        if seen == ["a"]:
            source.on_next("b")
            source.on_completed()

    source.pipe(run_steps(Twice)).subscribe(on_next, on_completed=lambda: seen.append("."))
    source.on_next("a")
    assert seen == ["a", "a", "b", "b", "end", "."]


def test_after_a_subscriber_raised_the_next_event_is_emitted_afresh() -> None:
    """Values that were due when the subscriber raised are dropped, not put before later ones."""
    source: Subject[str] = Subject()
    seen: list[str] = []

    def on_next(value: str) -> None:
        if value == "a":
            source.on_next("x")
            raise Boom
        seen.append(value)

    source.pipe(run_steps(Twice)).subscribe(on_next)
    with pytest.raises(Boom):
        source.on_next("a")
    source.on_next("b")
    assert seen == ["b", "b"]


def test_the_scheduler_of_the_subscription_reaches_the_source() -> None:
    """`subscribe(scheduler=...)` is passed up."""
    scheduler = rx.scheduler.CurrentThreadScheduler()
    seen: list[object] = []

    def source(observer: rx.abc.ObserverBase[str], given: rx.abc.SchedulerBase | None) -> rx.abc.DisposableBase:
        seen.append(given)
        return rx.disposable.Disposable()

    rx.create(source).pipe(run_steps(Twice), rxo.take(1)).subscribe(scheduler=scheduler)
    assert seen == [scheduler]


EVENT_OPERATORS = {
    "text": ops.text(),
    "reasoning": ops.reasoning(),
    "response": ops.response(),
    "accumulate": ops.accumulate(Response),
    "tool_calls": ops.tool_calls(),
    "stop_at": ops.stop_at("x"),
    "think_tags": ops.think_tags(),
    "replace": ops.replace("x", "y"),
    "redact": ops.redact("x"),
    "grapheme_safe": ops.grapheme_safe(),
    "timing": ops.timing(),
    "usage": ops.usage(),
    "cost": ops.cost(lambda response: None),
    "finally_response": ops.finally_response(lambda response: None),
}


@pytest.mark.parametrize("name", EVENT_OPERATORS)
def test_an_event_operator_refuses_strings(name: str) -> None:
    """At the first one, by its name, and the upstream is disposed: a card number would pass unseen."""
    run = play(EVENT_OPERATORS[name], ["4111111111111111", "x"])
    assert run.values == []
    assert isinstance(run.error, TypeError)
    assert f"{name}() takes token events" in str(run.error)
    assert run.upstream_closed_at == 210


def test_a_recorder_refuses_strings(tmp_path: Path) -> None:
    """It would write lines that no replay can read."""
    run = play(ops.record(tmp_path / "r.jsonl"), ["text"])
    assert isinstance(run.error, TypeError)
