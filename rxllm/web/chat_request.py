"""What a client asks for, checked: which model, which messages, which options.

A client chooses among the models on offer and sets what shapes an answer; never keys, addresses, headers, time limits,
raw bodies or vendor fields. A conversation from a client is not the model's word: a tool call in it runs only if this
server issued it and its user approved it just now.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec
from reactivex import Observable

from .._json import is_array, objects_at
from ..errors import ConfigurationError
from ..messages import (
    AudioPart,
    DocumentPart,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    Role,
    TextPart,
    ToolCall,
    ToolResult,
    VendorPart,
)
from ..model import StreamingModel
from ..options import CallOptions
from ..providers._request import inline
from .approvals import Approvals, is_same_call

_FILES = (ImagePart, DocumentPart, AudioPart)
_PARTS: Mapping[Role, tuple[type[Part], ...]] = {
    "system": (TextPart,),
    "user": (TextPart, *_FILES),
    "assistant": (TextPart, ReasoningPart, ToolCall, VendorPart),
    "tool": (ToolResult,),
}
"""The parts that messages with a role may have."""

ROLES: Collection[Role] = _PARTS.keys()

MAX_ITEMS = 20_000
"""Messages and parts that a conversation of a client may have together."""

_LINKS = ("https://", "http://", "data:")


@dataclass(frozen=True)
class ChatRequest:
    """What a client asked.

    Args:
        model: The model's name, as this server offers it.
        messages: The conversation. In `useChat` it may end in an answer with tool calls that the user has just
            approved or denied: ``Assistant(..., approve=request.approve).stream(request.messages)`` runs them.
        options: What the client set: temperature, tools, response_format and so on.
        approvals: The questions of this stream.
        user: What `Service(authenticate=...)` returned; None on a server without it.
        headers: The HTTP headers, names in lower case.
        extra: The fields of the request's body that this package has no meaning for.
    """

    model: str
    messages: tuple[Message, ...]
    options: CallOptions = field(default_factory=CallOptions)
    approvals: Approvals = field(default_factory=Approvals)
    user: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    extra: Mapping[str, object] = field(default_factory=dict[str, object])

    def approve(self, call: ToolCall) -> Observable[bool | str]:
        """Return the client's answer whether `call` may run, as an Observable of one item: True, or the reason why not.

        Args:
            call: The call that an assistant is about to run.
        """
        return self.approvals.ask(call)


AnswerFunction: TypeAlias = Callable[[ChatRequest], Observable[object]]
"""A function from a request to a stream of token events, or of an assistant's events."""

Offer: TypeAlias = StreamingModel | AnswerFunction


def check_size(body: Mapping[str, object]) -> None:
    """Refuse a body with so many messages and parts that reading them would keep the server from its other clients."""
    items = objects_at(body, "messages") + objects_at(body, "input")
    parts = sum(len(value) for item in items for value in item.values() if is_array(value))
    if len(items) + parts > MAX_ITEMS:
        raise ConfigurationError(f"a conversation has at most {MAX_ITEMS} messages and parts")


def check_conversation(
    messages: Sequence[Message],
    *,
    roles: Collection[Role] = ROLES,
    issued: Sequence[ToolCall] | None = None,
) -> tuple[Message, ...]:
    """Return the conversation, with the bytes in its data URLs; refuse what a client may not send.

    Args:
        messages: The client's conversation.
        roles: The roles that clients of this server may use.
        issued: The tool calls that may be without a result: this server issued them. None, unlike (): the client has
            proved nothing, so that parts may have no vendor fields either.

    Raises:
        ConfigurationError: Names what is wrong: a role, a part, a vendor field, a tool call without a result.
    """
    open_calls: dict[str, ToolCall] = {}
    for message in messages:
        if message.role not in roles:
            raise ConfigurationError(f"clients of this server may not send messages with the role {message.role!r}")
        if message.role != "tool":
            _refuse(open_calls)
        for part in message.parts:
            _check_part(part, message.role, issued is not None)
            if isinstance(part, ToolResult):
                open_calls.pop(part.id, None)
        if len({call.id for call in message.tool_calls}) < len(message.tool_calls):
            raise ConfigurationError("two tool calls in one message have the same id")
        open_calls.update({call.id: call for call in message.tool_calls})
    for call in issued or ():
        if call.id in open_calls and is_same_call(open_calls[call.id], call):
            del open_calls[call.id]
    _refuse(open_calls)
    return tuple(msgspec.structs.replace(message, parts=tuple(map(_with_bytes, message.parts))) for message in messages)


def _with_bytes(part: Part) -> Part:
    """Return the part with the bytes in its data URL, if it has one."""
    content = inline(part) if isinstance(part, _FILES) and part.data is None else None
    if content is None:
        return part
    return msgspec.structs.replace(part, url=None, data=base64.b64decode(content.base64), media_type=content.media_type)


def _check_part(part: Part, role: Role, vendor_fields: bool) -> None:
    """Refuse a part that messages with this role do not have, a vendor field, or an unsafe link."""
    if not vendor_fields and (isinstance(part, VendorPart) or getattr(part, "vendor", None) is not None):
        raise ConfigurationError("clients may not set vendor parts or vendor fields")
    if not isinstance(part, _PARTS[role]):
        raise ConfigurationError(f"a message with the role {role!r} has no part of type {type(part).__name__}")
    if isinstance(part, _FILES) and part.url is not None and not part.url.startswith(_LINKS):
        raise ConfigurationError("a link in a message begins with https:, http: or data:")


def _refuse(open_calls: Collection[str]) -> None:
    if open_calls:
        raise ConfigurationError(
            f"tool calls without a result in the conversation are not run: {', '.join(sorted(open_calls))}. "
            "Only a call that this server's model has just made, and its user has approved, runs"
        )
