"""Awaiting a stream: its last item, its error, and a cancellation that disposes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as rx_ops

import rxllm
from rxllm import batch
from rxllm import operators as ops
from rxllm._core.awaitable import AwaitableObservable
from rxllm.assistant import Assistant, ChatSession
from rxllm.testing import LLMServer, Reply, ScriptedModel, marble, replay
from rxllm.web import client

from ..raw_server import LIMIT, Connection, RawServer


def model_at(server: LLMServer) -> rxllm.StreamingModel:
    return rxllm.create_streaming_model("openai", model="m", api_key="k", base_url=server.base_url())


def awaited(stream: Any) -> Any:
    async def wait() -> Any:
        return await asyncio.wait_for(stream, LIMIT)

    return asyncio.run(wait())


def test_a_stream_can_be_awaited() -> None:
    """With the last item of the stream, also through operators of ours and of reactivex."""
    with LLMServer(*[Reply("Hello")] * 3) as server, model_at(server) as model:
        assert awaited(model.stream("Hi")).response.text == "Hello"
        assert awaited(model.stream("Hi").pipe(ops.accumulate())) == "Hello"
        assert awaited(model.stream("Hi").pipe(ops.text(), rx_ops.count())) == 1


def test_its_error_is_raised() -> None:
    """Where it is awaited."""
    model = rxllm.create_streaming_model(
        "openai", model="m", api_key="k", base_url="http://127.0.0.1:9/v1", max_retries=0
    )
    with pytest.raises(rxllm.APIConnectionError):
        awaited(model.stream("Hi"))


def test_cancelling_closes_the_connection() -> None:
    """At once."""

    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.wait_closed()

    async def cancel(stream: Any) -> None:
        task = asyncio.ensure_future(stream)
        while not server.connections:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with RawServer(handle) as server:
        model = rxllm.create_streaming_model("openai", model="m", api_key="k", base_url=server.url)
        asyncio.run(cancel(model.stream("Hi")))
        assert server.connections[0].closed.wait(LIMIT)


def made_by_a_vendor() -> rxllm.StreamingModel:
    return rxllm.create_streaming_model("openai", model="m", api_key="k")


STREAMS: dict[str, Callable[[], Any]] = {
    "model": lambda: made_by_a_vendor().stream("Hi"),
    "scripted model": lambda: ScriptedModel().stream("Hi"),
    "assistant": lambda: Assistant(made_by_a_vendor()).stream("Hi"),
    "resilient model": lambda: rxllm.resilient_model(made_by_a_vendor()).stream("Hi"),
    "messages of a session": lambda: ChatSession(ScriptedModel()).messages,
    "race": lambda: ops.race(marble("a|"), marble("b|")),
    "first_to_finish": lambda: ops.first_to_finish(marble("a|")),
    "ensemble": lambda: ops.ensemble({"a": ScriptedModel()}, "Hi"),
    "shared_stream": lambda: rxllm.shared_stream("key", lambda: marble("a|")),
    "shared limit, as of the embedded model": lambda: ops.MaxConcurrent(1)(made_by_a_vendor().stream("Hi")),
    "marble": lambda: marble("a|"),
    "replay": lambda: replay("a file"),
    "web.client": lambda: client.ask("http://127.0.0.1:9", "Hi"),
    "batch": lambda: batch.map_prompts(["Hi"], "openai:m", checkpoint="a file"),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_not_iterable(name: str) -> None:
    """A `for` loop fails at once, also behind an operator: reactivex's Observables would give it items without end."""
    stream = STREAMS[name]()
    for of in (stream, stream.pipe(rx_ops.count())):
        assert not isinstance(of, Iterable)
        with pytest.raises(TypeError, match="not iterable"):
            iter(of)


def test_an_empty_stream_has_no_last_item() -> None:
    """LookupError, as with `rxllm.aio.last`."""
    with pytest.raises(LookupError):
        awaited(AwaitableObservable(rx.empty().subscribe))


def test_an_answer_may_be_capped() -> None:
    """What came before the cap is in `partial`."""
    with LLMServer(Reply("one two three four five six")) as server:
        model = rxllm.create_streaming_model(
            "openai", model="m", api_key="k", base_url=server.base_url(), max_answer_chars=12
        )
        with pytest.raises(rxllm.StreamError, match="12 characters") as caught:
            model.chat("Hi")
    assert not caught.value.transient
    assert caught.value.partial is not None
