"""The body of a Gemini generateContent request.

The API takes system text beside the conversation, and turns of user and model: system messages are
hoisted in their order, tool results belong to the user, neighbours of one role are joined.

Parts go back as they came: their `vendor["gemini"]` (thought signatures, a call's own id) is merged
into them. Gemini 3 refuses a turn whose first function call has no signature; where the call was
made by another model, the API's own word for "do not check" stands in for one.

Source: https://ai.google.dev/api/generate-content
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from ..._json import object_at, text_at
from ...errors import ConfigurationError
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
from ...options import JsonFormat, Options, ReasoningEffort, Tool
from .._request import (
    body_bytes,
    inline,
    merged,
    refuse_detail,
    refuse_format_beside_tools,
    unsupported_part,
    vendor_fields,
    without_none,
)

WIRE = "gemini"

_BUDGETS: Mapping[ReasoningEffort, int] = {"low": 1024, "medium": 8192, "high": 24_576}
"""Thinking tokens for an effort, on Gemini 2.5, which knows no levels."""
_KNOWS_NO_LEVELS = re.compile(r"gemini-[12]\b")
_ONE_OR_THE_OTHER = _KNOWS_NO_LEVELS
"""The same models refuse a JSON answer beside function calls: https://github.com/googleapis/python-genai/issues/867"""
_CHECKS_SIGNATURES = re.compile(r"gemini-(?:[3-9]|\d\d)")
_UNCHECKED = "skip_thought_signature_validator"
_MEDIA_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "heic": "image/heic",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "mp3": "audio/mp3",
    "wav": "audio/wav",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
}

_Part = dict[str, object]


def generate_request(messages: Sequence[Message], model: str, options: Options, provider: str) -> bytes:
    """Build the JSON body. `Options.extra_body` is merged over it, objects into objects.

    Raises `ConfigurationError` naming the option or part that the API cannot take.
    """
    if _ONE_OR_THE_OTHER.search(model):
        refuse_format_beside_tools(options, provider)
    system = _system(messages, provider)
    body: dict[str, object] = {
        "contents": _Turns(model, provider).contents(messages),
        "systemInstruction": {"parts": system} if system else None,
        "generationConfig": _generation(model, options) or None,
        "tools": [{"functionDeclarations": [_tool(tool) for tool in options.tools]}] if options.tools else None,
        "toolConfig": _tool_config(options),
    }
    return body_bytes(body, options.extra_body)


def _generation(model: str, options: Options) -> _Part:
    return without_none(
        temperature=options.temperature,
        topP=options.top_p,
        topK=options.top_k,
        maxOutputTokens=options.max_tokens,
        stopSequences=options.stop or None,
        seed=options.seed,
        frequencyPenalty=options.frequency_penalty,
        presencePenalty=options.presence_penalty,
        thinkingConfig=_thinking(model, options.reasoning),
        **_format(options.response_format),
    )


def _format(wanted: JsonFormat | None) -> _Part:
    if wanted is None:
        return {}
    return without_none(responseMimeType="application/json", responseJsonSchema=wanted.schema)


def _thinking(model: str, wanted: ReasoningEffort | int | None) -> _Part | None:
    """Return a budget as such, an effort as a level, or as a budget for models from before levels."""
    if wanted is None:
        return None
    if isinstance(wanted, str) and not _KNOWS_NO_LEVELS.search(model):
        return {"thinkingLevel": wanted.upper(), "includeThoughts": True}
    budget = wanted if isinstance(wanted, int) else _BUDGETS[wanted]
    return {"thinkingBudget": budget, **({"includeThoughts": True} if budget else {})}


def _tool(tool: Tool) -> _Part:
    """Return a function declaration; without parameters where it takes none, since the API refuses empty objects."""
    takes_nothing = set(tool.parameters) <= {"type", "properties", "required"} and not tool.parameters.get("properties")
    return without_none(
        name=tool.name,
        description=tool.description or None,
        parametersJsonSchema=None if takes_nothing else tool.parameters,
    )


def _tool_config(options: Options) -> _Part | None:
    """Return which functions may be called. Every mode but AUTO enforces their schemas; VALIDATED is AUTO that does."""
    strict = any(tool.strict for tool in options.tools)
    match options.tool_choice:
        case None | "auto" if strict:
            mode = {"mode": "VALIDATED"}
        case None:
            return None
        case "auto":
            mode = {"mode": "AUTO"}
        case "none":
            mode = {"mode": "NONE"}
        case "required":
            mode = {"mode": "ANY"}
        case name:
            return {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [name]}}
    return {"functionCallingConfig": mode}


def _system(messages: Sequence[Message], provider: str) -> list[_Part]:
    parts: list[_Part] = []
    for part in (part for message in messages if message.role == "system" for part in message.parts):
        if not isinstance(part, TextPart):
            raise unsupported_part(part, provider, "a system message is text")
        if part.text:
            parts.append({"text": part.text})
    return parts


class _Turns:
    """The conversation as the API's contents; knows the calls already made, as results are named after them."""

    def __init__(self, model: str, provider: str) -> None:
        self._provider = provider
        self._checks_signatures = _CHECKS_SIGNATURES.search(model) is not None
        self._calls: dict[str, ToolCall] = {}

    def contents(self, messages: Sequence[Message]) -> list[_Part]:
        turns: list[tuple[str, list[_Part]]] = []
        for message in messages:
            parts = [] if message.role == "system" else self._parts(message)
            role = "model" if message.role == "assistant" else "user"
            if parts and turns and turns[-1][0] == role:
                turns[-1][1].extend(parts)
            elif parts:
                turns.append((role, parts))
        if not turns:
            needs = "needs at least one message that is not a system message and not empty"
            raise ConfigurationError(f"{self._provider!r} {needs}", provider=self._provider)
        return [{"role": role, "parts": parts} for role, parts in turns]

    def _parts(self, message: Message) -> list[_Part]:
        parts = [wire_part for part in message.parts if (wire_part := self._part(part))]
        if self._checks_signatures:
            first = next((part for part in parts if "functionCall" in part), None)
            if first is not None:
                first.setdefault("thoughtSignature", _UNCHECKED)
        return parts

    def _part(self, part: Part) -> _Part | None:
        """Return the API's part; None where the API has none for it."""
        match part:
            case TextPart():
                own = vendor_fields(part.vendor, WIRE)
                return {"text": part.text, **own} if part.text or own else None
            case ReasoningPart():
                own = vendor_fields(part.vendor, WIRE)
                return {"text": part.text, "thought": True, **own} if own else None
            case ToolCall():
                self._calls[part.id] = part
                call: _Part = {"functionCall": {"name": part.name, "args": part.arguments}}
                return merged(call, vendor_fields(part.vendor, WIRE))
            case ToolResult():
                return {"functionResponse": self._result(part)}
            case ImagePart():
                refuse_detail(part, self._provider)
                return _file(part)
            case DocumentPart() | AudioPart():
                return _file(part)
            case VendorPart():
                return part.data if part.wire == WIRE else None

    def _result(self, result: ToolResult) -> _Part:
        call = self._calls.get(result.id)
        name = result.name or (call.name if call else "")
        if not name:
            advice = f"it wants the function's name, and no earlier call has the id {result.id!r}; give name="
            raise unsupported_part(result, self._provider, advice)
        own = vendor_fields(call.vendor, WIRE) if call else {}
        answer = {"error" if result.is_error else "output": result.content}
        return without_none(id=text_at(object_at(own, "functionCall"), "id"), name=name, response=answer)


def _file(part: ImagePart | DocumentPart | AudioPart) -> _Part:
    label = part.name if isinstance(part, DocumentPart) else None
    content = inline(part)
    if content is not None:
        return {"inlineData": without_none(mimeType=content.media_type, data=content.base64, displayName=label)}
    suffix = urlsplit(part.url or "").path.rpartition(".")[2].lower()
    media_type = part.media_type or _MEDIA_TYPES.get(suffix)
    return {"fileData": without_none(mimeType=media_type, fileUri=part.url, displayName=label)}
