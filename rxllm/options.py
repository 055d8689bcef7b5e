"""The options of a request: sampling, tools, answer format, and time limits.

None always means the vendor's default. An option that the provider does not support raises a
`ConfigurationError` that names it; `Options.extra_body` takes fields that rxllm does not model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Literal, TypeAlias, TypedDict

import msgspec

from ._json import is_object, text_at
from ._schema import converted, json_schema
from .errors import ConfigurationError

__all__ = [
    "CallOptions",
    "JsonFormat",
    "Options",
    "ReasoningEffort",
    "Timeout",
    "Tool",
    "check_names",
    "format_of",
    "is_duration",
    "stop_of",
    "timeout_of",
    "tool_of",
]

ReasoningEffort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
"""How much a model thinks; which words a model takes is in `rxllm.providers.model_rules`. "none" is off, as 0 is."""


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call.

    Args:
        name: The name of the function.
        description: What it does and when to call it, for the model.
        parameters: The JSON schema of its arguments.
        strict: Whether the vendor must enforce the schema; None: its default.
    """

    name: str
    description: str = ""
    parameters: dict[str, object] = msgspec.field(default_factory=lambda: {"type": "object", "properties": {}})
    strict: bool | None = None


class JsonFormat(msgspec.Struct, frozen=True):
    """The answer is JSON.

    Args:
        schema: The JSON schema of the answer; None: any JSON.
        name: The name of the schema, which some vendors require.
    """

    schema: dict[str, object] | None = None
    name: str = "answer"


class Timeout(msgspec.Struct, frozen=True, kw_only=True):
    """Time limits of a stream, in seconds; None sets no limit. A limit that passes ends it with `APITimeoutError`.

    The limits distinguish two silences. No bytes at all (`silence`): the peer may be dead. Bytes without content
    (`first_token`, `idle`): the server works, but a model may think, or buffer a tool argument, for minutes; 78 to
    330 s have been reported. Content is text, reasoning and tool calls. Keep-alives, pings, usage, empty deltas and
    unknown vendor events are not content: they reset `silence` only.

    The defaults are as patient as the vendors' own SDKs: those of OpenAI and Anthropic wait 600 s for the next byte,
    and without limit while pings arrive. Set shorter limits if you prefer an early error, for example
    ``Timeout(first_token=30, idle=15)``. Limits hold while rxllm waits for the server, not while a subscriber works.
    TCP keepalive ends the connection to a machine that has disappeared, independently of these limits.

    An attempt that runs into `first_token` although the server showed signs of life is not repeated: the answer
    would be as slow again.

    Args:
        connect: Until the connection stands: name look-up, TCP and TLS, for all addresses together.
        silence: Between two reads or writes that move a byte, from the connection on; also limits a stalled upload.
        first_token: From the moment the request is sent to the first content event.
        idle: Between content events after the first.
        total: The whole stream, with all its attempts and the delays between them.

    Source: https://github.com/openai/openai-python#timeouts, https://docs.anthropic.com/en/api/client-sdks
    """

    connect: float | None = 10.0
    silence: float | None = 600.0
    first_token: float | None = 1800.0
    idle: float | None = 1800.0
    total: float | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            seconds: object = getattr(self, name)
            if seconds is not None and not is_duration(seconds):
                raise ConfigurationError(
                    f"Timeout({name}=...) must be a number of seconds above 0, or None; got {seconds!r}"
                )


def is_duration(seconds: object) -> bool:
    """Return whether `seconds` is a number above 0; infinity is one.

    Args:
        seconds: Any value.
    """
    try:
        return isinstance(seconds, int | float) and not isinstance(seconds, bool) and float(seconds) > 0
    except OverflowError:
        return False


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The options that an encoder puts on the wire.

    Args:
        temperature: Sampling temperature.
        max_tokens: The most tokens that the answer may have.
        top_p: Nucleus sampling: the probability mass to sample from.
        top_k: The number of most likely tokens to sample from.
        frequency_penalty: Penalty for tokens by their frequency so far.
        presence_penalty: Penalty for tokens that have occurred.
        stop: Texts at which the answer ends.
        seed: Seed of the sampling.
        reasoning: An effort, or a budget in tokens.
        response_format: The format of the answer.
        tools: The functions that the model may call.
        tool_choice: "auto", "none", "required", or the name of the one tool to call.
        extra_body: JSON fields to add to the request's body.
    """

    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    stop: tuple[str, ...] | None = None
    seed: int | None = None
    reasoning: str | int | None = None
    response_format: JsonFormat | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: str | None = None
    extra_body: Mapping[str, object] | None = None


class CallOptions(TypedDict, total=False):
    """The options of `create_streaming_model` that a call may override; they are described there."""

    model: str
    temperature: float | None
    max_tokens: int | None
    top_p: float | None
    top_k: int | None
    frequency_penalty: float | None
    presence_penalty: float | None
    stop: str | Sequence[str] | None
    seed: int | None
    reasoning: ReasoningEffort | int | None
    response_format: object
    tools: Sequence[Tool | Mapping[str, object]] | None
    tool_choice: str | None
    timeout: float | Timeout | None
    max_retries: int
    headers: Mapping[str, str] | None
    extra_body: Mapping[str, object] | None


def check_names(options: Mapping[str, object], advice: str) -> None:
    """Raise `ConfigurationError` if there is an option that `CallOptions` lacks.

    Args:
        options: The options by their names.
        advice: What the error says besides the names.
    """
    unknown = options.keys() - CallOptions.__annotations__.keys()
    if unknown:
        close = (get_close_matches(name, CallOptions.__annotations__, n=1) for name in sorted(unknown))
        hint = "".join(f"Did you mean {match[0]}? " for match in close if match)
        raise ConfigurationError(f"unknown option: {', '.join(sorted(unknown))}. {hint}{advice}")


def timeout_of(value: float | Timeout | None) -> Timeout:
    """Return the time limits that `value` describes.

    Args:
        value: None: the defaults. A number of seconds: limits `connect`, `first_token` and `idle` each, and sets no
            other limit.
    """
    if value is None:
        return Timeout()
    if isinstance(value, Timeout):
        return value
    return Timeout(connect=value, silence=None, first_token=value, idle=value)


def format_of(value: object) -> JsonFormat | None:
    """Return the answer format that `value` describes.

    Args:
        value: "json", a JSON schema, a type, or None.

    Raises:
        ConfigurationError: No schema can be made of `value`.
    """
    if value is None or isinstance(value, JsonFormat):
        return value
    if value == "json":
        return JsonFormat()
    if is_object(value):
        if value.get("type") in ("json_object", "json_schema"):
            raise ConfigurationError(
                'response_format= has the form of the openai SDK: give "json", or the schema alone'
            )
        return JsonFormat(value, text_at(value, "title") or "answer")
    if isinstance(value, str):
        raise ConfigurationError(f'response_format is "json", a JSON schema or a type; got {value!r}')
    return JsonFormat(json_schema(value), getattr(value, "__name__", "answer"))


def tool_of(value: object) -> Tool:
    """Return the tool that `value` describes.

    Args:
        value: A `Tool`, or a dict in OpenAI's form or with the fields of `Tool`.

    Raises:
        ConfigurationError: `value` has another form.
    """
    if isinstance(value, Tool):
        return value
    if is_object(value):
        function = value.get("function", value)
        return converted(function, Tool, "not a tool definition")
    raise ConfigurationError(
        "a tool is an rxllm.Tool or a dict with name, description and parameters (an Assistant also takes functions);"
        f" got {value!r}"
    )


def stop_of(value: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the stop texts as a tuple.

    Args:
        value: One text, several, or None.
    """
    return value if value is None else (value,) if isinstance(value, str) else tuple(value)
