"""The parameters of a function as the schema of a tool, and the check of the arguments that a model gives.

msgspec makes the schema of each parameter and checks its values. Those that use pydantic (models, pydantic dataclasses,
`Annotated[int, pydantic.Field(...)]`) go to pydantic, which is not imported here unless the user has imported it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from copy import copy
from functools import partial
from types import SimpleNamespace
from typing import Annotated, Any, TypeVar, cast, get_type_hints

import msgspec

from .._json import decode, encode, is_object, object_at
from .._schema import converter, schema_with_definitions, uses_pydantic, validated_by
from ..errors import ConfigurationError
from ._docstring import read_docstring

T = TypeVar("T")


class Signature:
    """What the model may pass to `function`: all parameters but bound ones, and those of type `hidden`, set later."""

    def __init__(self, function: Callable[..., object], name: str, hidden: type) -> None:
        parameters = _parameters(function)
        hints = _hints(function)
        doc = read_docstring(_docstring_of(without_partial(function)), _parameters(without_partial(function)))
        self.description = doc.summary
        self._hidden = [key for key in parameters if _is_hidden(hints.get(key), hidden)]
        self._positional = [key for key, one in parameters.items() if one.kind is one.POSITIONAL_ONLY]
        self._shown: dict[str, _Parameter] = {}
        for key, one in parameters.items():
            where = f"parameter {key!r} of tool {name!r}"
            if key in self._hidden:
                continue
            if key not in hints:
                raise ConfigurationError(f"{where} needs a type hint")
            self._shown[key] = _Parameter(hints[key], one.default, where)
        self.schema = self._schema(doc.parameters)

    def bind(self, arguments: Mapping[str, object], hidden: object) -> tuple[list[object], dict[str, object]]:
        """Check and convert the model's arguments; return the function's positional and keyword arguments.

        Hidden parameters get `hidden`.

        Raises:
            msgspec.ValidationError: The arguments do not fit the types.
        """
        _refuse(arguments, arguments.keys() - self._shown.keys())
        named = {key: one.value(key, arguments) for key, one in self._shown.items()}
        named.update(dict.fromkeys(self._hidden, hidden))
        return [named.pop(key) for key in self._positional], named

    def _schema(self, descriptions: Mapping[str, str]) -> dict[str, object]:
        """Return the schema of all parameters, in their order."""
        properties: dict[str, object] = {}
        definitions: dict[str, object] = {}
        for key, one in self._shown.items():
            schema = one.schema
            for name, definition in object_at(schema, "$defs").items():
                if definitions.get(name, definition) != definition:
                    schema = _renamed(schema, name, f"{key}_{name}")
            definitions |= object_at(schema, "$defs")
            described = {"description": descriptions[key]} if key in descriptions else {}
            properties[key] = {**described, **{name: value for name, value in schema.items() if name != "$defs"}}
        required = [key for key, one in self._shown.items() if one.is_required]
        shared = {"$defs": definitions} if definitions else {}
        return {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
            **shared,
        }


class GivenSchema:
    """A schema that the user gave: the arguments are passed by name, unchecked."""

    def __init__(self, function: Callable[..., object], schema: Mapping[str, object], hidden: type) -> None:
        self.schema = dict(schema)
        self.description = read_docstring(_docstring_of(without_partial(function)), ()).summary
        self._hidden = [key for key, hint in _hints(function).items() if _is_hidden(hint, hidden)]
        self._bound: list[str] = [*function.keywords] if isinstance(function, partial) else []

    def bind(self, arguments: Mapping[str, object], hidden: object) -> tuple[list[object], dict[str, object]]:
        """Return no positional arguments, and the arguments by name."""
        _refuse(arguments, {*self._hidden, *self._bound})
        return [], {**arguments, **dict.fromkeys(self._hidden, hidden)}


class _Parameter:
    """One parameter: its schema, and the check of its values by msgspec or, if it uses pydantic, by pydantic."""

    def __init__(self, hint: object, default: object, where: str) -> None:
        self._default: Any = default
        self.is_required = default is inspect.Parameter.empty
        if uses_pydantic(hint) or uses_pydantic(default):
            self._use_pydantic(hint, where)
        else:
            # Not strict: models, especially small ones, put numbers in quotes.
            self._convert: Callable[[object], object] = converter(cast("type[object]", hint), strict=False)
            self.schema: dict[str, object] = _schema_of(partial(schema_with_definitions, hint), where)
        if not self.is_required and "default" not in self.schema:
            with suppress(TypeError):  # it cannot be written as JSON
                self.schema["default"] = msgspec.to_builtins(self._default)

    def _use_pydantic(self, hint: object, where: str) -> None:
        """Have pydantic check the values. A default that is a `Field` belongs to the type."""
        if type(self._default).__name__ == "FieldInfo":
            hint, self.is_required = Annotated[cast("type", hint), self._default], True
        adapter: Any = _schema_of(partial(sys.modules["pydantic"].TypeAdapter, hint), where)
        self._convert = partial(validated_by, adapter)
        self.schema = _schema_of(adapter.json_schema, where)
        found: Any = adapter.get_default_value()
        if found is not None:  # a `Some` with the default of a Field
            self._default, self.is_required = found.value, False

    def value(self, key: str, arguments: Mapping[str, object]) -> object:
        """Return the argument, converted and checked, or the default."""
        if key in arguments:
            try:
                return self._convert(arguments[key])
            except ValueError as error:  # msgspec's or pydantic's ValidationError
                raise msgspec.ValidationError(f"{key}: {error}") from error
        if self.is_required:
            raise msgspec.ValidationError(f"Object missing required field `{key}`")
        # Each call gets its own.
        return copy(self._default) if type(self._default) in (list, dict, set, bytearray) else self._default


def _schema_of(make: Callable[[], T], where: str) -> T:
    """Return what `make` returns; raise `ConfigurationError` with the name of the parameter if it fails."""
    try:
        return make()
    except Exception as error:  # also pydantic's own classes
        raise ConfigurationError(f"no JSON schema can be made of {where}: {error}") from error


def _is_hidden(hint: object, hidden: type) -> bool:
    """Return whether the hint is the type `hidden`, perhaps or None."""
    return hint is hidden or hint == (hidden | None)


def _renamed(schema: Mapping[str, object], name: str, new: str) -> dict[str, object]:
    """Return the schema with another name for a definition: msgspec and pydantic describe one type differently."""
    references = encode(schema).replace(encode(f"#/$defs/{name}"), encode(f"#/$defs/{new}"))
    renamed = decode(references)
    assert is_object(renamed)
    return {
        **renamed,
        "$defs": {new if key == name else key: value for key, value in object_at(renamed, "$defs").items()},
    }


def _refuse(arguments: Mapping[str, object], unknown: Iterable[str]) -> None:
    for key in unknown:
        if key in arguments:
            raise msgspec.ValidationError(f"Object contains unknown field `{key}`")


def _parameters(function: Callable[..., object]) -> dict[str, inspect.Parameter]:
    """Return the parameters that `partial` has not bound: the model neither sees nor overrides those."""
    if inspect.isclass(without_partial(function)):
        raise ConfigurationError(
            f"{function!r} is a class, not a tool: give an object or a method, or wrap it in a def"
        )
    try:
        parameters = dict(inspect.signature(function).parameters)
    except (TypeError, ValueError, NameError) as error:
        raise ConfigurationError(f"{function!r} cannot be a tool: its parameters are not known") from error
    if isinstance(function, partial):  # a partial of a partial is one partial
        for bound in function.keywords:
            parameters.pop(bound, None)
    for one in parameters.values():
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            raise ConfigurationError(f"{function!r} cannot be a tool: {one} has no schema; name the parameters")
    return parameters


def _hints(function: Callable[..., object]) -> dict[str, object]:
    """Return the type hints of the parameters; a callable object has them at its class's `__call__`."""
    called = inspect.unwrap(without_partial(function))
    annotated = inspect.unwrap(called if inspect.isroutine(called) else type(called).__call__)
    try:
        # Not the hint of what it returns, which is not needed, and often imported for type checkers only.
        own = {name: hint for name, hint in getattr(annotated, "__annotations__", {}).items() if name != "return"}
        names = {name: getattr(annotated, name, {}) for name in ("__globals__", "__type_params__")}
        return get_type_hints(SimpleNamespace(__annotations__=own, **names), include_extras=True)
    except NameError as error:
        raise ConfigurationError(f"{function!r} cannot be a tool: a type hint has an unknown name: {error}") from error
    except Exception as error:  # a hint in quotes is code
        raise ConfigurationError(f"{function!r} cannot be a tool: a type hint is not valid: {error}") from error


def without_partial(function: Callable[..., object]) -> Callable[..., object]:
    """Return the function that a partial calls; any other callable unchanged."""
    return function.func if isinstance(function, partial) else function


def _docstring_of(function: Callable[..., object]) -> str | None:
    """Return the docstring of a function; of a callable object its own, its class's, or that of `__call__`."""
    is_object = not inspect.isroutine(function) and not inspect.isclass(function)
    return inspect.getdoc(function) or (inspect.getdoc(type(function).__call__) if is_object else None)
