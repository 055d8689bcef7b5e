"""The AI SDK's way to ask, so that a page with `useChat` talks to this server.

As `useChat` has it, a stream ends with its client. A page that wants to resume after a reload says
so with ``body: {resumable: true}`` in its transport; then leaving is not stopping, and it stops
with a DELETE of the address that it resumes from. Both work together.

Where a tool call needs approval, the response ends with the question, and the user's answer comes
with the next request (``sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses``).
The stream that asked waits for it, and goes on; where it is no more, or is another process's, the
conversation alone is enough to go on.
"""

from __future__ import annotations

from .._json import objects_at, text_at
from ..errors import NotFoundError
from .ai_sdk_messages import Conversation, ui_conversation
from .ai_sdk_turn import UITurn, UITurnBody
from .http import HttpRequest, HttpResponse
from .request_parsing import ChatRequest, offered, options_of
from .served_stream import ServedStream
from .stream_factory import StreamFactory
from .streams import Chat


def chat(factory: StreamFactory, request: HttpRequest, _: str) -> HttpResponse:
    """A prompt as `useChat` sends it: {"id", "messages", "model", "resumable", options...}."""
    body = request.json()
    messages = objects_at(body, "messages")
    said = ui_conversation(messages)
    approvals = said.approvals(factory.approval_ids)
    message = text_at(messages[-1], "id") if messages[-1].get("role") == "assistant" else None
    name = text_at(body, "id") or ""
    before = _stream_of(factory, name)
    if before is not None and before.is_under_way:
        if _asked_for(before, said):
            return _go_on(factory, before, said, message)
        if before.is_paused or said.decisions:
            before.stop()  # nobody answers that one any more
    options = options_of({key: value for key, value in body.items() if key != "tools"})
    model, offer = offered(factory.offers, body.get("model"))
    linger = factory.linger if body.get("resumable") is True else 0.0
    stream = factory.start(offer, ChatRequest(model, said.messages, options, approvals), request.client, linger=linger)
    message = message or stream.id
    if name:
        factory.streams.remember(name, Chat(stream.id, message))
    return _feed(factory, stream, message, [call.id for call in said.open_calls])


def resume(factory: StreamFactory, request: HttpRequest, name: str) -> HttpResponse:
    """The stream of a chat from its beginning; 204 where none is under way."""
    stream, known = _stream_of(factory, name), factory.streams.chat(name)
    if stream is None or known is None or not stream.is_under_way:
        return HttpResponse(204)
    return _feed(factory, stream, known.message)


def stop(factory: StreamFactory, request: HttpRequest, name: str) -> HttpResponse:
    """Stop the stream of a chat."""
    stream = _stream_of(factory, name)
    if stream is None:
        raise NotFoundError("there is no stream for that chat", status_code=404)
    stream.stop()
    return HttpResponse(204)


def _stream_of(factory: StreamFactory, name: str) -> ServedStream[object] | None:
    known = factory.streams.chat(name)
    return None if known is None else factory.streams.get(known.stream)


def _asked_for(stream: ServedStream[object], said: Conversation) -> bool:
    """Whether it is this stream that waits for the user's decisions."""
    calls = [decision.call.id for decision in said.decisions]
    return bool(calls) and stream.approvals.are_asked(calls)


def _go_on(
    factory: StreamFactory, stream: ServedStream[object], said: Conversation, message: str | None
) -> HttpResponse:
    after = stream.go_on()
    reply = _feed(factory, stream, message, [call.id for call in said.open_calls], after=after)
    for call, _, approved, reason in said.decisions:
        stream.approve(call.id, approved, reason)
    return reply


def _feed(
    factory: StreamFactory,
    stream: ServedStream[object],
    message: str | None,
    open_calls: list[str] | None = None,
    *,
    after: int = 0,
) -> HttpResponse:
    turn = UITurn(message, approvals=stream.approvals, name_of=factory.approval_ids.of, open_calls=open_calls or ())
    return HttpResponse(200, body=UITurnBody(stream, turn, after=after))
