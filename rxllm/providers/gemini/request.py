"""Requests of Gemini generateContent: address, headers and body.

The API takes system text beside the conversation, and turns of user and model: system messages are
hoisted in their order, tool results belong to the user, neighbours of one role are joined.

Parts go back as they came: their `vendor["gemini"]` (thought signatures, a call's own id) is merged
into them. Gemini 3 refuses a turn whose first function call has no signature; if the call was
made by another model, the API's own word for "do not check" stands in for one.

Source: https://ai.google.dev/api/generate-content
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote, urlsplit

from ..._json import Json, object_at, text_at
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
from .._conversation import calls_by_id, system_texts, turns_of
from .._request import endpoint_url, inline, merged, result_text, without_none
from .._schemas.gemini import GeminiAnswerSchema, GeminiSchema
from .._vendor_wire import VendorWire, option_fields
from ..model_rules import ModelRules, checked_rules, is_off
from .decoder import GeminiDecoder

_BUDGETS: Mapping[str, int] = {"low": 1024, "medium": 8192, "high": 24_576}
"""Thinking tokens for an effort, on Gemini 2.5, which knows no levels."""
_BEFORE_LEVELS = re.compile(r"gemini-[12]\b")
"""These models refuse a JSON answer beside function calls too: https://github.com/googleapis/python-genai/issues/867"""
_CHECKS_SIGNATURES = re.compile(r"gemini-(?![12]\b)")
"""Gemini 3 and later, under its aliases such as gemini-flash-latest too."""
_UNCHECKED = "skip_thought_signature_validator"
_WITHOUT_SYSTEM = re.compile(r"gemma-[123]\b")
"""Models that answer 400 to a system instruction: "Developer instruction is not enabled"."""
_MEDIA_TYPES = {
    **{name: f"image/{name}" for name in ("png", "jpeg", "webp", "gif", "heic")},
    **{name: f"audio/{name}" for name in ("mp3", "wav", "ogg", "flac")},
    "jpg": "image/jpeg",
    "pdf": "application/pdf",
    "txt": "text/plain",
}


class Gemini(VendorWire):
    """The wire to the Gemini API."""

    decoder_class = GeminiDecoder
    version, path = "/v1beta", ""
    pasted = r"/openai(?:/chat/completions)?|/models(?:/[^/]*)?"
    """What stands behind the version in the addresses of the OpenAI surface, and of single models."""
    key_header = "x-goog-api-key"
    option_names = option_fields(
        *("temperature", "seed"),
        top_p="topP",
        top_k="topK",
        max_tokens="maxOutputTokens",
        stop="stopSequences",
        frequency_penalty="frequencyPenalty",
        presence_penalty="presencePenalty",
    )
    tool_names = r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}"
    """Source: https://ai.google.dev/api/caching#FunctionDeclaration"""
    refuses_orphans = False

    def _url(self, model: str = "") -> str:
        """Return the address of requests to `model`; without one, that of the API."""
        if not model:
            return super()._url()
        path = f"/{quote(model if '/' in model else f'models/{model}')}:streamGenerateContent"
        return endpoint_url(self._base_url, self.version, path, "alt=sse", pasted=self.pasted)

    def _body(self, messages: Sequence[Message], model: str, options: Options) -> Json:
        """Return the fields of a `streamGenerateContent` request; None marks a field to leave out."""
        if _BEFORE_LEVELS.search(model):
            self._refuse_format_beside_tools(options)
        rules = checked_rules("gemini", model, options, self._provider)
        system = system_texts(messages, self._provider)
        messages = self._repaired(messages)
        if _WITHOUT_SYSTEM.search(model):
            messages, system = [Message("user", system), *messages], ()
        instruction = [{"text": part.text} for part in system if part.text]
        generation = {
            **self._option_fields(options),
            **without_none(thinkingConfig=_thinking(model, options.reasoning, rules)),
            **self._format(options),
        }
        return {
            "contents": self._contents(messages, model),
            "systemInstruction": {"parts": instruction} if instruction else None,
            "generationConfig": generation or None,
            "tools": [{"functionDeclarations": list(map(self._tool, options.tools))}] if options.tools else None,
            "toolConfig": self._tool_config(options),
        }

    def _format(self, options: Options) -> Json:
        wanted = options.response_format
        if wanted is None:
            return {}
        schema = self._format_schema(wanted, GeminiAnswerSchema)
        return without_none(responseMimeType="application/json", responseJsonSchema=schema)

    def _tool(self, tool: Tool) -> Json:
        """Return a function declaration; without parameters if it takes none, since the API refuses empty objects."""
        field = "parametersJsonSchema"
        declaration = self._tool_fields(tool, field, GeminiSchema)
        parameters = object_at(declaration, field)
        if set(parameters) <= {"type", "properties", "required"} and not parameters.get("properties"):
            del declaration[field]
        return declaration

    def _tool_config(self, options: Options) -> Json | None:
        """Return which functions may be called.

        Every mode but AUTO enforces their schemas; VALIDATED is AUTO that does.
        """
        is_strict = any(tool.strict for tool in options.tools)
        words = {"auto": "VALIDATED" if is_strict else "AUTO", "none": "NONE", "required": "ANY"}
        modes = {choice: {"mode": mode} for choice, mode in words.items()}
        config = self._tool_choice(options, modes, lambda name: {"mode": "ANY", "allowedFunctionNames": [name]})
        if config is None and is_strict:
            config = modes["auto"]
        return {"functionCallingConfig": config} if config else None

    def _contents(self, messages: Sequence[Message], model: str) -> list[Json]:
        """Return the turns; in each message to a model that checks signatures, the first call has one."""
        checks_signatures = _CHECKS_SIGNATURES.search(model) is not None
        calls = calls_by_id(messages)

        def parts_of(message: Message) -> list[Json]:
            """Return the parts of a message that the API has."""
            parts = [wire_part for part in message.parts if (wire_part := self._part(part, calls))]
            first_call = next((part for part in parts if "functionCall" in part), None)
            if checks_signatures and first_call is not None:
                first_call.setdefault("thoughtSignature", _UNCHECKED)
            return parts

        turns = turns_of(messages, parts_of, self._provider)
        return [{"role": "model" if by_model else "user", "parts": parts} for by_model, parts in turns]

    def _part(self, part: Part, calls: Mapping[str, ToolCall]) -> Json | None:
        """Return the API's part; None if the API has none for it."""
        match part:
            case TextPart():
                own = self._endpoint.fields(part.vendor)
                return {"text": part.text, **own} if part.text or own else None
            case ReasoningPart():
                own = self._endpoint.fields(part.vendor)
                return {"text": part.text, "thought": True, **own} if own else None
            case ToolCall():
                call = {"name": self._endpoint.wire_name(part.name), "args": part.arguments}
                return merged({"functionCall": call}, self._endpoint.fields(part.vendor))
            case ToolResult():
                return {"functionResponse": self._result(part, calls.get(part.id))}
            case VendorPart():
                return part.data if self._endpoint.is_own(part) else None
            case _:
                return self._media(part)

    def _result(self, result: ToolResult, call: ToolCall | None) -> Json:
        """Return a function response under the name, and the vendor's own id, of the call that it answers."""
        name = result.name or (call.name if call else "")
        if not name:
            advice = f"it wants the function's name, and no earlier call has the id {result.id!r}; give name="
            raise self._unsupported_part(result, advice)
        own = self._endpoint.fields(call.vendor if call else None)
        answer = {"error" if result.is_error else "output": result_text(result)}
        call_id = text_at(object_at(own, "functionCall"), "id")
        return without_none(id=call_id, name=self._endpoint.wire_name(name), response=answer)

    def _media(self, part: MediaPart) -> Json:
        """Return inline bytes or an address, which needs a media type: by its ending if none is given."""
        if isinstance(part, ImagePart):
            self._refuse_detail(part)
        label = part.name if isinstance(part, DocumentPart) else None
        content = inline(part)
        if content is not None:
            return {"inlineData": without_none(mimeType=content.media_type, data=content.base64, displayName=label)}
        suffix = urlsplit(part.url or "").path.rpartition(".")[2].lower()
        media_type = part.media_type or _MEDIA_TYPES.get(suffix)
        return {"fileData": without_none(mimeType=media_type, fileUri=part.url, displayName=label)}


def _thinking(model: str, wanted: str | int | None, rules: ModelRules | None) -> Json | None:
    """Return a budget as such, an effort as a level, or as a budget for models from before levels."""
    if wanted is None or (is_off(wanted) and rules is not None and rules.off == "nothing"):
        return None
    if is_off(wanted):
        return {"thinkingBudget": 0}
    if isinstance(wanted, str) and not (_BEFORE_LEVELS.search(model) and wanted in _BUDGETS):
        return {"thinkingLevel": wanted.upper(), "includeThoughts": True}
    return {"thinkingBudget": wanted if isinstance(wanted, int) else _BUDGETS[wanted], "includeThoughts": True}
