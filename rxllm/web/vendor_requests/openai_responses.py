"""Reads requests of OpenAI's Responses API. Nothing is stored here, so `previous_response_id` is refused.

Source: https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from ..._json import is_array, is_object, object_at, objects_at, text_at
from ...errors import ConfigurationError
from ...messages import (
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
)
from ...options import CallOptions
from ..options import options_of
from .vendor_request import arguments_of, blocks_of, data_url, text_of

NEUTRAL: Mapping[str, Sequence[object]] = {
    "previous_response_id": (),
    "conversation": (),
    "background": (False,),
    "parallel_tool_calls": (True,),
    "truncation": ("disabled",),
    "top_logprobs": (0,),
    "prompt": (),
    "max_tool_calls": (),
}
_IGNORED = frozenset(
    {"store", "metadata", "user", "include", "service_tier", "safety_identifier", "prompt_cache_key"}
    | {"prompt_cache_retention", "stream_options"}
)
_READ = frozenset(
    {"model", "input", "instructions", "stream", "tools", "tool_choice", "text", "reasoning", "max_output_tokens"}
    | {"temperature", "top_p"}
)
KNOWN = NEUTRAL.keys() | _IGNORED | _READ

_ROLES: Mapping[object, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


def messages_in(body: Mapping[str, object]) -> tuple[Message, ...]:
    """Return the conversation in `body`; raises `ConfigurationError` that names what is not supported."""
    instructions = text_at(body, "instructions")
    head = [] if instructions is None else [Message.system(instructions)]
    return (*head, *_conversation(body.get("input")))


def options_in(body: Mapping[str, object]) -> CallOptions:
    """Return the options in `body`, checked."""
    form = object_at(object_at(body, "text"), "format")
    return options_of(
        {
            "temperature": body.get("temperature"),
            "top_p": body.get("top_p"),
            "max_tokens": body.get("max_output_tokens"),
            "reasoning": object_at(body, "reasoning").get("effort"),
            "tools": body.get("tools"),
            "tool_choice": body.get("tool_choice"),
            "response_format": form or None,
        }
    )


def _conversation(said: object) -> Iterator[Message]:
    """Yield the messages in `input`; neighbouring items of one answer, and results, make one message."""
    if isinstance(said, str):
        yield Message.user(said)
        return
    if not is_array(said) or not said:
        raise ConfigurationError("input is text or a list of items")
    answer: list[Part] = []
    results: list[ToolResult] = []
    for item in said:
        if not is_object(item):
            raise ConfigurationError("an item of input is not an object")
        parts = _answer_parts(item)
        if item.get("type") == "function_call_output":
            yield from _flushed(answer, [])
            results.append(_result(item))
        elif parts is not None:
            yield from _flushed([], results)
            answer.extend(parts)
        else:
            yield from _flushed(answer, results)
            yield _message(item)
    yield from _flushed(answer, results)


def _flushed(answer: list[Part], results: list[ToolResult]) -> Iterator[Message]:
    """Return the answer and the results that are complete, and empty the lists."""
    if answer:
        yield Message("assistant", tuple(answer))
        answer.clear()
    if results:
        yield Message.tool(*results)
        results.clear()


def _answer_parts(item: Mapping[str, object]) -> list[Part] | None:
    """Return the parts that an item adds to an answer; None for another item."""
    match item.get("type", "message"):
        case "function_call":
            return [ToolCall(text_of(item, "call_id"), text_of(item, "name"), arguments_of(item.get("arguments")))]
        case "reasoning":
            thought = "".join(text_of(part) for part in objects_at(item, "summary") or objects_at(item, "content"))
            return [ReasoningPart(thought)] if thought else []
        case "message" if item.get("role") == "assistant":
            return list(_message(item).parts)
        case _:
            return None


def _message(item: Mapping[str, object]) -> Message:
    kind, role = item.get("type", "message"), _ROLES.get(item.get("role"))
    if kind != "message":
        raise ConfigurationError(f"an item of type {kind!r} is not supported")
    if role is None:
        raise ConfigurationError(f"an item's role is system, developer, user or assistant; got {item.get('role')!r}")
    return Message(role, tuple(map(_part, blocks_of(item.get("content"), "content"))))


def _part(block: dict[str, object]) -> Part:
    """Return the part that a block of a message is."""
    match block.get("type"):
        case "text" | "input_text" | "output_text":
            return TextPart(text_of(block))
        case "refusal":
            return TextPart(text_of(block, "refusal"))
        case "input_image" if block.get("file_id") is None:
            image = object_at(block, "image_url")  # some clients send the form of Chat Completions
            return ImagePart(text_of(image, "url") if image else text_of(block, "image_url"))
        case "input_file" if block.get("file_id") is None:
            url = text_at(block, "file_url") or text_of(block, "file_data")
            return DocumentPart(url, name=text_at(block, "filename"))
        case "input_audio":
            audio = object_at(block, "input_audio")
            return AudioPart(data_url(f"audio/{text_of(audio, 'format')}", text_of(audio, "data")))
        case kind:
            raise ConfigurationError(f"a part of type {kind!r} is not supported, nor are file ids")


def _result(item: Mapping[str, object]) -> ToolResult:
    output = item.get("output")
    said = "".join(cast(TextPart, _text_part(block)).text for block in blocks_of(output, "output"))
    return ToolResult(text_of(item, "call_id"), said)


def _text_part(block: dict[str, object]) -> Part:
    part = _part(block)
    if not isinstance(part, TextPart):
        raise ConfigurationError("the output of a tool call is text")
    return part
