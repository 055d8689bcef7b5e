"""Requests of OpenAI Chat Completions, in a vendor's dialect: address, headers and body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import starmap
from urllib.parse import urlsplit

from ..._json import Json, is_array, text_at
from ...errors import ConfigurationError
from ...messages import (
    AudioPart,
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
from .._request import data_url, inline, json_bytes, merged, refuse_options, result_text, without_none
from .._vendor_wire import VendorWire, option_fields
from ..model_rules import ModelRules, check_tools_on_chat, checked_rules, is_off
from .decoder import OpenAIChatDecoder
from .dialect import GATEWAY, Dialect
from .reasoning import DETAILS


class OpenAIChat(VendorWire):
    """The wire to Chat Completions.

    Args:
        provider: The provider's name, for errors and answers.
        base_url: The address before /chat/completions, which may have a query; a pasted full address works too.
        api_key: The key; None sends none.
        headers: Further headers; they override those of the wire.
        dialect: What the vendor takes; by default what an unknown gateway takes.
    """

    decoder_class = OpenAIChatDecoder
    path = "/chat/completions"
    pasted = "/completions|/models"

    def __init__(
        self,
        *,
        provider: str,
        base_url: str,
        api_key: str | None,
        headers: Mapping[str, str],
        dialect: Dialect = GATEWAY,
    ) -> None:
        if urlsplit(base_url).path.rstrip("/").endswith("/responses"):
            raise ConfigurationError(
                f"the base_url for {provider!r} is that of the Responses API: use the provider 'openai-responses'",
                provider=provider,
            )
        self._dialect = dialect
        self.key_header = dialect.key_header
        self.call_ids = dialect.call_ids
        self.option_names = option_fields(
            *("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty", "stop"),
            seed=dialect.seed,
            max_tokens=dialect.max_tokens,
        )
        super().__init__(provider=provider, base_url=base_url, api_key=api_key, headers=headers)

    def _body(self, messages: Sequence[Message], model: str, options: Options) -> Json:
        """Return the fields of a Chat Completions request in the vendor's dialect; None marks a field to leave out."""
        dialect = self._dialect
        refuse_options(dialect.unsupported, options, self._provider, "extra_body= sends fields that only it knows")
        rules = checked_rules(dialect.rules, model, options, self._provider)
        if rules is not None:
            check_tools_on_chat(rules, options, self._provider, model)
        if not dialect.format_beside_tools:
            self._refuse_format_beside_tools(options)
        return {
            "model": model,
            "messages": self._messages(messages, with_tools=bool(options.tools)),
            "stream": True,
            "stream_options": {"include_usage": True} if dialect.stream_options else None,
            **self._option_fields(options),
            "response_format": self._response_format(options),
            "tools": [self._tool(tool) for tool in options.tools] or None,
            "tool_choice": self._tool_choice(
                options,
                {"auto": "auto", "none": "none", "required": dialect.required_choice},
                lambda name: {"type": "function", "function": {"name": name}},
            ),
            **self._reasoning(options.reasoning, rules),
        }

    def _reasoning(self, wanted: str | int | None, rules: ModelRules | None) -> Json:
        """Return the fields for an effort or a budget; how thinking is turned off depends on dialect and model."""
        dialect = self._dialect
        if wanted is None:
            return {}
        if is_off(wanted):
            if dialect.reasoning_budget is not None:
                return {dialect.reasoning_budget: 0}
            if rules is not None and rules.off == "nothing":
                return {}
            return dict(dialect.reasoning_off or {"reasoning_effort": "none"})
        if dialect.reasoning == "reasoning":
            return {"reasoning": {"effort" if isinstance(wanted, str) else "max_tokens": wanted}}
        if isinstance(wanted, str):
            return {"reasoning_effort": wanted}
        if dialect.reasoning_budget is None:
            raise self._unsupported("reasoning", 'it takes an effort such as "low", no token budget')
        return {dialect.reasoning_budget: wanted}

    def _response_format(self, options: Options) -> Json | None:
        """Return the requested format, or its nearest that the vendor knows."""
        wanted, dialect = options.response_format, self._dialect
        if wanted is None:
            return None
        if wanted.schema is None and "json_object" in dialect.formats:
            return {"type": "json_object"}
        if "json_schema" not in dialect.formats:
            raise self._unsupported("response_format", 'it knows "json" only, no schemas')
        return {"type": "json_schema", "json_schema": self._openai_format(wanted, object_root=dialect.object_root)}

    def _tool(self, tool: Tool) -> Json:
        return {"type": "function", "function": self._openai_tool(tool, strict=tool.strict)}

    def _messages(self, messages: Sequence[Message], *, with_tools: bool) -> list[Json]:
        """Return the `messages` field; each tool result becomes a wire message of its own.

        Reasoning goes back to the endpoint that made it, to most only while tools are in play: there the model
        thinks on from it. Raises `ConfigurationError` naming a part that the vendor does not support.
        """
        dialect = self._dialect
        tools_in_play = with_tools or any(message.tool_calls for message in messages)
        reasoning_back = dialect.reasoning_back if tools_in_play or dialect.reasoning_back_without_tools else ()
        wire_messages: list[Json] = []
        for message in self._repaired(_system_first(messages) if dialect.one_system_message else messages):
            results = [part for part in message.parts if isinstance(part, ToolResult)]
            for result in results:
                wire_messages.append({"role": "tool", "tool_call_id": result.id, "content": result_text(result)})
            if message.role == "assistant":
                wire_messages += self._assistant(message, reasoning_back)
            elif len(results) < len(message.parts) or not results:
                if dialect.message_after_tool is not None and wire_messages and wire_messages[-1]["role"] == "tool":
                    wire_messages.append({"role": "assistant", "content": dialect.message_after_tool})
                wire_messages.append(self._user_or_system(message))
        return wire_messages

    def _assistant(self, message: Message, reasoning_back: Sequence[str]) -> list[Json]:
        """Return the wire message; none for an answer of which nothing can go back, such as one cut while it thought.

        A refusal goes back as text: the field it came in is known to few servers, and refused by some.
        """
        for part in message.parts:
            if isinstance(part, MediaPart):
                raise self._unsupported_part(part, "assistant messages can contain text only")
        calls = [self._call(call) for call in message.tool_calls]
        fields = self._fields_back(message.parts, reasoning_back)
        refusal, thinking = fields.pop("refusal", ""), fields.pop("content", None)
        text = message.text or str(refusal)
        if not calls and not text.strip():
            return []
        content: object = text or (self._dialect.empty_content if calls else "")
        if is_array(thinking):
            content = [*thinking, *([{"type": "text", "text": text}] if text else [])]
        if calls and self._dialect.reasoning_on_calls is not None:
            fields.setdefault(self._dialect.reasoning_on_calls, "")
        return [{"role": "assistant", "content": content, **({"tool_calls": calls} if calls else {}), **fields}]

    def _call(self, call: ToolCall) -> Json:
        function = {"name": self._endpoint.wire_name(call.name), "arguments": json_bytes(call.arguments).decode()}
        return merged({"id": call.id, "type": "function", "function": function}, self._endpoint.fields(call.vendor))

    def _fields_back(self, parts: Sequence[Part], reasoning_back: Sequence[str]) -> Json:
        """Return the message fields that go back to the endpoint that made them: a vendor part's, and reasoning.

        Reasoning goes in the field in which it came, and stays out if `reasoning_details`, which hold it too, go back.
        """
        fields: Json = {}
        thoughts: list[tuple[str, str | None]] = []
        reasoning_field = ""
        for part in parts:
            if isinstance(part, VendorPart) and self._endpoint.is_own(part):
                for name, value in part.data.items():
                    if name in (DETAILS, *self._dialect.reasoning_back):
                        goes_back = name in reasoning_back
                    else:
                        is_known = name == "refusal" or part.wire == self._endpoint.wire
                        goes_back = is_known or self._dialect.unknown_fields_back
                    fields |= {name: value} if goes_back else {}
            elif isinstance(part, ReasoningPart) and (own := self._endpoint.fields(part.vendor)):
                thoughts.append((part.text, text_at(own, "signature")))
                reasoning_field = reasoning_field or text_at(own, "field") or ""
        if reasoning_field in reasoning_back and reasoning_field != DETAILS and DETAILS not in fields:
            as_text = "".join(text for text, _ in thoughts)
            fields[reasoning_field] = list(starmap(_thinking, thoughts)) if reasoning_field == "content" else as_text
        return fields

    def _user_or_system(self, message: Message) -> Json:
        """Return a user or system message: text alone as text, which every server takes; else a list of parts."""
        role = "system" if message.role == "system" else "user"
        others = [part for part in message.parts if isinstance(part, MediaPart | ToolCall)]
        if not others:
            return {"role": role, "content": message.text}
        if role == "system":
            raise self._unsupported_part(others[0], "a system message is text only")
        sent = (part for part in message.parts if isinstance(part, TextPart | MediaPart | ToolCall))
        return {"role": role, "content": list(map(self._part, sent))}

    def _part(self, part: TextPart | MediaPart | ToolCall) -> Json:
        """Return a content part in the form that the dialect takes; raise `ConfigurationError` if it takes none."""
        if isinstance(part, ToolCall):
            raise self._unsupported_part(part, "it belongs into an assistant message")
        return {"type": "text", "text": part.text} if isinstance(part, TextPart) else self._media(part)

    def _media(self, part: MediaPart) -> Json:
        if isinstance(part, ImagePart):
            return {"type": "image_url", "image_url": without_none(url=data_url(part), detail=part.detail)}
        return self._document(part) if isinstance(part, DocumentPart) else self._audio(part)

    def _document(self, part: DocumentPart) -> Json:
        """Return a document in the form that the dialect takes; raise `ConfigurationError` if it takes none."""
        file = inline(part)
        match self._dialect.documents:
            case None:
                raise self._unsupported_part(part, "put its text into the prompt")
            case "document_url":
                return without_none(type="document_url", document_url=data_url(part), document_name=part.name)
            case "file_url":
                where = {"url": file.base64 if file else part.url}
                return without_none(type="file_url", file_url=where, file_name=part.name)
            case "file" if file is None:
                raise self._unsupported_part(part, "give its bytes as data=, not its URL")
            case _:
                return {"type": "file", "file": {"filename": part.name or "document", "file_data": data_url(part)}}

    def _audio(self, part: AudioPart) -> Json:
        """Return a sound with its format, the end of its media type; raise `ConfigurationError` if it takes none."""
        sound = inline(part)
        if self._dialect.audio is None:
            raise self._unsupported_part(part, "it does not listen")
        if self._dialect.audio == "text":
            return {"type": "input_audio", "input_audio": sound.base64 if sound else part.url}
        if sound is None:
            raise self._unsupported_part(part, "give its bytes as data=, not its URL")
        kind = sound.media_type.partition(";")[0].rpartition("/")[2].removeprefix("x-")
        return {"type": "input_audio", "input_audio": {"data": sound.base64, "format": _AUDIO_FORMATS.get(kind, kind)}}


def _system_first(messages: Sequence[Message]) -> Sequence[Message]:
    """Return the messages with the texts of all system messages joined to one at the front."""
    system = "\n\n".join(message.text for message in messages if message.role == "system" and message.text)
    others = [message for message in messages if message.role != "system"]
    return [Message.system(system), *others] if system else others


def _thinking(text: str, signature: str | None) -> Json:
    """Return a thought as a part of the content: Mistral's form."""
    words = [{"type": "text", "text": text}] if text else []
    return without_none(type="thinking", thinking=words, signature=signature)


_AUDIO_FORMATS = {"mpeg": "mp3", "wave": "wav", "vnd.wave": "wav", "mp4": "m4a"}
"""The names of formats that are not the end of their media type."""
