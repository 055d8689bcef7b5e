"""The forms of a prompt, and their conversion to messages."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TypeAlias, TypeGuard, cast

import msgspec

from ._json import decode, encode, is_object
from .errors import ConfigurationError
from .messages import AudioPart, DocumentPart, Ending, ImagePart, Message, Part, Role, TextPart, ToolCall, ToolResult

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
_ENDINGS: Mapping[object, Ending] = {"stopped": "stopped", "failed": "failed"}


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
    role = _ROLES.get(value.get("role"))
    if role is None:
        raise ConfigurationError(f"a message's role is system, user, assistant or tool; got {value.get('role')!r}")
    if "parts" in value:
        return Message(role, _converted(value["parts"]), _ENDINGS.get(value.get("ending")))
    if role == "tool":
        return _tool_message(value)
    calls = value.get("tool_calls") or ()
    if not _is_sequence(calls):
        raise ConfigurationError(f"tool_calls is a list; got {type(calls).__name__}")
    return Message(role, (*_parts(value.get("content")), *map(_tool_call, calls)))


def _tool_message(value: Mapping[str, object]) -> Message:
    """Return the result in a dict with the role "tool"; content that is no text is written as JSON."""
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
    if _is_mapping(item):
        match item.get("type"):
            case "image_url":
                image = item.get("image_url")
                return ImagePart(url=str(image.get("url") if _is_mapping(image) else image))
            case "input_audio":
                return _audio(item.get("input_audio"))
            case "file":
                return _document(item.get("file"))
            case "refusal":
                return TextPart(str(item.get("refusal")))
            case _:
                pass
    return _converted([item])[0]


def _is_text(item: object) -> bool:
    return isinstance(item, str) or (_is_mapping(item) and item.get("type") in ("text", "refusal"))


def _audio(audio: object) -> AudioPart:
    data, form = (audio.get("data"), audio.get("format")) if _is_mapping(audio) else (None, None)
    if not isinstance(data, str) or not isinstance(form, str):
        raise ConfigurationError("a part of type 'input_audio' has the form {'input_audio': {'data', 'format'}}")
    return AudioPart(data=_from_base64(data), media_type=f"audio/{form}")


def _document(file: object) -> DocumentPart:
    """Return the document in a part of OpenAI's type "file"."""
    url = file.get("file_data") if _is_mapping(file) else None
    if not _is_mapping(file) or not isinstance(url, str) or not url.startswith("data:"):
        raise ConfigurationError("a part of type 'file' needs file_data, a data URL; file_id is not supported")
    head, _, data = url.removeprefix("data:").partition(",")
    name = file.get("filename")
    media_type = head.partition(";")[0] or "application/octet-stream"
    return DocumentPart(data=_from_base64(data), media_type=media_type, name=name if isinstance(name, str) else None)


def _from_base64(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except ValueError as error:
        raise ConfigurationError("the data of a message part is not base64") from error


def _tool_call(item: object) -> ToolCall:
    """Return the call in a dict of OpenAI's form."""
    if isinstance(item, ToolCall):
        return item
    function = item.get("function") if _is_mapping(item) else None
    if not _is_mapping(item) or not _is_mapping(function):
        raise ConfigurationError("a tool call in a dict has the form {'id', 'function': {'name', 'arguments'}}")
    arguments = function.get("arguments") or "{}"
    try:
        parsed = decode(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"a tool call's arguments in the prompt are not JSON: {error}") from error
    name = function.get("name")
    if not is_object(parsed) or not isinstance(name, str):
        raise ConfigurationError("a tool call in the prompt needs a name, and a JSON object as its arguments")
    return ToolCall(str(item.get("id") or ""), name, parsed)


def _converted(parts: object) -> tuple[Part, ...]:
    try:
        return msgspec.convert(parts, tuple[Part, ...])
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"not a message part this package knows: {error}") from error


def _is_mapping(value: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(value, Mapping)


def _is_sequence(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _not_a_prompt(value: object) -> ConfigurationError:
    return ConfigurationError(
        f"a prompt is text, a Message, a dict with role and content, or a sequence of these; got {type(value).__name__}"
    )
