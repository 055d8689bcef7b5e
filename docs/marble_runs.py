"""The runs behind the diagrams of operators.md: what goes into each operator, as short as can be."""

from __future__ import annotations

import os
from decimal import Decimal
from typing import Any

import reactivex
from marble_stage import Given, Result, Run, Stage, single
from reactivex.subject import Subject

from rxllm import operators as ops
from rxllm.errors import OverloadedError
from rxllm.events import (
    ReasoningDelta,
    Response,
    StreamEnd,
    StreamStart,
    TextDelta,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    Usage,
)
from rxllm.messages import TextPart, ToolCall

T, R = TextDelta, ReasoningDelta


def end(text: str, **facts: Any) -> StreamEnd:
    """The end of an answer."""
    return StreamEnd(Response(text=text, finish_reason="stop", parts=(TextPart(text),), **facts))


def pieces(*texts: str, first: float = 1) -> dict[float, Any]:
    """Deltas a second apart."""
    return {first + n: T(text) for n, text in enumerate(texts)}


def tokens(count: int) -> StreamEnd:
    """The end of an answer of so many tokens."""
    return end("", usage=Usage(output_tokens=count))


CALL = ToolCall("c1", "look", {"q": 1})
TOOL = {
    1: ToolCallStart(0, "c1", "look"),
    2: ToolCallDelta(0, '{"q":'),
    3: ToolCallDelta(0, "1}"),
    4: ToolCallEnd(0, CALL),
}
MIXED = {1: R("hm"), 2: T("Hel"), 3: T("lo"), 4: end("Hello")}

TEXT = {
    "text": single("text()", MIXED, 4, lambda _: ops.text()),
    "reasoning": single("reasoning()", MIXED, 4, lambda _: ops.reasoning()),
    "accumulate": single("accumulate()", pieces("Hel", "lo", "!"), 4, lambda _: ops.accumulate()),
    "response": single("response()", MIXED, 4, lambda _: ops.response()),
    "words": single("words()", pieces("Hel", "lo wor", "ld. By", "e"), 5, lambda _: ops.words()),
    "sentences": single("sentences()", pieces("It is 3", ".5. R", "eally", "?"), 5, lambda _: ops.sentences()),
    "lines": single("lines()", pieces("a\nb", "c\n", "d"), 4, lambda _: ops.lines()),
    "paragraphs": single("paragraphs()", pieces("a\nb\n", "\nc", "d"), 4, lambda _: ops.paragraphs()),
    "code_blocks": single(
        "code_blocks()",
        pieces("Try\n``", "`py\n1+", "1\n``", "`\nok"),
        5,
        lambda _: ops.code_blocks(),
        show=lambda item: {
            "CodeBlockStart": lambda: f"start {item.language}",
            "CodeBlockDelta": lambda: item.text.replace("\n", "\u21b5"),
            "CodeBlockEnd": lambda: "end",
        }[type(item).__name__](),
    ),
    "markdown_blocks": single(
        "markdown_blocks()",
        pieces("# T", "i\nSo", "me\n\n", "x"),
        5,
        lambda _: ops.markdown_blocks(),
        show=lambda block: f"{block.index}: {block.text!r}{'.' if block.closed else '..'}",
    ),
    "stop_at": single('stop_at("END")', pieces("one E", "N", "D two", "three"), 5, lambda _: ops.stop_at("END")),
    "think_tags": single(
        "think_tags()", {1: T("<th"), 2: T("ink>h"), 3.2: T("m</think>"), 4.4: T("Hi")}, 5, lambda _: ops.think_tags()
    ),
    "replace": single(
        'replace("colour", "color")', pieces("col", "our", "s"), 4, lambda _: ops.replace("colour", "color")
    ),
    "redact": single(r'redact(r"\d{4}")', pieces("pin 12", "34", " ok"), 4, lambda _: ops.redact(r"\d{4}", "####")),
    "grapheme_safe": single("grapheme_safe()", pieces("e", "\u0301t", "e", "\u0301"), 5, lambda _: ops.grapheme_safe()),
}

STRUCTURED = {
    "partial_json": single("partial_json()", pieces('{"a": "x', 'y", ', '"b": 1}'), 4, lambda _: ops.partial_json()),
    "array_items": single("array_items(int)", pieces("[1,", " 2, 3", ", 4]"), 4, lambda _: ops.array_items(int)),
    "parse": single("parse(list[int])", pieces("[1", ", 2]"), 3, lambda _: ops.parse(list[int]), show=str),
    "tool_calls": single(
        "tool_calls()", TOOL, 5, lambda _: ops.tool_calls(), show=lambda call: f"{call.name}({call.arguments})"
    ),
}

PACE = {
    "observe_on_ui": single(
        "observe_on_ui(ui, frame=2)",
        {1: T("a"), 1.5: T("b"), 2: T("c"), 4: T("d"), 4.5: R("e"), 5: end("abcd")},
        5.5,
        lambda stage: ops.observe_on_ui(stage.scheduler, frame=2),
    ),
    "bounded": single(
        'bounded(busy, 2, overflow="coalesce")',
        {**{0.5 * n: T("abcdef"[n - 1]) for n in range(1, 7)}, 3.5: end("abcdef")},
        4,
        lambda stage: ops.bounded(stage.busy(2.5), 2, overflow="coalesce"),
    ),
    "bounded_drop": single(
        'bounded(busy, 2, overflow="drop_oldest")',
        {**{0.5 * n: T("abcdef"[n - 1]) for n in range(1, 7)}, 3.5: end("abcdef")},
        4,
        lambda stage: ops.bounded(stage.busy(2.5), 2, overflow="drop_oldest"),
    ),
    "buffer": single(
        "buffer(3, seconds=2)",
        {1: T("a"), 1.5: T("b"), 2: T("c"), 3: T("d"), 3.5: T("e"), 5.5: T("f")},
        6.5,
        lambda _: ops.buffer(3, seconds=2),
    ),
    "smooth": single(
        "smooth(2, frame=0.5)",
        {1: T("abcdef"), 5: T("g"), 6: end("abcdefg")},
        6,
        lambda _: ops.smooth(2, frame=0.5, catch_up=10),
    ),
}


def _broadcast(stage: Stage) -> list[Result]:
    shared = stage.sources["source"].pipe(ops.broadcast())
    return [Result("first", shared), Result("second", shared, 2.5), Result("late", shared, 5.5)]


def _tee(stage: Stage) -> list[Result]:
    side = Subject[Any]()
    return [Result("observer", side), Result("result", stage.sources["source"].pipe(ops.tee(side)))]


def _record(_: Stage) -> Any:
    return ops.record(os.devnull)


SHARE = {
    "broadcast": Run("broadcast()", [Given("source", {**pieces("a", "b", "c"), 4: end("abc")}, 4.5)], _broadcast),
    "tee": Run("tee(observer)", [Given("source", pieces("a", "b"), 3)], _tee),
    "record": single('record("answer.jsonl")', pieces("a", "b"), 3, _record),
}


def _map_prompts(**options: Any) -> Any:
    seconds = {"p": 4.0, "q": 1.0, "r": 1.5}

    def results(stage: Stage) -> list[Result]:
        def ask(prompt: str) -> Any:
            return stage.stream({seconds[prompt]: end(prompt.upper())}, seconds[prompt])

        return [Result("results", stage.sources["prompts"].pipe(ops.map_prompts(ask, **options)))]

    return results


def _answer_of(result: Any) -> str:
    return result.response.text


PROMPTS = [Given("prompts", {1: "p", 1.5: "q", 2: "r"}, 2.5)]
SLOW, QUICK = {1: StreamStart(), 4: T("a"), 5: end("a")}, {2: StreamStart(), 2.7: T("c"), 4.5: end("c")}


def _two(combine: Any, name: str = "result") -> Any:
    return lambda stage: [Result(name, combine(stage.sources["x"], stage.sources["y"]))]


def _labelled(value: Any) -> str:
    if isinstance(value, ops.LabelledError):
        return f"{value.label}: failed"
    event = value.event
    return f"{value.label}: {event.text if isinstance(event, T) else 'end'}"


class _Model:
    """A model that answers with one stream."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def stream(self, prompt: str) -> Any:
        """That stream, whatever the prompt."""
        return self._stream


MANY = {
    "map_prompts": Run("map_prompts(model, max_concurrent=2)", PROMPTS, _map_prompts(max_concurrent=2), _answer_of),
    "map_prompts_unordered": Run(
        "map_prompts(model, max_concurrent=2, ordered=False)",
        PROMPTS,
        _map_prompts(max_concurrent=2, ordered=False),
        _answer_of,
    ),
    "race": Run("race(x, y)", [Given("x", SLOW, 5), Given("y", QUICK, 4.5)], _two(ops.race)),
    "first_to_finish": Run(
        "first_to_finish(x, y)", [Given("x", SLOW, 5), Given("y", QUICK, 4.5)], _two(ops.first_to_finish)
    ),
    "merge_labelled": Run(
        'merge_labelled({"x": x, "y": y})',
        [Given("x", {1: T("a"), 3: T("b")}, 4), Given("y", {2: T("c")}, 2.5, OverloadedError("busy"))],
        _two(lambda x, y: ops.merge_labelled({"x": x, "y": y})),
        _labelled,
    ),
    "ensemble": Run(
        'ensemble({"x": model, "y": other}, "hi")',
        [Given("x", {1: T("a"), 3: end("a")}, 3.4), Given("y", {2: T("b"), 4: end("b")}, 4.4)],
        _two(lambda x, y: ops.ensemble({"x": _Model(x), "y": _Model(y)}, "hi")),
        _labelled,
    ),
}


def _tokens_of(usage: Usage) -> str:
    return f"{usage.output_tokens} tokens"


MEASURE = {
    "timing": single(
        "timing()",
        {1: T("a"), 2: T("b"), 3: T("c"), 5: T("d"), 7: end("abcd", usage=Usage(output_tokens=4))},
        7.5,
        lambda _: ops.timing(),
        show=lambda timing: f"{timing.tokens_per_second:.1f}/s" if timing.tokens_per_second else "?",
    ),
    "usage": single("usage()", {1.5: tokens(10), 3.5: tokens(5)}, 4, lambda _: ops.usage(), show=_tokens_of),
    "cost": single(
        "cost(prices)",
        {1.5: tokens(10), 3.5: tokens(5)},
        5,
        lambda _: ops.cost(lambda response: Decimal(response.usage.output_tokens or 0) / 10),
        show=lambda item: f"${item.total:.2f}",
    ),
    "tap": single("tap(print)", pieces("a", "b"), 3, lambda _: ops.tap(lambda _: None)),
}


BUSY = OverloadedError("busy")


def _retry(stage: Stage) -> list[Result]:
    tries = iter(stage.sources.values())
    source = reactivex.defer(lambda _: next(tries))
    return [Result("result", source.pipe(ops.retry_transient(base_delay=1, jitter=lambda low, high: high)))]


def _recover(stage: Stage) -> list[Result]:
    tries = iter(stage.sources.values())
    source = reactivex.defer(lambda _: next(tries))
    return [Result("result", source.pipe(ops.recover("restart", base_delay=0.5, jitter=lambda low, high: high)))]


def _finally(stage: Stage) -> list[Result]:
    told = Subject[Any]()
    return [
        Result("told", told),
        Result("result", stage.sources["source"].pipe(ops.finally_response(told.on_next)), disposed=2.5),
    ]


def _breaker(stage: Stage) -> list[Result]:
    tries = iter(stage.sources.values())
    breaker = ops.CircuitBreaker(failure_threshold=2, success_threshold=1, cooldown=2)
    guarded = reactivex.defer(lambda _: next(tries)).pipe(breaker)
    lanes = [Result(f"stream {n}", guarded, since) for n, since in enumerate((0.5, 1.5, 3, 5.5), 1)]
    return [*lanes, Result("state", breaker.state, 0.4, 8)]


def _shared(limit: Any, *since: float) -> Any:
    return lambda stage: [
        Result(f"stream {n}", source.pipe(limit), at)
        for n, (source, at) in enumerate(zip(stage.sources.values(), since, strict=True), 1)
    ]


RESILIENCE = {
    "retry_transient": Run(
        "retry_transient()",
        [Given("1st try", {0.5: StreamStart()}, 1, BUSY), Given("2nd try", {0.5: StreamStart(), 1.5: T("a")}, 2.5)],
        _retry,
    ),
    "fallback_to": Run(
        "x.pipe(fallback_to(y))",
        [Given("x", {0.5: StreamStart()}, 1, BUSY), Given("y", {0.5: StreamStart(), 1.5: T("a")}, 2.5)],
        _two(lambda x, y: x.pipe(ops.fallback_to(y))),
    ),
    "recover": Run(
        'recover("restart")',
        [
            Given("1st try", {0.5: StreamStart(), 1.5: T("Hel")}, 2.3, BUSY),
            Given("2nd try", {0.5: StreamStart(), 1.5: T("Hello"), 2.5: end("Hello")}, 3),
        ],
        _recover,
    ),
    "finally_response": Run("finally_response(tell)", [Given("source", pieces("a", "b", "c"), 4)], _finally),
    "hedge": Run(
        "x.pipe(hedge(2, lambda: y))",
        [Given("x", SLOW, 5), Given("y", {0.5: StreamStart(), 1.2: T("c")}, 2.5)],
        _two(lambda x, y: x.pipe(ops.hedge(2, lambda: y))),
    ),
    "CircuitBreaker": Run(
        "CircuitBreaker(failure_threshold=2, success_threshold=1, cooldown=2)",
        [*(Given(f"asked {n}", {}, 0.5, BUSY) for n in ("1st", "2nd")), Given("asked 3rd", {1: T("a")}, 1.5)],
        _breaker,
    ),
    "MaxConcurrent": Run(
        "limit = MaxConcurrent(1)",
        [Given("x", pieces("a", "b"), 2.5), Given("y", pieces("c", "d"), 2.5)],
        lambda stage: _shared(ops.MaxConcurrent(1), 0, 0.5)(stage),
    ),
    "RateLimit": Run(
        "limit = RateLimit(requests_per_minute=2)",
        [Given(name, {2: T(name)}, 4) for name in "abc"],
        lambda stage: _shared(ops.RateLimit(requests_per_minute=2), 0, 8, 16)(stage),
        pixels=9,
    ),
}

RUNS: dict[str, Run] = {**TEXT, **STRUCTURED, **PACE, **SHARE, **MANY, **MEASURE, **RESILIENCE}
