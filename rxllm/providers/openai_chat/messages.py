"""The `messages` of an OpenAI Chat Completions request."""

from __future__ import annotations

from collections.abc import Sequence

from ..._json import text_at
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
from .._conversation import with_media_behind_results, with_results_behind_calls, with_supported_media
from .._endpoint import Endpoint
from .._request import data_url, inline, json_bytes, merged, result_text, unsupported_part, without_none
from .dialect import Dialect
from .reasoning import DETAILS


def wire_messages(
    messages: Sequence[Message], dialect: Dialect, endpoint: Endpoint, *, with_tools: bool
) -> list[dict[str, object]]:
    """Return the `messages` field; each tool result becomes a wire message of its own.

    Reasoning goes back to the endpoint that made it, to most only while tools are in play: there the model
    thinks on from it. Raises `ConfigurationError` naming a part that the vendor does not support.
    """
    tools_in_play = with_tools or any(message.tool_calls for message in messages)
    fields_back = _FieldsBack(dialect, endpoint, with_reasoning=tools_in_play or dialect.reasoning_back_without_tools)
    result: list[dict[str, object]] = []
    if dialect.one_system_message:
        messages = _system_first(messages)
    messages = with_results_behind_calls(messages, endpoint.provider, dialect.call_ids)
    messages = with_supported_media(messages, lambda part: _part(part, dialect, endpoint.provider))
    for message in with_media_behind_results(messages):
        results = [part for part in message.parts if isinstance(part, ToolResult)]
        result += map(_result, results)
        if message.role == "assistant":
            result += _assistant(message, fields_back, dialect, endpoint)
        elif len(results) < len(message.parts) or not results:
            if dialect.message_after_tool is not None and result and result[-1]["role"] == "tool":
                result.append({"role": "assistant", "content": dialect.message_after_tool})
            result.append(_user_or_system(message, dialect, endpoint.provider))
    return result


def _system_first(messages: Sequence[Message]) -> Sequence[Message]:
    """Return the messages with all system messages joined to one at the front."""
    system = [message.text for message in messages if message.role == "system"]
    if not system:
        return messages
    others = [message for message in messages if message.role != "system" or not message.text]
    return [Message.system("\n\n".join(filter(None, system))), *(one for one in others if one.role != "system")]


def _assistant(
    message: Message, fields_back: _FieldsBack, dialect: Dialect, endpoint: Endpoint
) -> list[dict[str, object]]:
    """Return the wire message; none for an answer of which nothing can go back, such as one cut while it thought."""
    for part in message.parts:
        if isinstance(part, ImagePart | DocumentPart | AudioPart):
            raise unsupported_part(part, endpoint.provider, "assistant messages can contain text only")
    calls = [_call(part, endpoint) for part in message.parts if isinstance(part, ToolCall)]
    fields = fields_back.of_parts(message.parts)
    # A refusal goes back as text: the field it came in is known to few servers, and refused by some.
    text = message.text or text_at(fields, "refusal")
    thinking = fields.pop("content", None)
    if not calls and not (text or "").strip():
        return []
    content: object = text or (dialect.empty_content if calls else "")
    if thinking:
        chunk = {"type": "thinking", "thinking": [{"type": "text", "text": thinking}]}
        content = [chunk, *([{"type": "text", "text": text}] if text else [])]
    result: dict[str, object] = {"role": "assistant", "content": content}
    if calls:
        result["tool_calls"] = calls
        if dialect.reasoning_on_calls is not None:
            fields.setdefault(dialect.reasoning_on_calls, "")
    return [result | {name: value for name, value in fields.items() if name != "refusal"}]


def _result(result: ToolResult) -> dict[str, object]:
    return {"role": "tool", "tool_call_id": result.id, "content": result_text(result)}


def _call(call: ToolCall, endpoint: Endpoint) -> dict[str, object]:
    function = {"name": endpoint.wire_name(call.name), "arguments": json_bytes(call.arguments).decode()}
    return merged(without_none(id=call.id, type="function", function=function), endpoint.fields(call.vendor))


class _FieldsBack:
    """The fields of an answer that go back to the endpoint that made it."""

    def __init__(self, dialect: Dialect, endpoint: Endpoint, *, with_reasoning: bool) -> None:
        self._dialect = dialect
        self._endpoint = endpoint
        self._reasoning_back = dialect.reasoning_back if with_reasoning else ()

    def of_parts(self, parts: Sequence[Part]) -> dict[str, object]:
        """Return the message fields: those of vendor parts, and the reasoning in the field in which it came.

        Reasoning stays out if `reasoning_details`, which hold it too, go back.
        """
        fields: dict[str, object] = {}
        thoughts: list[str] = []
        reasoning_field = ""
        for part in parts:
            if isinstance(part, VendorPart) and self._endpoint.is_own(part):
                fields |= {name: value for name, value in part.data.items() if self._goes_back(name, part)}
            elif isinstance(part, ReasoningPart) and (own := self._endpoint.fields(part.vendor)):
                thoughts.append(part.text)
                reasoning_field = reasoning_field or text_at(own, "field") or ""
        if reasoning_field in self._reasoning_back and reasoning_field != DETAILS and DETAILS not in fields:
            fields[reasoning_field] = "".join(thoughts)
        return fields

    def _goes_back(self, name: str, part: VendorPart) -> bool:
        if name in (DETAILS, *self._dialect.reasoning_back):
            return name in self._reasoning_back
        return name == "refusal" or self._dialect.unknown_fields_back or part.wire == self._endpoint.wire


def _user_or_system(message: Message, dialect: Dialect, provider: str) -> dict[str, object]:
    """Return a user or system message: text alone as text, which every server takes; else a list of parts."""
    parts = [part for part in message.parts if not isinstance(part, ToolResult | VendorPart | ReasoningPart)]
    other = next((part for part in parts if not isinstance(part, TextPart)), None)
    if message.role != "system":
        content = message.text if other is None else [_part(part, dialect, provider) for part in parts]
        return {"role": "user", "content": content}
    if other is not None:
        raise unsupported_part(other, provider, "a system message is text only")
    return {"role": "system", "content": message.text}


def _part(part: Part, dialect: Dialect, provider: str) -> dict[str, object]:
    """Return a content part in the form that the dialect takes; raise `ConfigurationError` if it takes none."""
    match part:
        case TextPart(text=text):
            return {"type": "text", "text": text}
        case ImagePart(detail=detail):
            return {"type": "image_url", "image_url": without_none(url=data_url(part), detail=detail)}
        case DocumentPart():
            return _document(part, dialect, provider)
        case AudioPart():
            return _audio(part, dialect, provider)
        case _:
            raise unsupported_part(part, provider, "it belongs into an assistant message")


def _document(part: DocumentPart, dialect: Dialect, provider: str) -> dict[str, object]:
    """Return a document in the form that the dialect takes; raise `ConfigurationError` if it takes none."""
    file = inline(part)
    match dialect.documents:
        case None:
            raise unsupported_part(part, provider, "put its text into the prompt")
        case "document_url":
            return without_none(type="document_url", document_url=data_url(part), document_name=part.name)
        case "file_url":
            where = {"url": file.base64 if file else part.url}
            return without_none(type="file_url", file_url=where, file_name=part.name)
        case "file" if file is None:
            raise unsupported_part(part, provider, "give its bytes as data=, not its URL")
        case _:
            return {"type": "file", "file": {"filename": part.name or "document", "file_data": data_url(part)}}


def _audio(part: AudioPart, dialect: Dialect, provider: str) -> dict[str, object]:
    """Return a sound with its format, the end of its media type; raise `ConfigurationError` if it takes none."""
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
