"""What `useChat` sends: a conversation in UI messages, with the user's decisions about tool calls in it.

Source: the types `UIMessage` and `UIToolInvocation` of the npm package `ai`, versions 6 and 7.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from itertools import groupby
from typing import Annotated, Literal, NamedTuple

import msgspec

from .._json import encode, is_object
from .._schema import converter
from ..errors import ConfigurationError
from ..messages import DocumentPart, ImagePart, Message, Part, ReasoningPart, TextPart, ToolCall, ToolResult
from .ai_sdk_turn import PARTS

log = logging.getLogger("rxllm")


class UIApproval(msgspec.Struct, frozen=True):
    """The question about a tool call, and the user's answer."""

    id: str = ""
    approved: bool = False
    reason: str | None = None


class UIPart(msgspec.Struct, frozen=True, rename="camel"):
    """A part of a UI message, of any type; fields that its type does not have are None."""

    type: str
    text: str | None = None
    tool_call_id: str = ""
    tool_name: str | None = None
    state: str | None = None
    input: object = None
    output: object = None
    error_text: str | None = None
    preliminary: bool | None = None
    approval: UIApproval | None = None
    url: str | None = None
    media_type: str | None = None
    filename: str | None = None
    data: object = None

    @property
    def is_tool(self) -> bool:
        """Whether this is a tool call, with its result if there is one."""
        return self.type == "dynamic-tool" or self.type.startswith("tool-")

    @property
    def is_open(self) -> bool:
        """Whether the call waits for the user, or for its run after the user has answered."""
        return self.state in ("approval-requested", "approval-responded")

    def call(self) -> ToolCall:
        """Return the tool call."""
        arguments = self.input if is_object(self.input) else {}
        return ToolCall(self.tool_call_id, self.tool_name or self.type.removeprefix("tool-"), arguments)


class UIMessage(msgspec.Struct, frozen=True):
    """A UI message."""

    role: Literal["system", "user", "assistant"]
    parts: Annotated[list[UIPart], msgspec.Meta(max_length=10_000)] = []
    id: str | None = None


class Decision(NamedTuple):
    """An open tool call: the id of its question, and what the user has decided, None for nothing yet."""

    call: ToolCall
    question: str
    answer: bool | str | None


class Conversation(NamedTuple):
    """The messages, and the open calls of the last one if the user has decided about any of them."""

    messages: tuple[Message, ...]
    open_calls: tuple[Decision, ...] = ()


def ui_conversation(messages: list[UIMessage], is_own: Callable[[object, str], bool]) -> Conversation:
    """Return the conversation in UI messages.

    Args:
        messages: The UI messages, oldest first.
        is_own: Whether a signature is this server's for the data that a client kept for it.

    Raises:
        ConfigurationError: There is nothing said in the messages, or a part is wrong.

    Example:
        >>> hello = [UIMessage("user", [UIPart("text", text="Hi")])]
        >>> ui_conversation(hello, lambda data, signature: False).messages == (Message.user("Hi"),)
        True
    """
    steps = [step for message in messages for step in _steps(message, is_own)]
    if not steps:
        raise ConfigurationError("messages is a list of UI messages, and at least one has content")
    tools = steps[-1].tools if messages[-1].role == "assistant" else ()
    open_calls = tuple(_decision(tool) for tool in tools if tool.is_open)
    if all(decision.answer is None for decision in open_calls):
        open_calls = ()
    open_ids = {decision.call.id for decision in open_calls}
    said: list[Message] = []
    for step in steps:
        said.append(step.message)
        still_open = open_ids if step is steps[-1] else ()
        results = [_result(tool) for tool in step.tools if tool.tool_call_id not in still_open]
        if results:
            said.append(Message.tool(*results))
    return Conversation(tuple(said), open_calls)


class _Step(NamedTuple):
    """A message, and the tool parts in it, which hold the results."""

    message: Message
    tools: Collection[UIPart]


def _steps(message: UIMessage, is_own: Callable[[object, str], bool]) -> Iterator[_Step]:
    """Yield the steps of a message that have content; an assistant's are separated by "step-start" parts."""
    for is_start, group in groupby(message.parts, lambda part: part.type == "step-start"):
        step = [] if is_start else list(group)
        parts = tuple(made for part in step if (made := _part(part, message.role)) is not None)
        tools = {part.tool_call_id: part for part in step if part.is_tool}
        kept = next((_kept(part, is_own) for part in step if part.type == PARTS), ())
        if {part.id for part in kept if isinstance(part, ToolCall)} == tools.keys():  # not if the client removed a call
            parts = kept or parts
        if parts:
            yield _Step(Message(message.role, parts), tools.values())


def _kept(part: UIPart, is_own: Callable[[object, str], bool]) -> tuple[Part, ...]:
    """Return the parts of a step that the client kept for this server; () if they are not signed by it."""
    sealed = part.data if is_object(part.data) else {}
    data, signature = sealed.get("parts"), sealed.get("signature")
    if not isinstance(signature, str) or not is_own(data, signature):
        log.info("a part of type %s without this server's signature is ignored", PARTS)
        return ()
    return converter(tuple[Part, ...])(data)


def _part(part: UIPart, role: str) -> Part | None:
    """Return the part of a message that a UI part is; None for one that the model does not get."""
    url, media_type = part.url or "", part.media_type
    match part.type:
        case "text" if part.text:
            return TextPart(part.text)
        case "reasoning" if part.text:
            return ReasoningPart(part.text)
        case "file" if role == "assistant":
            return None
        case "file" if (media_type or "").startswith("image/"):
            return ImagePart(url, media_type=media_type)
        case "file":
            return DocumentPart(url, media_type=media_type, name=part.filename)
        case _:
            return part.call() if part.is_tool else None


def _decision(part: UIPart) -> Decision:
    approval = part.approval or UIApproval()
    answer = None if part.state == "approval-requested" else approval.approved or approval.reason or ""
    return Decision(part.call(), approval.id, answer)


def _result(part: UIPart) -> ToolResult:
    """Return the result of a tool part; without an output, an error with the reason."""
    call = part.call()
    reason = part.approval.reason if part.approval is not None else None
    match part.state:
        case "output-available" if part.preliminary is not True:
            output = part.output
            return ToolResult(call.id, output if isinstance(output, str) else encode(output).decode(), call.name)
        case "output-denied":
            said = "The user did not allow this call" + (f": {reason}" if reason else ".")
        case "approval-requested":
            said = "The user did not answer whether this call may run."
        case _:
            said = part.error_text or "The tool gave nothing."
    return ToolResult(call.id, said, call.name, is_error=True)
