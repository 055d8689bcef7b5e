"""The body of an Ollama /api/chat request.

A message here has one text, its images beside it: text parts are joined, by line breaks but for the
model's own, which are pieces of one text. Each tool result is a message.

Source: https://docs.ollama.com/api/chat
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...messages import (
    AudioPart,
    DocumentPart,
    ImagePart,
    Message,
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
    unsupported_option,
    unsupported_part,
    vendor_fields,
    without_none,
)

WIRE = "ollama"

_Object = dict[str, object]


def chat_request(messages: Sequence[Message], model: str, options: Options, provider: str) -> bytes:
    """Build the JSON body. `Options.extra_body` is merged over it: {"options": {"num_ctx": 8192}}.

    Raises `ConfigurationError` naming the option or part that the API cannot take.
    """
    # https://github.com/ollama/ollama/issues/11185: a format keeps the model from the words that call a tool.
    refuse_format_beside_tools(options, provider)
    body: dict[str, object] = {
        "model": model,
        "messages": list(_messages(messages, provider)),
        "tools": _tools(options, provider),
        "think": _think(options.reasoning, provider),
        "format": _format(options.response_format),
        "options": _sampling(options) or None,
        "stream": True,
    }
    return body_bytes(body, options.extra_body)


def _sampling(options: Options) -> _Object:
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


def _think(wanted: ReasoningEffort | int | None, provider: str) -> str | bool | None:
    if isinstance(wanted, int):
        if wanted:
            raise unsupported_option("reasoning", provider, 'it has no token budget; say "low", "medium", "high" or 0')
        return False
    return wanted


def _format(wanted: JsonFormat | None) -> object:
    if wanted is None:
        return None
    return "json" if wanted.schema is None else wanted.schema


def _tools(options: Options, provider: str) -> list[_Object] | None:
    """Return the tools; with the choice "none" no tools are offered."""
    if options.tool_choice not in (None, "auto", "none"):
        raise unsupported_option("tool_choice", provider, 'the model always chooses itself; say "auto" or "none"')
    if not options.tools or options.tool_choice == "none":
        return None
    if any(tool.strict for tool in options.tools):
        raise unsupported_option("Tool(strict=True)", provider, "it holds no model to a tool's schema")
    return [_tool(tool) for tool in options.tools]


def _tool(tool: Tool) -> _Object:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def _messages(messages: Sequence[Message], provider: str) -> Iterable[_Object]:
    names: dict[str, str] = {}
    for message in messages:
        names.update((call.id, call.name) for call in message.tool_calls)
        result = _message(message, provider)
        if len(result) > 1:
            yield result
        for part in message.parts:
            if isinstance(part, ToolResult):
                yield _result(part, part.name or names.get(part.id, ""))


def _message(message: Message, provider: str) -> _Object:
    """Return a message without its tool results: its role, and its text, images and calls, if any."""
    texts: list[str] = []
    thoughts: list[str] = []
    images: list[str] = []
    calls: list[_Object] = []
    for part in message.parts:
        match part:
            case TextPart():
                texts.append(part.text)
            case ReasoningPart():
                if part.vendor is None or WIRE in part.vendor:
                    thoughts.append(part.text)
            case ToolCall():
                calls.append(_call(part))
            case ImagePart():
                images.append(_image(part, provider))
            case DocumentPart() | AudioPart():
                raise unsupported_part(part, provider, "it takes text and images only")
            case ToolResult() | VendorPart():
                pass
    result: _Object = {"role": "user" if message.role == "tool" else message.role}
    content = ("" if message.role == "assistant" else "\n").join(texts)
    if content or images or calls:
        result["content"] = content
    return result | without_none(thinking="".join(thoughts) or None, images=images or None, tool_calls=calls or None)


def _call(call: ToolCall) -> _Object:
    own = vendor_fields(call.vendor, WIRE)
    return merged(without_none(id=call.id or None, function={"name": call.name, "arguments": call.arguments}), own)


def _result(result: ToolResult, name: str) -> _Object:
    content = f"Error: {result.content}" if result.is_error else result.content
    return {"role": "tool", "content": content, **without_none(tool_name=name or None, tool_call_id=result.id or None)}


def _image(part: ImagePart, provider: str) -> str:
    refuse_detail(part, provider)
    content = inline(part)
    if content is None:
        raise unsupported_part(part, provider, "it fetches no addresses; give the image as data=")
    return content.base64
