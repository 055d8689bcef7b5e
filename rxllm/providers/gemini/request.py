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
from functools import partial
from urllib.parse import quote, urlsplit

from ..._json import object_at, objects_at, text_at
from ..._protocol import WireRequest
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
from ...options import JsonFormat, Options, Tool
from .._conversation import joined_turns, system_texts, with_media_behind_results, with_results_behind_calls
from .._endpoint import Endpoint
from .._request import (
    body_bytes,
    endpoint_url,
    header_fields,
    inline,
    merged,
    refuse_detail,
    refuse_format_beside_tools,
    result_text,
    unsupported_part,
    without_none,
)
from .._schemas import gemini_schema
from .._tools_and_formats import format_schema, tool_fields, tool_schema
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


_PASTED = r"/openai(?:/chat/completions)?|/models(?:/[^/]*)?"
"""What stands behind the version in the addresses of the OpenAI surface, and of single models."""
_FUNCTION_NAME = r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}"
"""Source: https://ai.google.dev/api/caching#FunctionDeclaration"""


class Gemini:
    """The wire to the Gemini API at one address.

    Args:
        provider: The provider's name, for errors and answers.
        base_url: The host root; a /v1beta or another version at its end stays, a pasted path of a model or of the
            OpenAI surface is cut off.
        api_key: The key; None sends none.
        headers: Further headers; they override those of the wire.
    """

    def __init__(self, *, provider: str, base_url: str, api_key: str | None, headers: Mapping[str, str]) -> None:
        self._base_url = base_url
        self._endpoint = Endpoint(GeminiDecoder.wire, provider, self._url(""), tool_name=_FUNCTION_NAME)
        self._headers = header_fields({"x-goog-api-key": api_key}, headers)

    def request(self, messages: Sequence[Message], model: str, options: Options) -> WireRequest:
        """Build the request for one streamed answer; raise `ConfigurationError` naming what the API cannot take."""
        name = quote(model if "/" in model else f"models/{model}")
        url = self._url(f"/{name}:streamGenerateContent", "alt=sse")
        return WireRequest(url, dict(self._headers), generate_request(messages, model, options, self._endpoint))

    def decoder(self) -> GeminiDecoder:
        """Return a new decoder for one answer."""
        return GeminiDecoder(self._endpoint.provider, self._endpoint)

    def _url(self, path: str, query: str = "") -> str:
        return endpoint_url(self._base_url, "/v1beta", path, query, pasted=_PASTED)


def generate_request(messages: Sequence[Message], model: str, options: Options, endpoint: Endpoint) -> bytes:
    """Build the JSON body. `Options.extra_body` is merged over it, objects into objects, and its tools are added.

    Raises `ConfigurationError` naming the option or part that the API or the model does not take.
    """
    provider = endpoint.provider
    if _BEFORE_LEVELS.search(model):
        refuse_format_beside_tools(options, provider)
    rules = checked_rules("gemini", model, options, provider)
    system: list[_Part] = [{"text": part.text} for part in system_texts(messages, provider) if part.text]
    contents = _Turns(model, endpoint).contents(with_media_behind_results(with_results_behind_calls(messages)))
    if system and _WITHOUT_SYSTEM.search(model):
        contents = [{"role": "user", "parts": system}, *contents]
        if len(contents) > 1 and contents[1]["role"] == "user":
            contents[:2] = [{"role": "user", "parts": [*system, *objects_at(contents[1], "parts")]}]
        system = []
    body: dict[str, object] = {
        "contents": contents,
        "systemInstruction": {"parts": system} if system else None,
        "generationConfig": _generation(model, options, rules, provider) or None,
        "tools": [{"functionDeclarations": [_tool(tool, endpoint) for tool in options.tools]}]
        if options.tools
        else None,
        "toolConfig": _tool_config(options, endpoint),
    }
    return body_bytes(body, options.extra_body)


def _generation(model: str, options: Options, rules: ModelRules | None, provider: str) -> _Part:
    """Return the sampling options, the thinking configuration and the answer format."""
    return without_none(
        temperature=options.temperature,
        topP=options.top_p,
        topK=options.top_k,
        maxOutputTokens=options.max_tokens,
        stopSequences=options.stop or None,
        seed=options.seed,
        frequencyPenalty=options.frequency_penalty,
        presencePenalty=options.presence_penalty,
        thinkingConfig=_thinking(model, options.reasoning, rules),
        **_format(options.response_format, provider),
    )


def _format(wanted: JsonFormat | None, provider: str) -> _Part:
    if wanted is None:
        return {}
    schema = format_schema(wanted, provider, partial(gemini_schema, for_answer=True))
    return without_none(responseMimeType="application/json", responseJsonSchema=schema)


def _thinking(model: str, wanted: str | int | None, rules: ModelRules | None) -> _Part | None:
    """Return a budget as such, an effort as a level, or as a budget for models from before levels."""
    if wanted is None or (is_off(wanted) and rules is not None and rules.off == "nothing"):
        return None
    if is_off(wanted):
        return {"thinkingBudget": 0}
    if isinstance(wanted, str) and not (_BEFORE_LEVELS.search(model) and wanted in _BUDGETS):
        return {"thinkingLevel": wanted.upper(), "includeThoughts": True}
    return {"thinkingBudget": wanted if isinstance(wanted, int) else _BUDGETS[wanted], "includeThoughts": True}


def _tool(tool: Tool, endpoint: Endpoint) -> _Part:
    """Return a function declaration; without parameters if it takes none, since the API refuses empty objects."""
    parameters = tool_schema(tool, endpoint.provider, partial(gemini_schema, for_answer=False))
    takes_nothing = set(parameters) <= {"type", "properties", "required"} and not parameters.get("properties")
    return tool_fields(tool, endpoint, parametersJsonSchema=None if takes_nothing else parameters)


def _tool_config(options: Options, endpoint: Endpoint) -> _Part | None:
    """Return which functions may be called. Every mode but AUTO enforces their schemas; VALIDATED is AUTO that does."""
    choice = options.tool_choice
    if choice in (None, "auto") and any(tool.strict for tool in options.tools):
        mode = "VALIDATED"
    elif choice is None:
        return None
    else:
        mode = {"auto": "AUTO", "none": "NONE"}.get(choice, "ANY")
    names = None if choice in (None, "auto", "none", "required") else [endpoint.wire_name(choice)]
    return {"functionCallingConfig": without_none(mode=mode, allowedFunctionNames=names)}


class _Turns:
    """The conversation as the API's contents; knows the calls already made, as results are named after them."""

    def __init__(self, model: str, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._provider = endpoint.provider
        self._checks_signatures = _CHECKS_SIGNATURES.search(model) is not None
        self._calls: dict[str, ToolCall] = {}

    def contents(self, messages: Sequence[Message]) -> list[_Part]:
        """Return turns of "user" and "model"; neighbours of one role are joined, system messages are left out."""
        turns = (
            ("model" if message.role == "assistant" else "user", self._parts(message))
            for message in messages
            if message.role != "system"
        )
        return [{"role": role, "parts": parts} for role, parts in joined_turns(turns, self._provider)]

    def _parts(self, message: Message) -> list[_Part]:
        parts = [wire_part for part in message.parts if (wire_part := self._part(part))]
        if self._checks_signatures:
            first = next((part for part in parts if "functionCall" in part), None)
            if first is not None:
                first.setdefault("thoughtSignature", _UNCHECKED)
        return parts

    def _part(self, part: Part) -> _Part | None:
        """Return the API's part; None if the API has none for it."""
        match part:
            case TextPart():
                own = self._endpoint.fields(part.vendor)
                return {"text": part.text, **own} if part.text or own else None
            case ReasoningPart():
                own = self._endpoint.fields(part.vendor)
                return {"text": part.text, "thought": True, **own} if own else None
            case ToolCall():
                self._calls[part.id] = part
                name = self._endpoint.wire_name(part.name)
                call: _Part = {"functionCall": {"name": name, "args": part.arguments}}
                return merged(call, self._endpoint.fields(part.vendor))
            case ToolResult():
                return {"functionResponse": self._result(part)}
            case ImagePart():
                refuse_detail(part, self._provider)
                return _file(part)
            case DocumentPart() | AudioPart():
                return _file(part)
            case VendorPart():
                return part.data if self._endpoint.is_own(part) else None

    def _result(self, result: ToolResult) -> _Part:
        """Return a function response under the name, and the vendor's own id, of the call that it answers."""
        call = self._calls.get(result.id)
        name = result.name or (call.name if call else "")
        if not name:
            advice = f"it wants the function's name, and no earlier call has the id {result.id!r}; give name="
            raise unsupported_part(result, self._provider, advice)
        own = self._endpoint.fields(call.vendor if call else None)
        answer = {"error" if result.is_error else "output": result_text(result)}
        call_id = text_at(object_at(own, "functionCall"), "id")
        return without_none(id=call_id, name=self._endpoint.wire_name(name), response=answer)


def _file(part: ImagePart | DocumentPart | AudioPart) -> _Part:
    """Return inline bytes or an address, which needs a media type: by its ending if none is given."""
    label = part.name if isinstance(part, DocumentPart) else None
    content = inline(part)
    if content is not None:
        return {"inlineData": without_none(mimeType=content.media_type, data=content.base64, displayName=label)}
    suffix = urlsplit(part.url or "").path.rpartition(".")[2].lower()
    media_type = part.media_type or _MEDIA_TYPES.get(suffix)
    return {"fileData": without_none(mimeType=media_type, fileUri=part.url, displayName=label)}
