"""The AI SDK's way to ask, so that a page with `useChat` talks to this server.

As `useChat` has it, a stream ends with its client. A page that wants to resume after a reload says
so with ``body: {resumable: true}`` in its transport; then leaving is not stopping, and it stops
with a DELETE of the address that it resumes from. Both work together.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping

from .._json import encode, object_at, objects_at, text_at
from ..errors import ConfigurationError, NotFoundError
from ..messages import DocumentPart, ImagePart, Message, Part, ReasoningPart, TextPart, ToolCall, ToolResult
from .asked import ChatRequest, offered, options_of
from .desk import Desk
from .feed import Feed
from .http import Reply, Request
from .turn import UITurn


def chat(desk: Desk, request: Request, _: str) -> Reply:
    """A prompt as `useChat` sends it: {"id", "messages", "model", "resumable", options...}."""
    body = request.json()
    messages = objects_at(body, "messages")
    options = options_of({name: value for name, value in body.items() if name != "tools"})
    name, offer = offered(desk.offers, body.get("model"))
    linger = desk.linger if body.get("resumable") is True else 0.0
    asked = ChatRequest(name, ui_conversation(messages), options)
    stream = desk.start(offer, asked, request.client, linger=linger)
    chat_id = text_at(body, "id")
    if chat_id is not None:
        desk.remember(chat_id, stream.id)
    continued = messages[-1].get("id") if messages[-1].get("role") == "assistant" else None
    return Reply(200, body=Feed(stream, UITurn(continued if isinstance(continued, str) else stream.id)))


def resume(desk: Desk, request: Request, chat_id: str) -> Reply:
    """The stream of a chat from its beginning; 204 where none is under way."""
    stream = desk.stream_of(chat_id)
    if stream is None or stream.state != "open":
        return Reply(204)
    return Reply(200, body=Feed(stream, UITurn(stream.id)))


def stop(desk: Desk, request: Request, chat_id: str) -> Reply:
    """Stop the stream of a chat."""
    stream = desk.stream_of(chat_id)
    if stream is None:
        raise NotFoundError("there is no stream for that chat", status_code=404)
    stream.stop()
    return Reply(204)


def ui_conversation(messages: list[dict[str, object]]) -> tuple[Message, ...]:
    """The conversation in UI messages; raises `ConfigurationError` where there is none.

    >>> ui_conversation([{"role": "user", "parts": [{"type": "text", "text": "Hi"}]}]) == (Message.user("Hi"),)
    True
    """
    said = tuple(part for message in messages for part in _messages(message))
    if not said:
        raise ConfigurationError("messages is a list of UI messages, with something said in them")
    return said


def _messages(message: Mapping[str, object]) -> Iterator[Message]:
    role, parts = message.get("role"), objects_at(message, "parts")
    match role:
        case "system":
            yield Message.system("".join(text_at(part, "text") or "" for part in parts))
        case "user":
            yield Message("user", tuple(part for said in parts for part in _user_parts(said)))
        case "assistant":
            yield from _assistant(parts)
        case _:
            raise ConfigurationError(f"a UI message's role is system, user or assistant; got {role!r}")


def _user_parts(part: Mapping[str, object]) -> Iterator[Part]:
    kind, text = part.get("type"), text_at(part, "text")
    if kind == "text" and text is not None:
        yield TextPart(text)
    elif kind == "file":
        yield _file(part)


def _file(part: Mapping[str, object]) -> ImagePart | DocumentPart:
    url, media_type = text_at(part, "url") or "", text_at(part, "mediaType") or "application/octet-stream"
    data: bytes | None = None
    if url.startswith("data:"):
        try:
            data = base64.b64decode(url.partition(",")[2], validate=True)
        except binascii.Error as error:
            raise ConfigurationError("a file's data URL is not base64") from error
    elif not url.startswith(("https://", "http://")):
        raise ConfigurationError("a file part needs a data: or https: URL")
    if media_type.startswith("image/"):
        return ImagePart(url=None if data is not None else url, data=data, media_type=media_type)
    return DocumentPart(
        url=None if data is not None else url, data=data, media_type=media_type, name=text_at(part, "filename")
    )


def _assistant(parts: list[dict[str, object]]) -> Iterator[Message]:
    """One message for each step, and what its tools gave after it."""
    said: list[Part] = []
    results: list[ToolResult] = []
    end: dict[str, object] = {"type": "step-start"}
    for part in (*parts, end):
        kind, text = text_at(part, "type") or "", text_at(part, "text")
        if kind == "step-start":
            if said:
                yield Message("assistant", tuple(said))
            if results:
                yield Message.tool(*results)
            said, results = [], []
        elif kind == "text" and text is not None:
            said.append(TextPart(text))
        elif kind == "reasoning" and text is not None:
            said.append(ReasoningPart(text))
        elif kind == "dynamic-tool" or kind.startswith("tool-"):
            call = _call(part, kind)
            said.append(call)
            results.append(_result(part, call))


def _call(part: Mapping[str, object], kind: str) -> ToolCall:
    name = text_at(part, "toolName") or kind.removeprefix("tool-")
    return ToolCall(text_at(part, "toolCallId") or "", name, object_at(part, "input"))


def _result(part: Mapping[str, object], call: ToolCall) -> ToolResult:
    if part.get("state") == "output-available":
        output = part.get("output")
        content = output if isinstance(output, str) else encode(output).decode()
        return ToolResult(call.id, content, call.name)
    return ToolResult(call.id, text_at(part, "errorText") or "the tool gave nothing", call.name, is_error=True)
