"""Chat completion streams for tests, in few words."""

from __future__ import annotations

import json

from rxllm.events import StreamEnd, StreamStart, TokenEvent, ToolCallEnd
from rxllm.providers.openai_chat import OpenAIChatDecoder
from tests.providers.recordings import Played, play

DONE = "[DONE]"


def decoder() -> OpenAIChatDecoder:
    return OpenAIChatDecoder("acme")


def chunk(delta: object = None, finish: str | None = None, *, index: int | None = 0, **fields: object) -> str:
    """One chunk with one choice; `fields` stand beside the choices."""
    choice: dict[str, object] = {"delta": {} if delta is None else delta, "finish_reason": finish}
    if index is not None:
        choice["index"] = index
    return json.dumps({"id": "c-1", "object": "chat.completion.chunk", "model": "m-1", "choices": [choice], **fields})


def tool(index: int | None = 0, **call: object) -> str:
    """One chunk with one piece of a tool call; `name` and `arguments` are the function's."""
    function = {key: call.pop(key) for key in ("name", "arguments") if key in call}
    place: dict[str, object] = {} if index is None else {"index": index}
    return chunk({"tool_calls": [{**place, **call, "function": function}]})


def body(*payloads: str) -> bytes:
    return "".join(f"data: {payload}\n\n" for payload in payloads).encode()


def played(*payloads: str) -> Played:
    return play(decoder(), [body(*payloads)])


def events(*payloads: str) -> tuple[TokenEvent, ...]:
    """The events of a stream that ends well, in short: without StreamStart and StreamEnd."""
    result = played(*payloads)
    if result.error is not None:
        raise result.error
    return tuple(event for event in result.events if not isinstance(event, StreamStart | StreamEnd))


def calls(*payloads: str) -> tuple[tuple[str, str, dict[str, object]], ...]:
    """The tool calls (id, name, arguments) of a stream that ends well."""
    result = played(*payloads)
    if result.error is not None:
        raise result.error
    ended = tuple(event.call for event in result.events if isinstance(event, ToolCallEnd))
    assert ended == result.response.tool_calls
    return tuple((call.id, call.name, call.arguments) for call in ended)
