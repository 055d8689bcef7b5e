"""Tools: what the model may call. A plain function is one; so is any object with `tool` and `run`.

The schema of a function comes from its type hints, its descriptions from its docstring. A tool may be async, and may
return an awaitable, an Observable or an async generator: then each item is progress and the last item the result (of a
stream of token events: its text). An `ImagePart`, `DocumentPart` or `AudioPart`, or a list with them, is sent as such,
everything else that is not text as JSON.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias, TypeGuard, runtime_checkable

from .._arguments import check_arguments
from .._json import encode, is_object, valid_text
from .._json_values import json_data
from ..errors import ConfigurationError
from ..messages import MediaPart, TextPart, ToolCall
from ..operators._operator import check_number
from ..options import Tool, tool_of
from ._signature_schema import GivenSchema, Signature, without_partial


class ToolContext:
    """The call that a tool serves. A parameter of this type gets it, and is not shown to the model.

    Args:
        call: The call as the model made it.
        conversation: The conversation of the turn.
        report: Emits a `ToolProgress` with the value it is called with; may be called from any thread.

    Attributes:
        call: The call as the model made it.
        conversation: The conversation of the turn.
        report: Emits a `ToolProgress`.
        cancelled: Set when the result is no longer needed. A long function checks it: threads cannot be stopped.
    """

    def __init__(self, call: ToolCall, conversation: str, report: Callable[[object], None]) -> None:
        self.call = call
        self.conversation = conversation
        self.report = report
        self.cancelled = threading.Event()


@runtime_checkable
class RunnableTool(Protocol):
    """A tool of your own making.

    It may also have `timeout` (seconds) and `approve` (whether each call waits for the assistant's `approve`).
    """

    @property
    def tool(self) -> Tool:
        """The name, the description and the schema that the model reads."""
        ...

    def run(self, arguments: Mapping[str, object], context: ToolContext, /) -> object:
        """Return a value, an awaitable, an Observable or an async iterator. The model reads what it raises.

        Args:
            arguments: The arguments as the model gave them, not checked.
            context: The call.
        """
        ...


ToolLike: TypeAlias = RunnableTool | Callable[..., object]
"""What `Assistant(tools=...)` takes: functions, callable objects, bound methods, partials, and `RunnableTool`s."""


class FunctionTool:
    """A function as a tool: its schema comes from the type hints, and its arguments are checked before each call.

    Values that `functools.partial` binds are not in the schema, and the model cannot override them.

    Args:
        function: Called with the arguments, on a thread of its own; an async function on the assistant's event loop.
        name: The name for the model; default: the function's name.
        description: The description for the model; default: the docstring up to its first section.
        schema: The JSON schema of the arguments; default: made from the type hints. With a schema of your own the
            arguments are passed as the model gave them, by name, and are not checked.
        timeout: Seconds that a call may take; default: the assistant's `tool_timeout`.
        approve: Whether each call waits for the assistant's `approve`; default: if the assistant has one.

    Raises:
        ConfigurationError: A parameter has no type hint, or one that has no JSON schema.

    >>> def add(a: int, b: int = 1) -> int:
    ...     "Add two numbers."
    ...     return a + b
    >>> FunctionTool(add).tool.parameters["properties"]
    {'a': {'type': 'integer'}, 'b': {'type': 'integer', 'default': 1}}
    """

    @check_arguments
    def __init__(
        self,
        function: Callable[..., object],
        *,
        name: str | None = None,
        description: str | None = None,
        schema: Mapping[str, object] | None = None,
        timeout: float | None = None,
        approve: bool | None = None,
    ) -> None:
        check_number("FunctionTool(timeout=...)", timeout)
        if schema is not None and schema.get("type", "object") != "object":
            raise ConfigurationError(f"FunctionTool(schema=...) is the JSON schema of an object; got {schema!r}")
        self.timeout = timeout
        self.approve = approve
        self._function = function
        name = name or _name_of(function)
        self._signature = (
            Signature(function, name, ToolContext) if schema is None else GivenSchema(function, schema, ToolContext)
        )
        self.tool = Tool(
            name,
            self._signature.description if description is None else description,
            self._signature.schema,
        )

    def __repr__(self) -> str:
        return f"FunctionTool({self.tool.name})"

    def run(self, arguments: Mapping[str, object], context: ToolContext, /) -> object:
        """Call the function and return what it returns.

        Args:
            arguments: The arguments as the model gave them.
            context: The call; passed to parameters of the type `ToolContext`.

        Raises:
            msgspec.ValidationError: The arguments do not fit the types of the parameters.
        """
        positional, named = self._signature.bind(arguments, context)
        return self._function(*positional, **named)


def as_tools(tools: Iterable[ToolLike]) -> dict[str, RunnableTool]:
    """Return the tools by name.

    Args:
        tools: Functions and tools.

    Raises:
        ConfigurationError: Something is not a tool, or two tools have the same name.
    """
    made: dict[str, RunnableTool] = {}
    for given in tools:
        tool = _as_tool(given)
        if tool.tool.name in made:
            raise ConfigurationError(f"two tools are named {tool.tool.name!r}: give one of them name=")
        made[tool.tool.name] = tool
    return made


def result_text(value: object) -> str:
    """Return what the model reads of a tool's result: a text as it is, other values as JSON.

    Args:
        value: The value that the tool returned.

    Raises:
        TypeError: The value, or one inside it, cannot be written as JSON.

    >>> result_text({"celsius": 21.5}), result_text(None), result_text("fine")
    ('{"celsius":21.5}', 'null', 'fine')
    """
    return valid_text(value) if isinstance(value, str) else encode(json_data(value)).decode()


def result_content(value: object) -> tuple[str, tuple[MediaPart, ...]]:
    """Return the text and the images, documents and sound of a tool's result.

    Args:
        value: The value that the tool returned: a part, a list or tuple with parts in it, or anything else.

    Raises:
        TypeError: The value, or one inside it, cannot be written as JSON.

    >>> from rxllm import ImagePart
    >>> result_content(["A cat.", ImagePart(url="https://example.com/cat.png")])[0]
    'A cat.'
    """
    items = list(value) if _is_list(value) else [value]
    media = tuple(item for item in items if isinstance(item, MediaPart))
    if not any(isinstance(item, MediaPart | TextPart) for item in items):
        return result_text(value), ()
    texts = [item.text if isinstance(item, TextPart) else item for item in items if not isinstance(item, MediaPart)]
    return "\n".join(map(result_text, texts)), media


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, list | tuple)


def _as_tool(given: object) -> RunnableTool:
    """Return what was given as a tool; raise `ConfigurationError` if it is none."""
    if isinstance(given, RunnableTool):
        tool_of(given.tool)
        return given
    if callable(given):
        return FunctionTool(given)
    if isinstance(given, Tool) or is_object(given):
        raise ConfigurationError(
            f"the assistant runs its tools, and {given!r} has no function: give FunctionTool(function, schema=...)"
        )
    raise ConfigurationError(f"a tool is a function, or an object with `tool` and `run`; got {given!r}")


def _name_of(function: Callable[..., object]) -> str:
    """Return the name of a function, or of the class of a callable object."""
    called = without_partial(function)
    name = getattr(called, "__name__", None)
    if not isinstance(name, str):
        return type(called).__name__
    if not name.isidentifier():
        raise ConfigurationError(
            f"a lambda has no name for the model: FunctionTool(..., name=), or a def; got {function!r}"
        )
    return name
