"""A conversation in the words of OpenAI Chat Completions."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

from .._json import encode, text_at
from ..errors import ConfigurationError
from ..messages import (
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
from ._openai_dialect import Dialect
from ._openai_reasoning import DETAILS

WIRE = "openai-chat"
"""The name under which this wire keeps its own fields in message parts."""


def wire_messages(
    messages: Sequence[Message], dialect: Dialect, provider: str, *, with_tools: bool
) -> list[dict[str, object]]:
    """The `messages` field; a message with tool results is one wire message for each.

    Reasoning goes back to the vendors that want it, and only while tools are in play: there they
    think on from it. Raises `ConfigurationError` naming a part that cannot be said.
    """
    tools_in_play = with_tools or any(message.tool_calls for message in messages)
    said: list[dict[str, object]] = []
    for message in messages:
        results = [part for part in message.parts if isinstance(part, ToolResult)]
        said += map(_result, results)
        if message.role == "assistant":
            said.append(_assistant(message, dialect.reasoning_back if tools_in_play else (), provider))
        elif len(results) < len(message.parts) or not results:
            role = dialect.system_role if message.role == "system" else "user"
            said.append({"role": role, "content": _content(message.parts, dialect, provider)})
    return said


def _assistant(message: Message, reasoning_back: Sequence[str], provider: str) -> dict[str, object]:
    for part in message.parts:
        if isinstance(part, ImagePart | DocumentPart | AudioPart):
            raise _unsaid(provider, part, "in an assistant message")
    calls = [_call(part) for part in message.parts if isinstance(part, ToolCall)]
    said: dict[str, object] = {"role": "assistant", "content": message.text if message.text or not calls else None}
    if calls:
        said["tool_calls"] = calls
    return said | _kept(message.parts, reasoning_back)


def _result(result: ToolResult) -> dict[str, object]:
    return {"role": "tool", "tool_call_id": result.id, "content": result.content}


def _call(call: ToolCall) -> dict[str, object]:
    function = {"name": call.name, "arguments": encode(call.arguments).decode()}
    return {"id": call.id, "type": "function", "function": function}


def _kept(parts: Sequence[Part], reasoning_back: Sequence[str]) -> dict[str, object]:
    """The fields of an earlier answer that go back as they came."""
    kept: dict[str, object] = {}
    thoughts: list[str] = []
    field: str | None = None
    for part in parts:
        if isinstance(part, VendorPart) and part.wire == WIRE:
            kept |= {name: value for name, value in part.data.items() if name != DETAILS or name in reasoning_back}
        elif isinstance(part, ReasoningPart) and (part.vendor is None or WIRE in part.vendor):
            thoughts.append(part.text)
            field = field or text_at((part.vendor or {}).get(WIRE, {}), "field")
    if field is not None and field in reasoning_back and field != DETAILS and DETAILS not in kept:
        kept[field] = "".join(thoughts)
    return kept


def _content(parts: Sequence[Part], dialect: Dialect, provider: str) -> object:
    """Text alone as text, which every server takes; else a list of parts."""
    spoken = [part for part in parts if not isinstance(part, ToolResult | VendorPart | ReasoningPart)]
    if all(isinstance(part, TextPart) for part in spoken):
        return "".join(part.text for part in spoken if isinstance(part, TextPart))
    return [_part(part, dialect, provider) for part in spoken]


def _part(part: Part, dialect: Dialect, provider: str) -> dict[str, object]:
    match part:
        case TextPart(text=text):
            return {"type": "text", "text": text}
        case ImagePart(detail=detail):
            image = {"url": _url(part)} | ({"detail": detail} if detail else {})
            return {"type": "image_url", "image_url": image}
        case DocumentPart():
            return _document(part, dialect, provider)
        case AudioPart():
            return _audio(part, dialect, provider)
        case _:
            raise _unsaid(provider, part, "in a user or system message")


def _document(part: DocumentPart, dialect: Dialect, provider: str) -> dict[str, object]:
    match dialect.documents:
        case None:
            raise _unsaid(provider, part, "at all")
        case "document_url":
            named = {"document_name": part.name} if part.name else {}
            return {"type": "document_url", "document_url": _url(part), **named}
        case "file_url":
            url = part.url if part.data is None else b64encode(part.data).decode()
            return {"type": "file_url", "file_url": {"url": url}, **({"file_name": part.name} if part.name else {})}
        case "file" if part.data is None:
            raise _unsaid(provider, part, "by URL: give its bytes as data=")
        case _:
            return {"type": "file", "file": {"filename": part.name or "document", "file_data": _url(part)}}


def _audio(part: AudioPart, dialect: Dialect, provider: str) -> dict[str, object]:
    if dialect.audio is None:
        raise _unsaid(provider, part, "at all")
    if dialect.audio == "text":
        sound = part.url if part.data is None else b64encode(part.data).decode()
        return {"type": "input_audio", "input_audio": sound}
    if part.data is None or part.media_type is None:
        raise _unsaid(provider, part, "by URL: give its bytes as data=")
    kind = part.media_type.partition(";")[0].rpartition("/")[2].removeprefix("x-")
    sound_format = {"mpeg": "mp3", "wave": "wav", "vnd.wave": "wav", "mp4": "m4a"}.get(kind, kind)
    return {"type": "input_audio", "input_audio": {"data": b64encode(part.data).decode(), "format": sound_format}}


def _url(part: ImagePart | DocumentPart) -> str:
    """Where the part is, or the part itself as a data: URL."""
    if part.data is None:
        return part.url or ""
    return f"data:{part.media_type};base64,{b64encode(part.data).decode()}"


def _unsaid(provider: str, part: Part, where: str) -> ConfigurationError:
    return ConfigurationError(f"provider {provider!r} does not take a {type(part).__name__} {where}", provider=provider)
