"""Arguments of wrong types: one rule for all public functions, and no stream without an end."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable

import numpy
import pytest
import reactivex as rx
import regex
from reactivex.scheduler import ImmediateScheduler

import rxllm
from rxllm import operators as ops
from rxllm import web
from rxllm.assistant import Assistant, ChatSession, SQLiteStore, observed, within_context
from rxllm.resilient import resilient_model
from rxllm.testing import ScriptedModel
from rxllm.web.asgi import StreamResponse, asgi_app
from rxllm.web.wsgi import StreamApplication, wsgi_app

MODEL = ScriptedModel(default="Hello. There.")
HERE = ImmediateScheduler()

WRONG: list[tuple[str, Callable[[], object]]] = [
    ("sentences(longest=...) takes a whole number; got a value of type str", lambda: ops.sentences(longest="x")),
    ("RateLimit(requests_per_minute=...) takes a number or None; got a value of type str", lambda: ops.RateLimit("5")),
    ("RateLimit(expected_tokens=...)", lambda: ops.RateLimit(expected_tokens="x")),
    ("RateLimit(scheduler=...)", lambda: ops.RateLimit(scheduler=5)),
    ("MaxConcurrent(n=...)", lambda: ops.MaxConcurrent(math.nan)),
    ("buffer(count=...)", lambda: ops.buffer("2")),
    ("bounded(scheduler=...)", lambda: ops.bounded(None, 3)),
    ("bounded(overflow=...) is one of 'block', ", lambda: ops.bounded(HERE, 3, overflow=["block"])),
    ("bounded(overflow=...) is one of", lambda: ops.bounded(HERE, 3, overflow=numpy.array(["block", "error"]))),
    ("ToolResult(content=...) takes str; got a value of type ndarray", lambda: rxllm.ToolResult("1", numpy.zeros(2))),
    ("Message(role=...) is one of", lambda: rxllm.Message(numpy.array(["user", "tool"]), ())),
    ("map_prompts(overflow=...) is one of", lambda: ops.map_prompts(MODEL, overflow="drop")),
    ("recover(mode=...) is one of 'continue', 'restart'; got 'again'", lambda: ops.recover("again")),
    ("resilient_model(recover=...) is one of", lambda: resilient_model(MODEL, recover="again")),
    ("stream(structured_mode=...) is one of", lambda: Assistant(MODEL).stream("Hi", structured_mode="json")),
    ("observe_on_ui(scheduler=...)", lambda: ops.observe_on_ui("qt")),
    ("smooth(scheduler=...)", lambda: ops.smooth(5, scheduler="x")),
    ("hedge(make_stream=...) takes a function", lambda: ops.hedge(1, MODEL.stream("Hi"))),
    ("fallback_to(others=...)", lambda: ops.fallback_to(MODEL.stream("Hi"), MODEL)),
    ("race(streams=...)", lambda: ops.race(MODEL.stream("Hi"), MODEL)),
    ("ensemble(models=...)", lambda: ops.ensemble([MODEL], "Hi")),
    ("retry_transient(max_retries=...)", lambda: ops.retry_transient("2")),
    ("tap(action=...)", lambda: ops.tap("log")),
    ("tee(observer=...)", lambda: ops.tee(None)),
    ("source takes Observable; got a value of type ScriptedModel", lambda: list(rxllm.iter_events(MODEL))),
    ("source takes Observable; got a value of type str", lambda: list(rxllm.iter_text("Hello"))),
    ("record(path=...)", lambda: ops.record(5)),
    ("cost(prices=...)", lambda: ops.cost("cheap")),
    ("array_items(path=...)", lambda: ops.array_items(path=5)),
    ("map_prompts() takes a model", lambda: ops.map_prompts(5)),
    ("Assistant(options=...) takes a mapping", lambda: Assistant(MODEL, options="fast")),
    ("ChatSession(model=...)", lambda: ChatSession("openai")),
    ("ChatSession(memory=...)", lambda: ChatSession(MODEL, memory="chats.db")),
    ("ChatSession(scheduler=...)", lambda: ChatSession(MODEL, scheduler=5)),
    ("stream_chat(model=...)", lambda: rxllm.stream_chat("openai", "Hi")),
    ("model_preset(provider=...)", lambda: rxllm.model_preset(5)),
    ("observed(model=...)", lambda: observed("openai")),
    ("within_context(model=...)", lambda: within_context("openai")),
    ("SQLiteStore(path=...)", lambda: SQLiteStore(5)),
    ("resilient_model(primary=...)", lambda: resilient_model("openai")),
    ("provider= takes str; got a value of type int", lambda: rxllm.create_streaming_model(5)),
    (
        "model= takes str or PathLike or None; got a value of type int",
        lambda: rxllm.create_streaming_model("openai", model=5),
    ),
    (
        "api_key= takes str or None; got a value of type bytes",
        lambda: rxllm.create_streaming_model("openai", api_key=b"sk-secret"),
    ),
    ("base_url= takes", lambda: rxllm.create_streaming_model("openai", base_url=5)),
    ("local= takes", lambda: rxllm.create_streaming_model("local", local=5)),
    ("session= takes Session", lambda: rxllm.create_streaming_model("ollama", model="m", session=5)),
    ("stop= takes a list; got 5", lambda: rxllm.create_streaming_model("ollama", model="m", stop=5)),
    ("stop= takes a list", lambda: rxllm.create_streaming_model("ollama", model="m").stream("Hi", stop={"a": 1})),
    ("a stop text is empty", lambda: rxllm.create_streaming_model("ollama", model="m", stop=["\n", ""])),
    ("tools= takes a list", lambda: rxllm.create_streaming_model("ollama", model="m").stream("Hi", tools=5)),
    ("sse(stream), takes StreamBody; got a value of type Awaitable", lambda: StreamResponse(MODEL.stream("Hi"))),
    ("sse(stream), takes StreamBody; got a value of type Awaitable", lambda: StreamApplication(MODEL.stream("Hi"))),
    ("source takes Observable; got a value of type ScriptedModel", lambda: web.sse(MODEL)),
    ("Service(offers=...) takes a mapping; got a value of type ScriptedModel", lambda: web.Service(MODEL)),
    (
        "the offer 'a', if it is not a function, takes StreamingModel; got a value of type str",
        lambda: web.Service({"a": "openai"}),
    ),
    ("asgi_app(service=...) takes Service; got a value of type dict", lambda: asgi_app({"a": MODEL})),
    ("wsgi_app(service=...) takes Service; got a value of type dict", lambda: wsgi_app({"a": MODEL})),
    ("model= is a name", lambda: rxllm.create_streaming_model("ollama", model="m").stream("Hi", model=5)),
]


@pytest.mark.parametrize(("words", "call"), WRONG, ids=[words for words, _ in WRONG])
def test_a_wrong_type_is_refused_where_it_is_given(words: str, call: Callable[[], object]) -> None:
    """The error is a ConfigurationError that names the argument, and shows no key."""
    with pytest.raises(rxllm.ConfigurationError) as raised:
        call()
    assert words in str(raised.value)
    assert "sk-secret" not in str(raised.value)


def test_an_operator_without_its_parentheses_is_named() -> None:
    """Python's own error does so; that of `inspect` does not."""
    with pytest.raises(TypeError, match=r"sentences\(\) takes 0 positional arguments"):
        MODEL.stream("Hi").pipe(ops.sentences)  # type: ignore[arg-type]  # wrong on purpose


def test_what_is_like_the_hinted_types_is_taken() -> None:
    """Numbers of numpy, and patterns of the package regex, pass; operators can be pickled."""
    numpy = pytest.importorskip("numpy")
    hello = MODEL.stream("Hi").pipe(ops.sentences(longest=numpy.int64(100)), ops.buffer(numpy.int32(2)))
    assert hello.run() == ["Hello.", "There."]
    hidden = MODEL.stream("Hi").pipe(ops.redact(regex.compile("H.llo"), "-"), ops.response())
    assert hidden.run().text == "-. There."
    assert pickle.loads(pickle.dumps(ops.sentences)) is ops.sentences  # noqa: S301


def test_a_function_that_returns_no_stream_fails_its_prompt() -> None:
    """map_prompts waited for ever."""
    asked = rx.of("one", "two").pipe(ops.map_prompts(lambda prompt: None), ops.buffer(9))
    assert [type(failure.error) for failure in rxllm.iter_events(asked) for failure in failure] == [AttributeError] * 2


@pytest.mark.parametrize("seconds", [math.inf, 1e300, 1 << 70])
def test_a_buffer_whose_time_never_comes(seconds: float) -> None:
    """No clock can add such a time; the stream stood still."""
    assert len(MODEL.stream("Hi").pipe(ops.text(), ops.buffer(seconds=seconds)).run()) == 2
