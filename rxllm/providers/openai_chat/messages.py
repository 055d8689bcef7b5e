"""The `messages` of an OpenAI Chat Completions request."""

from __future__ import annotations

from collections.abc import Sequence

from ..._json import encode, text_at
from ...messages import (
    AudioPart,
    DocumentPart,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    TextPart,
    ToolCall,
    ToolResult,
    VendorPart,
)
from .._call_ids import with_valid_ids
from .._request import inline, unsupported_part, vendor_fields, without_none
from .dialect import Dialect
from .reasoning import DETAILS

WIRE = "openai-chat"
"""The name under which this wire keeps its own fields in message parts."""

EXTRA = "extra_content"
"""The field of a tool call in which Gemini's OpenAI surface keeps its thought signature, and wants it back."""


def wire_messages(
    messages: Sequence[Message], dialect: Dialect, provider: str, *, with_tools: bool
) -> list[dict[str, object]]:
    """Return the `messages` field; each tool result becomes a wire message of its own.

    Reasoning goes back to the vendors that want it, and only while tools are in play: there they
    think on from it. Raises `ConfigurationError` naming a part that the vendor does not support.
    """
    tools_in_play = with_tools or any(message.tool_calls for message in messages)
    result: list[dict[str, object]] = []
    for message in with_valid_ids(messages, dialect.call_ids):
        results = [part for part in message.parts if isinstance(part, ToolResult)]
        result += map(_result, results)
        if message.role == "assistant":
            result.append(_assistant(message, dialect.reasoning_back if tools_in_play else (), provider))
        elif len(results) < len(message.parts) or not results:
            result.append(_user_or_system(message, dialect, provider))
    return result


def _assistant(message: Message, reasoning_back: Sequence[str], provider: str) -> dict[str, object]:
    for part in message.parts:
        if isinstance(part, ImagePart | DocumentPart | AudioPart):
            raise unsupported_part(part, provider, "the assistant speaks text only")
    calls = [_call(part) for part in message.parts if isinstance(part, ToolCall)]
    fields = _returned_fields(message.parts, reasoning_back)
    # A refusal goes back as text: the field it came in is known to few servers, and refused by some.
    text = message.text or text_at(fields, "refusal") or ("" if not calls else None)
    result: dict[str, object] = {"role": "assistant", "content": text}
    if calls:
        result["tool_calls"] = calls
    return result | {name: value for name, value in fields.items() if name != "refusal"}


def _result(result: ToolResult) -> dict[str, object]:
    return {"role": "tool", "tool_call_id": result.id, "content": result.content}


def _call(call: ToolCall) -> dict[str, object]:
    function = {"name": call.name, "arguments": encode(call.arguments).decode()}
    extra = vendor_fields(call.vendor, WIRE).get(EXTRA)
    return without_none(id=call.id, type="function", function=function, extra_content=extra)


def _returned_fields(parts: Sequence[Part], reasoning_back: Sequence[str]) -> dict[str, object]:
    """Return the fields of an earlier answer that go back as they came."""
    fields: dict[str, object] = {}
    thoughts: list[str] = []
    field: str | None = None
    for part in parts:
        if isinstance(part, VendorPart) and part.wire == WIRE:
            fields |= {name: value for name, value in part.data.items() if name != DETAILS or name in reasoning_back}
        elif isinstance(part, ReasoningPart) and (part.vendor is None or WIRE in part.vendor):
            thoughts.append(part.text)
            field = field or text_at(vendor_fields(part.vendor, WIRE), "field")
    if field is not None and field in reasoning_back and field != DETAILS and DETAILS not in fields:
        fields[field] = "".join(thoughts)
    return fields


def _user_or_system(message: Message, dialect: Dialect, provider: str) -> dict[str, object]:
    """Return a user or system message: text alone as text, which every server takes; else a list of parts."""
    parts = [part for part in message.parts if not isinstance(part, ToolResult | VendorPart | ReasoningPart)]
    other = next((part for part in parts if not isinstance(part, TextPart)), None)
    if message.role != "system":
        content = message.text if other is None else [_part(part, dialect, provider) for part in parts]
        return {"role": "user", "content": content}
    if other is not None:
        raise unsupported_part(other, provider, "a system message is text only")
    return {"role": dialect.system_role, "content": message.text}


def _part(part: Part, dialect: Dialect, provider: str) -> dict[str, object]:
    match part:
        case TextPart(text=text):
            return {"type": "text", "text": text}
        case ImagePart(detail=detail):
            return {"type": "image_url", "image_url": without_none(url=_url(part), detail=detail)}
        case DocumentPart():
            return _document(part, dialect, provider)
        case AudioPart():
            return _audio(part, dialect, provider)
        case _:
            raise unsupported_part(part, provider, "it belongs into an assistant message")


def _document(part: DocumentPart, dialect: Dialect, provider: str) -> dict[str, object]:
    file = inline(part)
    match dialect.documents:
        case None:
            raise unsupported_part(part, provider, "put its text into the prompt")
        case "document_url":
            return without_none(type="document_url", document_url=_url(part), document_name=part.name)
        case "file_url":
            where = {"url": file.base64 if file else part.url}
            return without_none(type="file_url", file_url=where, file_name=part.name)
        case "file" if file is None:
            raise unsupported_part(part, provider, "give its bytes as data=, not its URL")
        case _:
            return {"type": "file", "file": {"filename": part.name or "document", "file_data": _url(part)}}


def _audio(part: AudioPart, dialect: Dialect, provider: str) -> dict[str, object]:
    sound = inline(part)
    if dialect.audio is None:
        raise unsupported_part(part, provider, "it does not listen")
    if dialect.audio == "text":
        return {"type": "input_audio", "input_audio": sound.base64 if sound else part.url}
    if sound is None:
        raise unsupported_part(part, provider, "give its bytes as data=, not its URL")
    kind = sound.media_type.partition(";")[0].rpartition("/")[2].removeprefix("x-")
    return {"type": "input_audio", "input_audio": {"data": sound.base64, "format": _AUDIO_FORMATS.get(kind, kind)}}


_AUDIO_FORMATS = {"mpeg": "mp3", "wave": "wav", "vnd.wave": "wav", "mp4": "m4a"}


def _url(part: ImagePart | DocumentPart) -> str:
    """Return the part's URL, or the part itself as a data: URL."""
    file = inline(part)
    return f"data:{file.media_type};base64,{file.base64}" if file else part.url or ""
