"""What `useChat` sends: a conversation in UI messages, with the user's answers to what was asked in it.

Source: the types `UIMessage` and `UIToolInvocation` of the npm package `ai`, versions 6 and 7.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from .._json import encode, object_at, objects_at, text_at
from ..errors import ConfigurationError
from ..messages import DocumentPart, ImagePart, Message, Part, ReasoningPart, TextPart, ToolCall, ToolResult
from .approvals import ApprovalIds, Approvals
from .formats.ai_sdk import PARTS


class Decision(NamedTuple):
    """What the user said to a question: whether `call` may run."""

    call: ToolCall
    question: str
    approved: bool
    reason: str


class Conversation(NamedTuple):
    """The messages; what the user has decided since the last one; and which calls of it have no result."""

    messages: tuple[Message, ...]
    decisions: tuple[Decision, ...] = ()
    open_calls: tuple[ToolCall, ...] = ()

    def approvals(self, ids: ApprovalIds) -> Approvals:
        """The decisions, as a stream can ask for them.

        Raises `ConfigurationError` where one is for a call that this server has not asked about.
        """
        approvals = Approvals()
        for call, question, approved, reason in self.decisions:
            if not ids.fits(question, call):
                raise ConfigurationError(f"the call of {call.name!r} is not one that this server has asked about")
            approvals.answer(call.id, approved, reason)
        return approvals


def ui_conversation(messages: list[dict[str, object]]) -> Conversation:
    """The conversation in UI messages; raises `ConfigurationError` where there is none.

    >>> hello = [{"role": "user", "parts": [{"type": "text", "text": "Hi"}]}]
    >>> ui_conversation(hello).messages == (Message.user("Hi"),)
    True
    """
    steps = [step for message in messages for step in _steps(message)]
    if not steps:
        raise ConfigurationError("messages is a list of UI messages, with something said in them")
    last = steps[-1] if messages[-1].get("role") == "assistant" else _Step(())
    decisions = tuple(filter(None, map(_decision, last.tools)))
    waiting = tuple(_call(tool) for tool in last.tools if _is_open(tool)) if decisions else ()
    open_ids = {call.id for call in waiting}
    said = tuple(message for step in steps for message in step.messages(open_ids if step is last else set()))
    return Conversation(said, decisions, waiting)


class _Step(NamedTuple):
    """Parts that make one message, and the tool parts among them, which hold the results."""

    parts: tuple[Part, ...]
    role: str = "assistant"
    tools: tuple[dict[str, object], ...] = ()

    def messages(self, open_ids: set[str]) -> Iterator[Message]:
        match self.role:
            case "system" | "user" | "assistant" as role:
                yield Message(role, self.parts)
            case _:
                raise ConfigurationError(f"a UI message's role is system, user or assistant; got {self.role!r}")
        results = [_result(tool) for tool in self.tools]
        if results := [result for result in results if result.id not in open_ids]:
            yield Message.tool(*results)


def _steps(message: Mapping[str, object]) -> Iterator[_Step]:
    role, parts = message.get("role"), objects_at(message, "parts")
    if role != "assistant":
        yield _Step(tuple(part for said in parts for part in _user_parts(said)), str(role))
        return
    step: list[dict[str, object]] = []
    end: dict[str, object] = {"type": "step-start"}
    for part in (*parts, end):
        if part.get("type") != "step-start":
            step.append(part)
        elif step:
            yield from _assistant_step(step)
            step = []


def _assistant_step(parts: list[dict[str, object]]) -> Iterator[_Step]:
    tools = tuple(part for part in parts if _is_tool(part))
    said = next((_kept(part) for part in parts if part.get("type") == PARTS), None)
    said = said or tuple(made for part in parts if (made := _assistant_part(part)) is not None)
    if said:
        called = {part.id for part in said if isinstance(part, ToolCall)}
        yield _Step(said, "assistant", tuple(tool for tool in tools if _call(tool).id in called))


def _kept(part: Mapping[str, object]) -> tuple[Part, ...]:
    """The parts of a step, kept by the client as we gave them to it."""
    try:
        return msgspec.convert(part.get("data"), tuple[Part, ...])
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"a part of type {PARTS} is not what this server sent: {error}") from error


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


def _assistant_part(part: dict[str, object]) -> Part | None:
    text = text_at(part, "text")
    match part.get("type"):
        case "text" if text is not None:
            return TextPart(text)
        case "reasoning" if text is not None:
            return ReasoningPart(text)
        case _:
            return _call(part) if _is_tool(part) else None


def _is_tool(part: Mapping[str, object]) -> bool:
    kind = text_at(part, "type") or ""
    return kind == "dynamic-tool" or kind.startswith("tool-")


def _call(part: Mapping[str, object]) -> ToolCall:
    name = text_at(part, "toolName") or (text_at(part, "type") or "").removeprefix("tool-")
    return ToolCall(text_at(part, "toolCallId") or "", name, object_at(part, "input"))


def _is_open(part: Mapping[str, object]) -> bool:
    return part.get("state") in ("approval-requested", "approval-responded")


def _decision(part: Mapping[str, object]) -> Decision | None:
    if part.get("state") != "approval-responded":
        return None
    answer = object_at(part, "approval")
    approved = answer.get("approved") is True
    return Decision(_call(part), text_at(answer, "id") or "", approved, text_at(answer, "reason") or "")


def _result(part: Mapping[str, object]) -> ToolResult:
    call = _call(part)
    match part.get("state"):
        case "output-available" if part.get("preliminary") is not True:
            output = part.get("output")
            return ToolResult(call.id, output if isinstance(output, str) else encode(output).decode(), call.name)
        case "output-denied":
            reason = text_at(object_at(part, "approval"), "reason")
            said = "The user did not allow this call" + (f": {reason}" if reason else ".")
        case "approval-requested":
            said = "The user did not answer whether this call may run."
        case _:
            said = text_at(part, "errorText") or "The tool gave nothing."
    return ToolResult(call.id, said, call.name, is_error=True)
