"""Requests of Ollama /api/chat: address, headers and body.

A message here has one text, its images beside it: text parts are joined, by line breaks but for the
model's own, which are pieces of one text. Each tool result is a message.

Source: https://docs.ollama.com/api/chat
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..._protocol import WireRequest
from ...messages import (
    AudioPart,
    DocumentPart,
    ImagePart,
    MediaPart,
    Message,
    ReasoningPart,
    TextPart,
    ToolCall,
    ToolResult,
    VendorPart,
)
from ...options import JsonFormat, Options, Tool
from .._conversation import with_media_behind_results, with_results_behind_calls, with_supported_media
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
    unsupported_option,
    unsupported_part,
    without_none,
)
from .._schemas import inlined_parameters
from .._tools_and_formats import tool_schema
from ..model_rules import is_off
from .decoder import OllamaDecoder

_Object = dict[str, object]


class Ollama:
    """The wire to the chat API at one address.

    Args:
        provider: The provider's name, for errors and answers.
        base_url: The host root; an /api, an /api/chat or the /v1 of its OpenAI surface at the end is cut off.
        api_key: The key; None sends none.
        headers: Further headers; they override those of the wire.
    """

    def __init__(self, *, provider: str, base_url: str, api_key: str | None, headers: Mapping[str, str]) -> None:
        self._url = endpoint_url(base_url, "/api", "/chat", pasted="/v1(?:/chat/completions)?|/api/generate")
        self._endpoint = Endpoint(OllamaDecoder.wire, provider, self._url)
        bearer = f"Bearer {api_key}" if api_key else None
        self._headers = header_fields({"Authorization": bearer}, headers, accept="application/x-ndjson")

    def request(self, messages: Sequence[Message], model: str, options: Options) -> WireRequest:
        """Build the request for one streamed answer; raise `ConfigurationError` naming what the API cannot take."""
        body = chat_request(messages, model, options, self._endpoint)
        return WireRequest(
            self._url, dict(self._headers), body, framing="ndjson", if_refused="start Ollama: ollama serve"
        )

    def decoder(self) -> OllamaDecoder:
        """Return a new decoder for one answer."""
        return OllamaDecoder(self._endpoint.provider, self._endpoint)


def chat_request(messages: Sequence[Message], model: str, options: Options, endpoint: Endpoint) -> bytes:
    """Build the JSON body. `Options.extra_body` is merged over it: {"options": {"num_ctx": 8192}}.

    Raises `ConfigurationError` naming the option or part that the API cannot take.
    """
    provider = endpoint.provider
    # https://github.com/ollama/ollama/issues/11185: a format keeps the model from the words that call a tool.
    refuse_format_beside_tools(options, provider)
    body: dict[str, object] = {
        "model": model,
        "messages": list(_messages(_history(messages, endpoint.provider), endpoint)),
        "tools": _tools(options, endpoint),
        "think": _think(options.reasoning, provider),
        "format": _format(options.response_format),
        "options": _sampling(options) or None,
        "stream": True,
    }
    return body_bytes(body, options.extra_body)


def _sampling(options: Options) -> _Object:
    """Return the `options` field: the sampling options under the names of the API."""
    return without_none(
        temperature=options.temperature,
        num_predict=options.max_tokens,
        top_p=options.top_p,
        top_k=options.top_k,
        frequency_penalty=options.frequency_penalty,
        presence_penalty=options.presence_penalty,
        stop=options.stop or None,
        seed=options.seed,
    )


def _think(wanted: str | int | None, provider: str) -> str | bool | None:
    """Return the `think` field: an effort, False for off, or None for the default of the model."""
    if wanted is None:
        return None
    if is_off(wanted):
        return False
    if isinstance(wanted, int):
        raise unsupported_option("reasoning", provider, 'it has no token budget; say "low", "medium", "high" or 0')
    return wanted


def _format(wanted: JsonFormat | None) -> object:
    if wanted is None:
        return None
    return "json" if wanted.schema is None else wanted.schema


def _tools(options: Options, endpoint: Endpoint) -> list[_Object] | None:
    """Return the tools; with the choice "none" no tools are offered."""
    provider = endpoint.provider
    if options.tool_choice not in (None, "auto", "none"):
        raise unsupported_option("tool_choice", provider, 'the model always chooses itself; say "auto" or "none"')
    if not options.tools or options.tool_choice == "none":
        return None
    if any(tool.strict for tool in options.tools):
        raise unsupported_option("Tool(strict=True)", provider, "it holds no model to a tool's schema")
    return [_tool(tool, endpoint) for tool in options.tools]


def _tool(tool: Tool, endpoint: Endpoint) -> _Object:
    parameters = tool_schema(tool, endpoint.provider, inlined_parameters)
    name = endpoint.wire_name(tool.name)
    return {"type": "function", "function": {"name": name, "description": tool.description, "parameters": parameters}}


def _history(messages: Sequence[Message], provider: str) -> Sequence[Message]:
    def encode(part: MediaPart) -> str:
        if not isinstance(part, ImagePart):
            raise unsupported_part(part, provider, "it takes text and images only")
        return _image(part, provider)

    return with_media_behind_results(with_supported_media(with_results_behind_calls(messages), encode))


def _messages(messages: Sequence[Message], endpoint: Endpoint) -> Iterable[_Object]:
    """Yield the messages; each tool result is one of its own and names its function."""
    names: dict[str, str] = {}
    for message in messages:
        names.update((call.id, call.name) for call in message.tool_calls)
        wire_message = _message(message, endpoint)
        if len(wire_message) > 1:  # more than its role
            yield wire_message
        for part in message.parts:
            if isinstance(part, ToolResult):
                name = part.name or names.get(part.id, "")
                yield _result(part, endpoint.wire_name(name) if name else "")


def _message(message: Message, endpoint: Endpoint) -> _Object:
    """Return a message without its tool results: its role, and its text, images and calls, if any."""
    texts: list[str] = []
    thoughts: list[str] = []
    images: list[str] = []
    calls: list[_Object] = []
    own: _Object = {}
    for part in message.parts:
        match part:
            case TextPart():
                texts.append(part.text)
            case ReasoningPart():
                if part.vendor is None or endpoint.fields(part.vendor):
                    thoughts.append(part.text)
            case ToolCall():
                calls.append(_call(part, endpoint))
            case ImagePart():
                images.append(_image(part, endpoint.provider))
            case DocumentPart() | AudioPart():
                raise unsupported_part(part, endpoint.provider, "it takes text and images only")
            case VendorPart() if endpoint.is_own(part):
                own |= part.data
            case ToolResult() | VendorPart():
                pass
    result: _Object = {"role": "user" if message.role == "tool" else message.role}
    content = ("" if message.role == "assistant" else "\n").join(texts)
    if content or images or calls:
        result["content"] = content
    if message.role == "assistant" and not (content.strip() or calls):
        return {"role": "assistant"}  # cut while it thought: nothing to go on from
    result |= without_none(thinking="".join(thoughts) or None, images=images or None, tool_calls=calls or None)
    return {**own, **result} if message.role == "assistant" else result


def _call(call: ToolCall, endpoint: Endpoint) -> _Object:
    function = {"name": endpoint.wire_name(call.name), "arguments": call.arguments}
    return merged(without_none(id=call.id or None, function=function), endpoint.fields(call.vendor))


def _result(result: ToolResult, name: str) -> _Object:
    content = f"Error: {result_text(result)}" if result.is_error else result.content
    return {"role": "tool", "content": content, **without_none(tool_name=name or None, tool_call_id=result.id or None)}


def _image(part: ImagePart, provider: str) -> str:
    refuse_detail(part, provider)
    content = inline(part)
    if content is None:
        raise unsupported_part(part, provider, "it fetches no addresses; give the image as data=")
    return content.base64
