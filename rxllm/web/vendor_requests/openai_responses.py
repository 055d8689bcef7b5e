"""Reads requests of OpenAI's Responses API. Nothing is stored here, so `previous_response_id` is refused.

Source: https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter

from ..._json import is_array, is_object, object_at, objects_at, text_at
from ...errors import ConfigurationError
from ...messages import DocumentPart, ImagePart, Message, ReasoningPart, TextPart
from ...options import CallOptions
from ...prompt import messages_of
from ..options import options_of
from .vendor_request import VendorReader, blocks_of, joined_text, text_of

_NEUTRAL: Mapping[str, Sequence[object]] = {
    "previous_response_id": (),
    "conversation": (),
    "background": (False,),
    "parallel_tool_calls": (True,),
    "truncation": ("disabled",),
    "top_logprobs": (0,),
    "prompt": (),
    "max_tool_calls": (),
}
_KNOWN = frozenset(
    {"model", "input", "instructions", "stream", "tools", "tool_choice", "text", "reasoning", "max_output_tokens"}
    | {"temperature", "top_p", "store", "metadata", "user", "include", "service_tier", "safety_identifier"}
    | {"prompt_cache_key", "prompt_cache_retention", "stream_options"}
)


def _messages_in(body: Mapping[str, object]) -> tuple[Message, ...]:
    """Return the conversation, read as Chat Completions has it."""
    given = body.get("input")
    if not isinstance(given, str) and (not is_array(given) or not given):
        raise ConfigurationError("input is text or a list of items")
    instructions = text_at(body, "instructions")
    head = [] if instructions is None else [Message.system(instructions)]
    return (*head, *_joined(messages_of(given if isinstance(given, str) else list(map(_chat_message, given)))))


def _options_in(body: Mapping[str, object]) -> CallOptions:
    """Return the options that the body of a Responses request sets."""
    return options_of(
        {
            "temperature": body.get("temperature"),
            "top_p": body.get("top_p"),
            "max_tokens": body.get("max_output_tokens"),
            "reasoning": object_at(body, "reasoning").get("effort"),
            "tools": body.get("tools"),
            "tool_choice": body.get("tool_choice"),
            "response_format": object_at(object_at(body, "text"), "format") or None,
        }
    )


def _joined(messages: Iterable[Message]) -> Iterator[Message]:
    """Yield messages, without empty ones; neighbouring items of one answer, and neighbouring results, become one."""
    for role, group in groupby(messages, attrgetter("role")):
        items = list(group)
        if role in ("assistant", "tool"):
            items = [Message(role, tuple(part for item in items for part in item.parts))]
        yield from (item for item in items if item.parts)


def _chat_message(item: object) -> dict[str, object]:
    """Return an item of `input` as a message of Chat Completions."""
    if not is_object(item):
        raise ConfigurationError("an item of input is not an object")
    match item.get("type", "message"):
        case "message":
            parts = [_chat_part(block) for block in blocks_of(item.get("content"), "content")]
            return {"role": item.get("role"), "content": parts}
        case "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments")}
            return {"role": "assistant", "tool_calls": [{"id": text_of(item, "call_id"), "function": function}]}
        case "function_call_output":
            text = joined_text(item.get("output"), "output")
            return {"role": "tool", "tool_call_id": text_of(item, "call_id"), "content": text}
        case "reasoning":
            thought = "".join(text_of(part) for part in objects_at(item, "summary") or objects_at(item, "content"))
            return {"role": "assistant", "content": [ReasoningPart(thought)] if thought else []}
        case kind:
            raise ConfigurationError(f"an item of type {kind!r} is not supported")


def _chat_part(block: dict[str, object]) -> object:
    """Return a block of a message as a part, or as a block of Chat Completions where that has the same form."""
    match block.get("type"):
        case "text" | "input_text" | "output_text":
            return TextPart(text_of(block))
        case "refusal" | "input_audio":
            return block
        case "input_image" if block.get("file_id") is None:
            image = object_at(block, "image_url")  # some clients send the form of Chat Completions
            return ImagePart(text_of(image, "url") if image else text_of(block, "image_url"))
        case "input_file" if block.get("file_id") is None:
            url = text_at(block, "file_url") or text_of(block, "file_data")
            return DocumentPart(url, name=text_at(block, "filename"))
        case kind:
            raise ConfigurationError(f"a part of type {kind!r} is not supported, nor are file ids")


READER = VendorReader(_messages_in, _options_in, _NEUTRAL, _KNOWN)
