"""The AI SDK's API, so that a page with `useChat` talks to this server.

By default a stream ends with its client. A page that wants to resume after a reload says so with
``body: {resumable: true}`` in its transport: then leaving is not stopping, and the page stops the stream with a DELETE
of the address that it resumes from.

If a tool call needs approval, the response ends with the question, and the user's answer comes with the next request
(``sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses``). The stream that asked waits for it. If
that stream no longer exists, a new one continues the conversation. Each question is answered once, in either way.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from ..errors import ConfigurationError, LLMError, NotFoundError
from ..messages import ToolCall
from .ai_sdk_messages import Conversation, UIMessage, ui_conversation
from .ai_sdk_turn import UITurn, UITurnBody
from .approvals import Approvals, may_be_rounded
from .chat_request import ChatRequest, check_size, offered
from .http import HttpRequest, HttpResponse
from .options import OPTION_NAMES, converted, options_of
from .served_stream import ServedStream
from .stream_factory import StreamFactory
from .streams import Chat


class UIChatBody(msgspec.Struct, frozen=True, rename="camel"):
    """The body that `useChat` sends, beside the options."""

    messages: list[UIMessage]
    id: Annotated[str, msgspec.Meta(max_length=200)] = ""
    model: str | None = None
    resumable: bool = False
    trigger: str | None = None
    message_id: str | None = None


_KNOWN = OPTION_NAMES | {"messages", "id", "model", "resumable", "trigger", "messageId"}


def chat(factory: StreamFactory, http: HttpRequest, _: str) -> HttpResponse:
    """Answer a conversation, or continue an answer whose tool calls the user has approved or denied."""
    body = http.json()
    check_size(body)
    asked = converted(body, UIChatBody, "the request")
    said = ui_conversation(asked.messages, lambda data, signature: factory.seal.is_own(data, signature, http.user))
    last = asked.messages[-1]
    message = last.id if last.role == "assistant" else None
    streams = _streams_that_asked(factory, http, asked.id, said)
    before = _stream_of(factory, http, asked.id)
    if before is not None and before.is_under_way:
        if _waits_for(before, said, streams):
            return _go_on(factory, http, asked.id, before, said, message)
        if before.is_paused or said.open_calls:
            before.stop()  # its question is not answered any more
    for call, _, verdict in said.open_calls:
        if verdict is True and may_be_rounded(call.arguments):
            raise ConfigurationError(
                f"the call of {call.name!r} has a number of 2**53 or more, which JavaScript may have rounded, and the "
                "stream that has the right one has ended: the call does not run. Ask for it again"
            )
    options = options_of({name: value for name, value in body.items() if name != "tools"})
    model, offer = offered(factory.offers, asked.model)
    messages = factory.checked(said.messages, [decision.call for decision in said.open_calls])
    extra = {name: value for name, value in body.items() if name not in _KNOWN}
    approvals = Approvals((call, answer) for call, _, answer in said.open_calls if answer is not None)
    request = ChatRequest(model, messages, options, approvals, http.user or None, http.headers, extra)

    def close_questions() -> None:
        for stream in set(streams):
            calls = [one.call.id for one, asking in zip(said.open_calls, streams, strict=True) if asking == stream]
            if not factory.streams.close_questions(stream, calls, "used"):
                raise ConfigurationError("the approval of a tool call was used already, or has expired")

    linger = factory.linger if asked.resumable else 0.0
    answer = factory.open(offer, request, http, linger=linger, on_admitted=close_questions)
    message = message or answer.id
    if asked.id:
        factory.streams.remember(http.user, asked.id, Chat(answer.id, message))
    return _body(factory, http, asked.id, answer, message, said)


def resume(factory: StreamFactory, http: HttpRequest, name: str) -> HttpResponse:
    """Return the stream of a chat from its beginning; 204 if none is under way."""
    stream, known = _stream_of(factory, http, name), factory.streams.chat(http.user, name)
    if stream is None or known is None or not stream.is_under_way:
        return HttpResponse(204)
    return _body(factory, http, name, stream, known.message)


def stop(factory: StreamFactory, http: HttpRequest, name: str) -> HttpResponse:
    """Stop the stream of a chat."""
    stream = _stream_of(factory, http, name)
    if stream is None:
        raise NotFoundError("there is no stream for that chat", status_code=404)
    stream.stop()
    return HttpResponse(204)


def _stream_of(factory: StreamFactory, http: HttpRequest, name: str) -> ServedStream[object] | None:
    known = factory.streams.chat(http.user, name) if name else None
    return None if known is None else factory.streams.get(known.stream, http.user)


def _streams_that_asked(factory: StreamFactory, http: HttpRequest, chat: str, said: Conversation) -> list[str]:
    """Return the ids of the streams that asked about the open calls; refuse a call that none has asked about."""
    streams: list[str] = []
    for call, question, _ in said.open_calls:
        stream = factory.approval_ids.stream_of(question, call, http.user, chat)
        if stream is None:
            raise ConfigurationError(f"the call of {call.name!r} is not one that this server has asked about")
        streams.append(stream)
    return streams


def _waits_for(stream: ServedStream[object], said: Conversation, streams: list[str]) -> bool:
    """Return whether it is this stream that waits for the user's decisions."""
    asked_here = bool(streams) and all(asked == stream.id for asked in streams)
    return asked_here and stream.approvals.were_asked(decision.call.id for decision in said.open_calls)


def _go_on(
    factory: StreamFactory,
    http: HttpRequest,
    chat: str,
    stream: ServedStream[object],
    said: Conversation,
    message: str | None,
) -> HttpResponse:
    """Deliver the user's decisions to a waiting stream; return the response that shows what follows."""
    after, refused = stream.resume(), list[ConfigurationError]()
    decided = [decision for decision in said.open_calls if decision.answer is not None]
    try:
        for call, _, answer in decided:
            try:
                factory.approve(stream, call.id, answer is True, answer if isinstance(answer, str) else "")
            except ConfigurationError as error:  # perhaps from a request of which the rest did not reach the stream
                refused.append(error)
        if len(refused) == len(decided):
            raise refused[0]
    except LLMError:
        if after is not None:
            stream.pause(after)
        raise
    return _body(factory, http, chat, stream, message, said, after=stream.last if after is None else after)


def _open_question(
    factory: StreamFactory, http: HttpRequest, chat: str, stream: ServedStream[object], call: ToolCall
) -> str:
    factory.streams.open_question(stream.id, call.id)
    return factory.approval_ids.issue(call, stream.id, http.user, chat)


def _body(
    factory: StreamFactory,
    http: HttpRequest,
    chat: str,
    stream: ServedStream[object],
    message: str | None,
    said: Conversation | None = None,
    *,
    after: int = 0,
) -> HttpResponse:
    """Return the response that shows a stream as a `useChat` turn, from the event after `after`."""
    turn = UITurn(
        message,
        stream=stream,
        ask=lambda call: _open_question(factory, http, chat, stream, call),
        seal=lambda data: factory.seal.sign(data, http.user),
        open_calls=[] if said is None else [decision.call.id for decision in said.open_calls],
    )
    return HttpResponse(200, {"x-rxllm-stream": stream.id}, UITurnBody(stream, turn, after=after))
