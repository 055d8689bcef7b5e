"""Tools: what the model may call. A plain function is one; so is anything with a `tool` and a `run`.

A function's schema comes from its type hints, its descriptions from its docstring. It may be
async, and what it gives may be an awaitable or an Observable: then each item is progress and the
last one the result (of a stream of token events: its text). Results that are no text become JSON.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Protocol, TypeAlias, cast, get_type_hints, runtime_checkable

import msgspec

from .._json import is_object
from ..errors import ConfigurationError
from ..messages import ToolCall
from ..options import Tool, tool_of
from ._docstring import read_docstring


class ToolContext:
    """What a tool may know of its call: a parameter of this type is given it, and not shown to the model.

    `cancelled` is set when nobody waits for the result any more: a long function looks at it, since
    threads cannot be stopped. `report` tells progress, from any thread.
    """

    def __init__(self, call: ToolCall, conversation: str, report: Callable[[object], None]) -> None:
        self.call = call
        self.conversation = conversation
        self.report = report
        self.cancelled = threading.Event()


@runtime_checkable
class RunnableTool(Protocol):
    """A tool of your own making; `run` gives a value, an awaitable or an Observable."""

    @property
    def tool(self) -> Tool:
        """What the model is told."""
        ...

    def run(self, arguments: Mapping[str, object], context: ToolContext, /) -> object:
        """Run with the arguments as the model gave them; what it raises the model is told."""
        ...


ToolLike: TypeAlias = RunnableTool | Callable[..., object]
"""What `Assistant(tools=...)` takes: functions, callable objects, bound methods, and runnable tools."""


class FunctionTool:
    """A function as a tool: its schema from the type hints, its arguments checked before each call.

    `timeout` in seconds and `approve` (whether each call waits for the assistant's `approve`) hold
    for this tool; None leaves both to the assistant. Raises `ConfigurationError` where a parameter
    has no type hint, or one that JSON cannot hold.

    >>> def add(a: int, b: int = 1) -> int:
    ...     "Add two numbers."
    ...     return a + b
    >>> FunctionTool(add).tool.parameters["properties"]
    {'a': {'type': 'integer'}, 'b': {'type': 'integer', 'default': 1}}
    """

    def __init__(
        self,
        function: Callable[..., object],
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | None = None,
        approve: bool | None = None,
    ) -> None:
        self.timeout = timeout
        self.approve = approve
        self._function = function
        self._signature = _Signature(function, name or _name_of(function))
        self.tool = Tool(
            self._signature.name,
            self._signature.description if description is None else description,
            self._signature.schema,
        )

    def __repr__(self) -> str:
        return f"FunctionTool({self.tool.name})"

    def run(self, arguments: Mapping[str, object], context: ToolContext, /) -> object:
        """Call the function; raises `msgspec.ValidationError` where the arguments are not of its types."""
        positional, named = self._signature.bind(arguments, context)
        return self._function(*positional, **named)


def as_tools(tools: Iterable[ToolLike]) -> dict[str, RunnableTool]:
    """The tools by name; raises `ConfigurationError` where two share one."""
    made: dict[str, RunnableTool] = {}
    for given in tools:
        tool = _as_tool(given)
        if tool.tool.name in made:
            raise ConfigurationError(f"two tools are named {tool.tool.name!r}: give one of them name=")
        made[tool.tool.name] = tool
    return made


def result_text(value: object) -> str:
    """What the model is told of a tool's result: text as it is, other values as JSON.

    >>> result_text({"celsius": 21.5}), result_text(None), result_text("fine")
    ('{"celsius":21.5}', 'null', 'fine')
    """
    if isinstance(value, str):
        return value
    own = getattr(value, "model_dump_json", None)
    if callable(own):
        return str(own())
    return msgspec.json.encode(value, enc_hook=str).decode()


def _as_tool(given: object) -> RunnableTool:
    if isinstance(given, RunnableTool):
        tool_of(given.tool)
        return given
    if callable(given):
        return FunctionTool(given)
    if isinstance(given, Tool) or is_object(given):
        raise ConfigurationError(f"the assistant runs its tools: {given!r} says what to call, and not how")
    raise ConfigurationError(f"a tool is a function, or an object with `tool` and `run`; got {given!r}")


class _Signature:
    """What a function takes, as a type whose fields are the arguments."""

    def __init__(self, function: Callable[..., object], name: str) -> None:
        self.name = name
        parameters = _parameters(function)
        hints = _hints(function)
        doc = read_docstring(inspect.getdoc(function) if _has_own_docstring(function) else None, parameters)
        self.description = doc.summary
        self._context = [key for key in parameters if hints.get(key) is ToolContext]
        self._positional = [key for key, one in parameters.items() if one.kind is one.POSITIONAL_ONLY]
        fields = [
            _field(self.name, one, hints, doc.parameters.get(key))
            for key, one in parameters.items()
            if key not in self._context
        ]
        self._type = msgspec.defstruct("Arguments", fields, forbid_unknown_fields=True, kw_only=True)
        self.schema = _schema(self._type, self.name)

    def bind(self, arguments: Mapping[str, object], context: ToolContext) -> tuple[list[object], dict[str, object]]:
        """The arguments, checked and converted, by position and by name."""
        # Not strict: models, small ones above all, put numbers in quotes.
        values = msgspec.convert(arguments, self._type, strict=False, dec_hook=_validated)
        named: dict[str, object] = {key: getattr(values, key) for key in self._type.__struct_fields__}
        named.update(dict.fromkeys(self._context, context))
        return [named.pop(key) for key in self._positional], named


def _parameters(function: Callable[..., object]) -> dict[str, inspect.Parameter]:
    try:
        parameters = dict(inspect.signature(function).parameters)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{function!r} cannot be a tool: its parameters cannot be seen") from error
    for one in parameters.values():
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            raise ConfigurationError(f"{function!r} cannot be a tool: {one} has no schema; name the parameters")
    return parameters


def _hints(function: Callable[..., object]) -> dict[str, object]:
    bare: Callable[..., object] = function.func if isinstance(function, functools.partial) else function
    annotated = bare if inspect.isroutine(bare) else type(bare).__call__
    try:
        return get_type_hints(inspect.unwrap(annotated), include_extras=True)
    except NameError as error:
        raise ConfigurationError(
            f"{function!r} cannot be a tool: a type hint names what is not there: {error}"
        ) from error


def _field(
    tool: str, parameter: inspect.Parameter, hints: Mapping[str, object], description: str | None
) -> tuple[str, type] | tuple[str, type, object]:
    if parameter.name not in hints:
        raise ConfigurationError(f"parameter {parameter.name!r} of tool {tool!r} needs a type hint")
    kind = cast("type", hints[parameter.name])  # to msgspec, all forms of hints are types
    if description:
        kind = cast("type", Annotated[kind, msgspec.Meta(description=description)])
    if parameter.default is parameter.empty:
        return parameter.name, kind
    default: object = parameter.default
    copy = getattr(default, "copy", None)
    if isinstance(default, list | dict | set | bytearray) and callable(copy):
        return parameter.name, kind, msgspec.field(default_factory=copy)
    return parameter.name, kind, parameter.default


def _schema(kind: type, name: str) -> dict[str, object]:
    """The schema of the arguments: an object, written out, without the name of the type made for it."""
    try:
        _, definitions = msgspec.json.schema_components(
            [kind], schema_hook=_model_schema, ref_template="#/$defs/{name}"
        )
    except TypeError as error:
        raise ConfigurationError(f"no JSON schema can be made of the parameters of tool {name!r}: {error}") from error
    own: dict[str, object] = {**definitions.pop(kind.__name__)}
    del own["title"]
    if definitions:
        own["$defs"] = definitions
    return own


def _model_schema(kind: object) -> dict[str, object]:
    """The schema of a pydantic model, which is not imported here, and of `object`, which is anything."""
    if kind is object:
        return {}
    own = getattr(kind, "model_json_schema", None)
    if not callable(own):
        raise NotImplementedError
    schema: object = own()
    if not is_object(schema) or "$defs" in schema:
        raise TypeError(f"{kind!r} holds other models; make the inner ones dataclasses, or flatten it")
    return schema


def _validated(kind: object, value: object) -> object:
    validate = getattr(kind, "model_validate", None)
    if not callable(validate):
        raise NotImplementedError
    result: object = validate(value)
    return result


def _name_of(function: object) -> str:
    name = getattr(function, "__name__", None)
    if not isinstance(name, str):
        return type(function).__name__
    if not name.isidentifier():
        raise ConfigurationError(
            f"a lambda has no name for the model: FunctionTool(..., name=), or a def; got {function!r}"
        )
    return name


def _has_own_docstring(function: object) -> bool:
    return inspect.isroutine(function) or type(function).__doc__ is not None
