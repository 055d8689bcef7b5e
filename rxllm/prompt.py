"""The forms of a prompt, and their conversion to messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias, TypeGuard, cast

import msgspec

from ._json import Json, encode, text_at
from ._schema import converted
from .errors import ConfigurationError
from .messages import AudioPart, DocumentPart, ImagePart, Message, Part, Role, TextPart, ToolCall, ToolResult

__all__ = ["Prompt", "messages_of"]

Prompt: TypeAlias = str | Message | Mapping[str, object] | Sequence[Message | Mapping[str, object]]
"""Text, a message, or a conversation (messages, or dicts with a role and content)."""


def messages_of(prompt: Prompt) -> tuple[Message, ...]:
    """Return the conversation that `prompt` describes.

    Args:
        prompt: Text, a message, or a sequence of messages. A message may be a dict in rxllm's own JSON form
            ({"role", "parts"}) or in OpenAI's form ({"role", "content"}, with "tool_calls" or "tool_call_id").

    Raises:
        ConfigurationError: The prompt has another form, or is empty.

    >>> messages_of("hi") == messages_of([{"role": "user", "content": "hi"}])
    True
    """
    messages = tuple(map(_message, _items(prompt)))
    if not messages:
        raise ConfigurationError("the prompt is empty: give text or at least one message")
    return messages


_ROLES: Mapping[object, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}


_WRONG_FORM = "not a message, or a part of one, in a form this package knows"


def _items(prompt: object) -> Sequence[object]:
    if isinstance(prompt, str | Message) or _is_mapping(prompt):
        return (prompt,)
    if not _is_sequence(prompt):
        raise _not_a_prompt(prompt)
    return prompt


def _message(value: object) -> Message:
    """Return the message that a text, a message or a dict of OpenAI's form is."""
    if isinstance(value, Message):
        return value
    if isinstance(value, str):
        return Message.user(value)
    if not _is_mapping(value):
        raise _not_a_prompt(value)
    if "parts" in value:
        return converted(value, Message, _WRONG_FORM)
    role = _ROLES.get(text_at(value, "role"))
    if role is None:
        raise ConfigurationError(f"a message's role is system, user, assistant or tool; got {value.get('role')!r}")
    if role == "tool":
        return _tool_message(value)
    calls = value.get("tool_calls") or ()
    if not _is_sequence(calls):
        raise ConfigurationError(f"tool_calls is a list; got {type(calls).__name__}")
    return Message(role, (*_parts(value.get("content")), *map(_tool_call, calls)))


def _tool_message(value: Mapping[str, object]) -> Message:
    """Return the result in a dict with the role "tool"; content that is not text is written as JSON."""
    content = value.get("content")
    if isinstance(content, str):
        text = content
    elif _is_sequence(content) and all(map(_is_text, content)):
        text = "".join(cast(TextPart, part).text for part in _parts(content))
    else:
        try:
            text = encode(content).decode()
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"the content of a message with the role 'tool' is not JSON: {error}") from error
    call_id = value.get("tool_call_id")
    if not isinstance(call_id, str):
        raise ConfigurationError("a message with the role 'tool' needs tool_call_id: the id of the call it answers")
    return Message.tool(ToolResult(id=call_id, content=text, name=str(value.get("name") or "")))


def _parts(content: object) -> tuple[Part, ...]:
    """Return the parts of a message's content: None, text, or a list of parts."""
    if content is None:
        return ()
    if isinstance(content, str):
        return (TextPart(content),)
    if not _is_sequence(content):
        raise ConfigurationError(f"a message's content is text or a list of parts; got {type(content).__name__}")
    return tuple(map(_part, content))


def _part(item: object) -> Part:
    """Return the part that a text, a part, or a dict of OpenAI's or our own form is."""
    if isinstance(item, str):
        return TextPart(item)
    if isinstance(item, Part):
        return item
    part: _AnyPart = converted(item, _AnyPart, _WRONG_FORM)
    match part:
        case _ImageUrl(image):
            return ImagePart(url=image if isinstance(image, str) else image.url)
        case _InputAudio(sound):
            return AudioPart(data=sound.data, media_type=f"audio/{sound.format}")
        case _File(file):
            if not file.file_data.startswith("data:"):
                raise ConfigurationError("the file_data of a part of type 'file' is a data URL")
            return DocumentPart(url=file.file_data, name=file.filename)
        case _Refusal(refusal):
            return TextPart(refusal)
        case _:
            return part


def _is_text(item: object) -> bool:
    return isinstance(item, str) or (_is_mapping(item) and item.get("type") in ("text", "refusal"))


def _tool_call(item: object) -> ToolCall:
    """Return the call in a dict of OpenAI's form."""
    if isinstance(item, ToolCall):
        return item
    call: _Call = converted(item, _Call, _WRONG_FORM)
    arguments = call.function.arguments or {}
    try:
        parsed = msgspec.json.decode(arguments, type=Json) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"a tool call's arguments in the prompt are no JSON object: {error}") from error
    return ToolCall(call.id or "", call.function.name, parsed)


class _Address(msgspec.Struct):
    url: str


class _ImageUrl(msgspec.Struct, tag="image_url"):
    """OpenAI's parts, of which each has its content under its type."""

    image_url: _Address | str


class _Sound(msgspec.Struct):
    data: bytes
    format: str


class _InputAudio(msgspec.Struct, tag="input_audio"):
    input_audio: _Sound


class _FileData(msgspec.Struct):
    file_data: str
    filename: str | None = None


class _File(msgspec.Struct, tag="file"):
    file: _FileData


class _Refusal(msgspec.Struct, tag="refusal"):
    refusal: str


class _Function(msgspec.Struct):
    name: str
    arguments: Json | str | None = None


class _Call(msgspec.Struct):
    """OpenAI's form of a tool call."""

    function: _Function
    id: str | None = None


_AnyPart: TypeAlias = Part | _ImageUrl | _InputAudio | _File | _Refusal


def _is_mapping(value: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(value, Mapping)


def _is_sequence(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _not_a_prompt(value: object) -> ConfigurationError:
    return ConfigurationError(
        f"a prompt is text, a Message, a dict with role and content, or a sequence of these; got {type(value).__name__}"
    )
