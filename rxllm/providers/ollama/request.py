"""Requests of Ollama /api/chat: address, headers and body.

A message here has one text, its images beside it: text parts are joined, by line breaks but for the
model's own, which are pieces of one text. Each tool result is a message.

Source: https://docs.ollama.com/api/chat
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..._json import Json
from ...messages import ImagePart, MediaPart, Message, ReasoningPart, TextPart, ToolCall, ToolResult, VendorPart
from ...options import Options
from .._conversation import calls_by_id
from .._request import inline, merged, result_text, without_none
from .._vendor_wire import VendorWire, option_fields
from ..model_rules import is_off
from .decoder import OllamaDecoder


class Ollama(VendorWire):
    """The wire to the chat API."""

    decoder_class = OllamaDecoder
    version, path = "/api", "/chat"
    pasted = "/v1(?:/chat/completions)?|/api/generate"
    framing = "ndjson"
    if_refused = "start Ollama: ollama serve"
    option_names = option_fields(
        *("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty", "stop", "seed"),
        max_tokens="num_predict",
    )
    refuses_orphans = False

    def _body(self, messages: Sequence[Message], model: str, options: Options) -> Json:
        """Return the fields of an `/api/chat` request; None marks a field to leave out."""
        # https://github.com/ollama/ollama/issues/11185: a format keeps the model from the words that call a tool.
        self._refuse_format_beside_tools(options)
        wanted = options.response_format
        return {
            "model": model,
            "messages": list(self._messages(self._repaired(messages))),
            "tools": self._tools(options),
            "think": self._think(options.reasoning),
            "format": None if wanted is None else wanted.schema or "json",
            "options": self._option_fields(options) or None,
            "stream": True,
        }

    def _think(self, wanted: str | int | None) -> str | bool | None:
        """Return the `think` field: an effort, False for off, or None for the default of the model."""
        if wanted is None:
            return None
        if is_off(wanted):
            return False
        if isinstance(wanted, int):
            raise self._unsupported("reasoning", 'it has no token budget; say "low", "medium", "high" or 0')
        return wanted

    def _tools(self, options: Options) -> list[Json] | None:
        """Return the tools; with the choice "none" no tools are offered."""
        if options.tool_choice not in (None, "auto", "none"):
            raise self._unsupported("tool_choice", 'the model always chooses itself; say "auto" or "none"')
        if not options.tools or options.tool_choice == "none":
            return None
        if any(tool.strict for tool in options.tools):
            raise self._unsupported("Tool(strict=True)", "it holds no model to a tool's schema")
        functions = [self._tool_fields(tool, "parameters") for tool in options.tools]
        return [{"type": "function", "function": function} for function in functions]

    def _messages(self, messages: Sequence[Message]) -> Iterable[Json]:
        """Yield the messages; each tool result is one of its own and names its function."""
        calls = calls_by_id(messages)
        for message in messages:
            wire_message = self._message(message)
            if len(wire_message) > 1:  # more than its role
                yield wire_message
            for part in message.parts:
                if isinstance(part, ToolResult):
                    yield self._result(part, calls.get(part.id))

    def _message(self, message: Message) -> Json:
        """Return a message without its tool results: its role, and its text, images and calls, if any."""
        own: Json = {}
        for part in message.parts:
            if isinstance(part, VendorPart) and self._endpoint.is_own(part):
                own |= part.data
        images = [self._media(part) for part in message.parts if isinstance(part, MediaPart)]
        calls = [self._call(call) for call in message.tool_calls]
        if message.role != "assistant":
            text = "\n".join(part.text for part in message.parts if isinstance(part, TextPart))
            role = "user" if message.role == "tool" else message.role
            content = text if text or images or calls else None
            return without_none(role=role, content=content, images=images or None, tool_calls=calls or None)
        if not (message.text.strip() or calls):
            return {"role": "assistant"}  # cut while it thought: nothing to go on from
        thoughts = [part.text for part in message.parts if isinstance(part, ReasoningPart) and self._goes_back(part)]
        said = {"content": message.text, "thinking": "".join(thoughts) or None, "images": images or None}
        return {**own, **without_none(role="assistant", **said, tool_calls=calls or None)}

    def _goes_back(self, part: ReasoningPart) -> bool:
        """Return whether a thought is this server's, or bound to none."""
        return part.vendor is None or bool(self._endpoint.fields(part.vendor))

    def _call(self, call: ToolCall) -> Json:
        function = {"name": self._endpoint.wire_name(call.name), "arguments": call.arguments}
        return merged(without_none(id=call.id or None, function=function), self._endpoint.fields(call.vendor))

    def _result(self, result: ToolResult, call: ToolCall | None) -> Json:
        content = f"Error: {result_text(result)}" if result.is_error else result.content
        name = result.name or (call.name if call else "")
        tool_name = self._endpoint.wire_name(name) if name else None
        return without_none(role="tool", content=content, tool_name=tool_name, tool_call_id=result.id or None)

    def _media(self, part: MediaPart) -> str:
        """Return an image as base64."""
        if not isinstance(part, ImagePart):
            raise self._unsupported_part(part, "it takes text and images only")
        self._refuse_detail(part)
        content = inline(part)
        if content is None:
            raise self._unsupported_part(part, "it fetches no addresses; give the image as data=")
        return content.base64
