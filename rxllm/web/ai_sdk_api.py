"""The AI SDK's API, so that a page with `useChat` talks to this server.

By default a stream ends with its client. A page that wants to resume after a reload says so with
``body: {resumable: true}`` in its transport: then leaving is not stopping, and the page stops the stream with a DELETE
of the address that it resumes from.

If a tool call needs approval, the response ends with the question, and the user's answer comes with the next request
(``sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses``). The stream that asked waits for it. If
that stream no longer exists, a new one continues the conversation. Each question is answered once, in either way.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Annotated, NamedTuple

import msgspec

from .._schema import converted
from ..errors import ConfigurationError, LLMError, NotFoundError
from ..messages import ToolCall
from .ai_sdk_messages import Decision, UIMessage, ui_conversation
from .ai_sdk_turn import UITurn
from .approvals import Approvals, may_be_rounded
from .chat_request import check_size
from .http import HttpRequest, HttpResponse, StreamBody
from .model_service import Service
from .options import OPTION_NAMES, options_of
from .served_stream import ServedStream
from .stream_registry import Chat


class UIChatBody(msgspec.Struct, frozen=True, rename="camel"):
    """The body that `useChat` sends, beside the options."""

    messages: list[UIMessage]
    id: Annotated[str, msgspec.Meta(max_length=200)] = ""
    model: str | None = None
    resumable: bool = False
    trigger: str | None = None
    message_id: str | None = None


_KNOWN = OPTION_NAMES | {"messages", "id", "model", "resumable", "trigger", "messageId"}


class _UserChat(NamedTuple):
    """One user's chat, under the name that its client has given it."""

    service: Service
    http: HttpRequest
    name: str

    def stream(self) -> ServedStream | None:
        """Return the stream that answers, or answered last; None if there is none."""
        known = self.service.streams.chat(self.http.user, self.name) if self.name else None
        return None if known is None else self.service.streams.get(known.stream, self.http.user)

    def ask(self, stream: str, call: ToolCall) -> str:
        """Return the id of the question of a stream whether this call may run; it may be answered from now on."""
        self.service.streams.open_question(stream, call.id)
        return f"{stream}.{self.service.streams.signatures.sign(*self._bound(stream, call))}"

    def stream_that_asked(self, decision: Decision) -> str:
        """Return the id of the stream that asked about a call; raise `ConfigurationError` if none did."""
        stream, _, signature = decision.question.partition(".")
        if not self.service.streams.signatures.is_own(signature, *self._bound(stream, decision.call)):
            raise ConfigurationError(f"the call of {decision.call.name!r} is not one that this server has asked about")
        return stream

    def is_own(self, data: object, signature: str) -> bool:
        """Return whether this server has signed vendor data that the client kept."""
        return self.service.streams.signatures.is_own(signature, "parts", self.http.user, data)

    def response(
        self, stream: ServedStream, message: str | None, open_calls: Collection[str] = (), *, after: int = 0
    ) -> HttpResponse:
        """Return the response that shows a stream as a `useChat` turn, from the event after `after`."""
        turn = UITurn(
            message,
            approvals=stream.approvals,
            ask=partial(self.ask, stream.id),
            seal=partial(self.service.streams.signatures.sign, "parts", self.http.user),
            open_calls=open_calls,
        )
        return HttpResponse(200, {"x-rxllm-stream": stream.id}, StreamBody(stream, turn, after=after))

    def _bound(self, stream: str, call: ToolCall) -> tuple[object, ...]:
        return ("approval", stream, self.http.user, self.name, call.id, call.name, call.arguments)


def chat(service: Service, http: HttpRequest, _: str) -> HttpResponse:
    """Answer a conversation, or continue an answer whose tool calls the user has approved or denied."""
    body = http.json()
    check_size(body)
    asked = converted(body, UIChatBody, "the request")
    this = _UserChat(service, http, asked.id)
    said = ui_conversation(asked.messages, this.is_own)
    asked_by = {decision.call.id: this.stream_that_asked(decision) for decision in said.open_calls}
    last = asked.messages[-1]
    message = last.id if last.role == "assistant" else None
    before = this.stream()
    if before is not None and before.is_under_way:
        if set(asked_by.values()) == {before.id} and before.approvals.were_asked(asked_by):
            after = _deliver(service, before, said.open_calls)
            return this.response(before, message, asked_by, after=after)
        if before.paused_after is not None or asked_by:
            before.stop()  # its question is not answered any more
    for call, _question, answer in said.open_calls:
        if answer is True and may_be_rounded(call.arguments):
            raise ConfigurationError(
                f"the call of {call.name!r} has a number of 2**53 or more, which JavaScript may have rounded, and the "
                "stream that has the right one has ended: the call does not run. Ask for it again"
            )

    def close_questions() -> None:
        for stream in set(asked_by.values()):
            calls = [call for call, asker in asked_by.items() if asker == stream]
            if not service.streams.close_questions(stream, calls, "used"):
                raise ConfigurationError("the approval of a tool call was used already, or has expired")

    stream = service.start(
        http,
        asked.model,
        said.messages,
        options_of({name: value for name, value in body.items() if name != "tools"}),
        linger=service.linger if asked.resumable else 0.0,
        extra={name: value for name, value in body.items() if name not in _KNOWN},
        approvals=Approvals((call, answer) for call, _question, answer in said.open_calls if answer is not None),
        issued=[decision.call for decision in said.open_calls],
        on_admitted=close_questions,
    )
    message = message or stream.id
    if asked.id:
        service.streams.remember(http.user, asked.id, Chat(stream.id, message))
    return this.response(stream, message, asked_by)


def resume(service: Service, http: HttpRequest, name: str) -> HttpResponse:
    """Return the stream of a chat from its beginning; 204 if none is under way."""
    this, known = _UserChat(service, http, name), service.streams.chat(http.user, name)
    stream = this.stream()
    if stream is None or known is None or not stream.is_under_way:
        return HttpResponse(204)
    return this.response(stream, known.message)


def stop(service: Service, http: HttpRequest, name: str) -> HttpResponse:
    """Stop the stream of a chat."""
    stream = _UserChat(service, http, name).stream()
    if stream is None:
        raise NotFoundError("there is no stream for that chat", status_code=404)
    stream.stop()
    return HttpResponse(204)


def _deliver(service: Service, stream: ServedStream, open_calls: Sequence[Decision]) -> int:
    """Deliver the user's decisions to a waiting stream; return the event after which its reader goes on."""
    stream.is_awaited = True  # first: without both, the stream would end with a watcher that leaves at this moment
    after, stream.paused_after = stream.paused_after, None
    decided = [decision for decision in open_calls if decision.answer is not None]
    refused: list[ConfigurationError] = []
    try:
        for call, _, answer in decided:
            try:
                service.approve(stream, call.id, answer is True, answer if isinstance(answer, str) else "")
            except ConfigurationError as error:  # perhaps from a request of which the rest did not reach the stream
                refused.append(error)
        if len(refused) == len(decided):
            raise refused[0]
    except LLMError:
        stream.paused_after, stream.is_awaited = after, False
        raise
    return stream.last if after is None else after
