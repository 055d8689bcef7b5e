"""How an answer is wanted: sampling, tools, format, and time limits.

None always means "not said": the vendor's default holds. An encoder that cannot honour an
option raises `ConfigurationError` naming it; `Options.extra_body` is the way out for what is
not modelled here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, TypedDict

import msgspec

from ._json import is_object, text_at
from ._schema import json_schema
from .errors import ConfigurationError

ReasoningEffort: TypeAlias = Literal["low", "medium", "high"]


class Tool(msgspec.Struct, frozen=True):
    """A function the model may ask for; `parameters` is the JSON schema of its arguments."""

    name: str
    description: str = ""
    parameters: dict[str, object] = msgspec.field(default_factory=lambda: {"type": "object", "properties": {}})
    strict: bool | None = None


class JsonFormat(msgspec.Struct, frozen=True):
    """The answer is JSON; with a `schema`, JSON of that schema."""

    schema: dict[str, object] | None = None
    name: str = "answer"


class Timeout(msgspec.Struct, frozen=True, kw_only=True):
    """Limits in seconds; None is no limit.

    `connect`: until the connection stands (TCP and TLS). `first_token`: from the request to the
    first content event. `idle`: between content events after that. `total`: the whole stream.
    Keep-alives, pings and empty deltas are not content.
    """

    connect: float | None = 10.0
    first_token: float | None = 120.0
    idle: float | None = 60.0
    total: float | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            seconds = getattr(self, name)
            if seconds is not None and not seconds > 0:
                raise ConfigurationError(f"Timeout({name}=...) takes seconds above 0, or None; got {seconds!r}")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of the model for one answer; what an encoder puts on the wire."""

    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    stop: tuple[str, ...] | None = None
    seed: int | None = None
    reasoning: ReasoningEffort | int | None = None
    response_format: JsonFormat | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: str | None = None
    """"auto", "none", "required", or the name of the one tool to call."""
    extra_body: Mapping[str, object] | None = None


class CallOptions(TypedDict, total=False):
    """The options of `create_streaming_model` that a call may override."""

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


def timeout_of(value: float | Timeout | None) -> Timeout:
    """The limits that `value` stands for: None the defaults, a number the same for every wait.

    A number bounds `connect`, `first_token` and `idle` each, and leaves `total` open.
    """
    if value is None:
        return Timeout()
    if isinstance(value, Timeout):
        return value
    return Timeout(connect=value, first_token=value, idle=value)


def format_of(value: object) -> JsonFormat | None:
    """The answer format that `value` stands for: "json", a JSON schema, or a type.

    Raises `ConfigurationError` on anything a schema cannot be made of.
    """
    if value is None or isinstance(value, JsonFormat):
        return value
    if value == "json":
        return JsonFormat()
    if is_object(value):
        return JsonFormat(value, text_at(value, "title") or "answer")
    if isinstance(value, str):
        raise ConfigurationError(f'response_format is "json", a JSON schema or a type; got {value!r}')
    return JsonFormat(json_schema(value), getattr(value, "__name__", "answer"))


def tool_of(value: object) -> Tool:
    """The tool that `value` stands for: a `Tool`, or a dict of the OpenAI form or of `Tool`'s own."""
    if isinstance(value, Tool):
        return value
    if is_object(value):
        function = value.get("function", value)
        try:
            return msgspec.convert(function, Tool)
        except msgspec.ValidationError as error:
            raise ConfigurationError(f"not a tool definition: {error}") from error
    raise ConfigurationError(f"a tool is an rxllm.Tool or a dict with name, description and parameters; got {value!r}")


def stop_of(value: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """The stop texts as a tuple."""
    return value if value is None else (value,) if isinstance(value, str) else tuple(value)
