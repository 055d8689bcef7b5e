"""Requests of the OpenAI Responses API: address, headers and body.

Stateless, since the messages hold the whole conversation and a stream may be cancelled before the
server has stored anything: `store` is false, and items go back without the ids under which a
server would look for them. Reasoning goes back in the order it came: as the encrypted content
(requested with `include` from models that reason: others refuse it), or as text if the vendor
sends text; a summary alone has no value for the model and stays out. `extra_body` can change all this.

Source: https://platform.openai.com/docs/guides/reasoning#encrypted-reasoning-items
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from ..._json import Json, objects_at, text_at
from ...messages import (
    DocumentPart,
    ImagePart,
    MediaPart,
    Message,
    Part,
    ReasoningPart,
    TextPart,
    ToolCall,
    ToolResult,
    VendorPart,
)
from ...options import Options, Tool
from .._conversation import calls_by_id
from .._request import data_url, inline, json_bytes, result_text, without_none
from .._vendor_wire import VendorWire, option_fields
from ..model_rules import checked_rules, is_off
from .decoder import OpenAIResponsesDecoder

_STORED = ("previous_response_id", "conversation")
"""Fields of `extra_body` that name what the server holds: calls of it may be answered here."""
_CHOICES = {name: name for name in ("auto", "none", "required")}
_REASONING_MODELS = re.compile(r"(^|/)(o\d|gpt-([5-9]|1\d)(?!\d|.*chat)|codex)")
"""Models of OpenAI that reason unasked: o1 and its heirs, gpt-5 and later but for their chat variants."""


class OpenAIResponses(VendorWire):
    """The wire to the Responses API."""

    decoder_class = OpenAIResponsesDecoder
    path = "/responses"
    pasted = "/chat/completions|/models"
    option_names = option_fields("temperature", "top_p", max_tokens="max_output_tokens")
    call_ids = ".{1,64}|.*__thought__.*"
    media_in_results = True

    def _body(self, messages: Sequence[Message], model: str, options: Options) -> Json:
        """Return the fields of a Responses request; None marks a field to leave out."""
        stored = any(name in (options.extra_body or {}) for name in _STORED)
        instructions, rest = _instructions(self._repaired(messages, stored=stored))
        thinks = options.reasoning is not None or _REASONING_MODELS.search(model)
        return {
            "model": model,
            "instructions": instructions,
            "input": _without_stored_ids(list(self._input(rest))),
            "stream": True,
            "store": False,
            "include": ["reasoning.encrypted_content"] if thinks else None,
            **self._option_fields(options),
            "reasoning": self._reasoning(options, model),
            "text": self._text(options),
            "tools": [self._tool(tool) for tool in options.tools] or None,
            "tool_choice": self._tool_choice(options, _CHOICES, lambda name: {"type": "function", "name": name}),
        }

    def _reasoning(self, options: Options, model: str) -> Json | None:
        """Return the effort, "none" to turn thinking off, where that need be said."""
        wanted, provider = options.reasoning, self._provider
        rules = checked_rules("openai", model, options, provider) or checked_rules("xai", model, options, provider)
        if wanted is None or (is_off(wanted) and rules is not None and rules.off == "nothing"):
            return None
        if isinstance(wanted, int) and wanted:
            raise self._unsupported("reasoning", 'it takes an effort such as "low", no token budget')
        return {"effort": wanted or "none"}

    def _text(self, options: Options) -> Json | None:
        wanted = options.response_format
        if wanted is None:
            return None
        if wanted.schema is None:
            return {"format": {"type": "json_object"}}
        return {"format": {"type": "json_schema", **self._openai_format(wanted, object_root=True)}}

    def _tool(self, tool: Tool) -> Json:
        """Return a function tool; without `strict` the API would make it strict by itself, with other arguments.

        Source: https://developers.openai.com/api/docs/guides/migrate-to-responses
        """
        return {"type": "function", **self._openai_tool(tool, strict=bool(tool.strict))}

    def _input(self, messages: Sequence[Message]) -> Iterator[Json]:
        """Yield the items of the conversation, in its order; neighbouring parts of one phase are one message."""
        calls = calls_by_id(messages)
        for message in messages:
            for phase, parts in groupby(message.parts, self._phase):
                if phase is None:
                    items = (self._item(part, calls) for part in parts)
                    yield from (item for item in items if item is not None)
                elif message.role == "assistant":
                    texts = [item for part in parts if (item := self._output_text(part))["text"]]
                    said = without_none(type="message", role="assistant", phase=phase or None, content=texts)
                    yield from [said] if texts else []
                else:
                    yield self._message("system" if message.role == "system" else "user", list(parts))

    def _phase(self, part: Part) -> str | None:
        """Return the phase of the message that a part belongs to ("" if none is given), or None for other parts."""
        if isinstance(part, TextPart):
            return text_at(self._endpoint.fields(part.vendor), "phase") or ""
        return "" if isinstance(part, MediaPart) else None

    def _item(self, part: Part, calls: Mapping[str, ToolCall]) -> Json | None:
        """Return the item of a part that is none of a message; None for parts of other wires."""
        match part:
            case ToolCall(id=call_id, name=name, arguments=arguments, vendor=vendor):
                call = {"type": "function_call", "call_id": call_id, "name": self._endpoint.wire_name(name)}
                return {**call, "arguments": json_bytes(arguments).decode(), **self._endpoint.fields(vendor)}
            case ToolResult(id=call_id):
                # The result of a call that a program made names it too.
                fields = self._endpoint.fields(calls[call_id].vendor if call_id in calls else None)
                output, caller = self._output(part), fields.get("caller")
                return without_none(type="function_call_output", call_id=call_id, output=output, caller=caller)
            case ReasoningPart(vendor=vendor):
                return _reasoning_item(self._endpoint.fields(vendor))
            case VendorPart(data=data) if self._endpoint.is_own(part):
                return _image_item(data) if data.get("type") == "image_generation_call" else data
            case _:
                return None

    def _message(self, role: str, parts: Sequence[Part]) -> Json:
        """Return a message item; text alone goes as a string, which every server accepts."""
        if len(parts) == 1 and isinstance(parts[0], TextPart):
            return {"role": role, "content": parts[0].text}
        return {"role": role, "content": self._user_parts(parts)}

    def _output_text(self, part: Part) -> Json:
        if isinstance(part, TextPart):
            return {"type": "output_text", "text": part.text}
        raise self._unsupported_part(part, "an assistant message holds text, reasoning and tool calls")

    def _output(self, result: ToolResult) -> object:
        """Return the output of a tool: text alone as text, else a list of parts.

        Source: https://developers.openai.com/api/docs/guides/function-calling (formatting results)
        """
        if not result.media:
            return result_text(result)
        return self._user_parts([*([TextPart(result.content)] if result.content else []), *result.media])

    def _user_parts(self, parts: Sequence[Part]) -> list[Json]:
        """Return the parts of a user or system message, or of a tool result."""
        texts_and_media = (part for part in parts if isinstance(part, TextPart | MediaPart))
        return [
            {"type": "input_text", "text": part.text} if isinstance(part, TextPart) else self._media(part)
            for part in texts_and_media
        ]

    def _media(self, part: MediaPart) -> Json:
        """Return an image or a document as an input item; raises for sound."""
        match part:
            case ImagePart(detail=detail):
                return without_none(type="input_image", image_url=data_url(part), detail=detail)
            case DocumentPart(name=name) if (content := inline(part)) is not None:
                suffix = content.media_type.rpartition("/")[2].replace("plain", "txt")
                return {"type": "input_file", "filename": name or f"document.{suffix}", "file_data": data_url(part)}
            case DocumentPart(url=url):
                return {"type": "input_file", "file_url": url}
            case _:
                raise self._unsupported_part(part, "the Responses API takes no sound")


def _instructions(messages: Sequence[Message]) -> tuple[str | None, Sequence[Message]]:
    """Return the system messages that begin the conversation, as one text, and the rest of it.

    If there are no others, they are the rest, as a request needs an input.
    """
    begin = next((at for at, message in enumerate(messages) if not _is_instruction(message)), 0)
    return "\n\n".join(message.text for message in messages[:begin]) or None, messages[begin:]


def _is_instruction(message: Message) -> bool:
    return message.role == "system" and all(isinstance(part, TextPart) for part in message.parts)


def _without_stored_ids(items: Sequence[Json]) -> list[Json]:
    """Return the items without their ids: the server looks for an item with an id in its store, which is empty.

    An id that another item mentions, such as that of a program or of a request for approval, stays.
    Source: openclaw/openclaw pull request 90706, and the API's "Items are not persisted when `store` is set to false".
    """
    if not any("id" in item for item in items):
        return list(items)
    whole = json_bytes(items)
    result: list[Json] = []
    for item in items:
        item_id = (text_at(item, "id") or "").encode()
        if not item_id or item.get("type") in _BUILT_ITEMS or whole.count(item_id) > json_bytes(item).count(item_id):
            result.append(item)
        else:
            result.append({key: value for key, value in item.items() if key != "id"})
    return result


_BUILT_ITEMS = ("reasoning", "message", "function_call", "function_call_output")
"""Items that this module builds; it gives them an id only if that must stay. Others are as the vendor sent them."""


def _image_item(data: Json) -> Json | None:
    """Return a generated image as it may go back; None if there is none.

    The API answers 400 to what else it tells of an image: https://github.com/can1357/oh-my-pi/pull/3202 and 3226.
    """
    return (
        {name: data[name] for name in ("type", "id", "status", "result") if name in data}
        if data.get("result")
        else None
    )


def _reasoning_item(data: Mapping[str, object]) -> Json | None:
    """Return a reasoning item as it may go back."""
    kept = {name: value for name, value in data.items() if name != "status" and value is not None}
    if text_at(kept, "encrypted_content") is not None:
        return {"type": "reasoning", "summary": [], **{name: kept[name] for name in kept if name != "id"}}
    return kept if objects_at(kept, "content") else None
