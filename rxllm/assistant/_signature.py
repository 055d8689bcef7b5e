"""The parameters of a function as the schema of a tool, and the check of the arguments that a model gives.

msgspec makes the schema and checks the arguments. Parameters that use pydantic (models, pydantic dataclasses,
`Annotated[int, pydantic.Field(...)]`) go to pydantic, which is not imported here unless the user has imported it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from functools import partial
from typing import Annotated, Any, cast, get_args, get_type_hints

import msgspec

from .._json import object_at
from .._schema import json_schema
from ..errors import ConfigurationError
from ._docstring import read_docstring

_PYDANTIC = ("pydantic", "pydantic_core", "annotated_types")


class Signature:
    """What the model may pass to `function`: all parameters but those of type `hidden` and bound ones."""

    def __init__(self, function: Callable[..., object], name: str, hidden: type) -> None:
        parameters = _parameters(function)
        hints = _hints(function)
        doc = read_docstring(inspect.getdoc(function) if _has_own_docstring(function) else None, parameters)
        self.description = doc.summary
        self._name = name
        self._hidden = [key for key in parameters if hints.get(key) is hidden]
        self._positional = [key for key, one in parameters.items() if one.kind is one.POSITIONAL_ONLY]
        self._pydantic_parameters: dict[str, _Adapter] = {}
        self._required: list[str] = []
        fields: list[tuple[str, type] | tuple[str, type, object]] = []
        shown = [one for key, one in parameters.items() if key not in self._hidden]
        for one in shown:
            if one.name not in hints:
                raise ConfigurationError(f"parameter {one.name!r} of tool {name!r} needs a type hint")
            if _uses_pydantic(hints[one.name]) or _uses_pydantic(one.default):
                self._pydantic_parameters[one.name] = _Adapter(
                    hints[one.name], one.default, f"{one.name!r} of tool {name!r}"
                )
            else:
                # The names of fields are made up: a parameter may have a name that a struct cannot have.
                fields.append(_field(f"p{len(fields)}", one, hints[one.name], doc.parameters.get(one.name)))
        self._names = [one.name for one in shown if one.name not in self._pydantic_parameters]
        rename = {field[0]: key for field, key in zip(fields, self._names, strict=True)}
        self._type = msgspec.defstruct("Arguments", fields, forbid_unknown_fields=True, kw_only=True, rename=rename)
        self.schema = self._schema([one.name for one in shown], doc.parameters)

    def bind(self, arguments: Mapping[str, object], hidden: object) -> tuple[list[object], dict[str, object]]:
        """Check and convert the model's arguments; return the function's positional and keyword arguments.

        Hidden parameters get `hidden`.

        Raises:
            msgspec.ValidationError: The arguments do not fit the types.
        """
        for_msgspec = {key: value for key, value in arguments.items() if key not in self._pydantic_parameters}
        # Not strict: models, especially small ones, put numbers in quotes.
        checked = msgspec.convert(for_msgspec, self._type, strict=False, dec_hook=_validated)
        # The fields of `_type` are called p0, p1 ...
        named: dict[str, object] = {key: getattr(checked, f"p{at}") for at, key in enumerate(self._names)}
        for key, adapter in self._pydantic_parameters.items():
            named[key] = adapter.value(key, arguments)
        named.update(dict.fromkeys(self._hidden, hidden))
        return [named.pop(key) for key in self._positional], named

    def _schema(self, names: Iterable[str], descriptions: Mapping[str, str]) -> dict[str, object]:
        """Return the schema of all parameters in their order: msgspec's, and pydantic's for those that use pydantic."""
        try:
            schema = json_schema(self._type)
        except ConfigurationError as error:
            raise ConfigurationError(f"the parameters of tool {self._name!r} have no JSON schema: {error}") from error
        schema.pop("title", None)
        properties = object_at(schema, "properties")
        definitions = {**object_at(schema, "$defs")}
        required = set(cast("list[str]", schema.get("required", [])))
        for key, adapter in self._pydantic_parameters.items():
            own = adapter.schema()
            definitions.update(object_at(own, "$defs"))
            described = {"description": descriptions[key]} if key in descriptions else {}
            properties[key] = {**described, **{name: value for name, value in own.items() if name != "$defs"}}
            if adapter.is_required:
                required.add(key)
        schema["properties"] = {key: properties[key] for key in names}
        schema["required"] = [key for key in names if key in required]
        return {**schema, "$defs": definitions} if definitions else schema


class GivenSchema:
    """A schema that the user gave: the arguments are passed by name, unchecked."""

    def __init__(self, function: Callable[..., object], schema: Mapping[str, object], hidden: type) -> None:
        self.schema = dict(schema)
        doc = inspect.getdoc(function) if _has_own_docstring(function) else None
        self.description = read_docstring(doc, ()).summary
        self._hidden = [key for key, hint in _hints(function).items() if hint is hidden]
        self._bound: list[str] = [*function.keywords] if isinstance(function, partial) else []

    def bind(self, arguments: Mapping[str, object], hidden: object) -> tuple[list[object], dict[str, object]]:
        """Return no positional arguments, and the arguments by name."""
        for key in (*self._hidden, *self._bound):
            if key in arguments:
                raise msgspec.ValidationError(f"Object contains unknown field `{key}`")
        return [], {**arguments, **dict.fromkeys(self._hidden, hidden)}


class _Adapter:
    """A parameter that pydantic checks."""

    def __init__(self, hint: object, default: object, where: str) -> None:
        pydantic = sys.modules["pydantic"]
        self._default = default
        self.is_required = default is inspect.Parameter.empty
        if type(default).__name__ == "FieldInfo":
            hint = Annotated[cast("type", hint), default]
        try:
            self._adapter: Any = pydantic.TypeAdapter(hint)
            self._schema: dict[str, object] = self._adapter.json_schema()
        except Exception as error:  # pydantic's own classes
            raise ConfigurationError(f"no JSON schema can be made of parameter {where}: {error}") from error
        found: Any = self._adapter.get_default_value()
        if found is not None:  # a `Some` with the default of a Field
            self._default, self.is_required = found.value, False

    def schema(self) -> dict[str, object]:
        """Return pydantic's schema, with the default if it can be written."""
        if self.is_required or "default" in self._schema:
            return self._schema
        try:
            return {**self._schema, "default": msgspec.to_builtins(self._default)}
        except TypeError:
            return self._schema

    def value(self, key: str, arguments: Mapping[str, object]) -> object:
        """Return the argument, converted and checked, or the default."""
        if key not in arguments:
            if self.is_required:
                raise msgspec.ValidationError(f"Object missing required field `{key}`")
            return self._default
        try:
            checked: object = self._adapter.validate_python(arguments[key])
            return checked
        except ValueError as error:  # pydantic.ValidationError
            raise msgspec.ValidationError(f"{key}: {error}") from error


def _parameters(function: Callable[..., object]) -> dict[str, inspect.Parameter]:
    """Return the parameters that `partial` has not bound: the model neither sees nor overrides those."""
    try:
        parameters = dict(inspect.signature(function).parameters)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{function!r} cannot be a tool: its parameters are not known") from error
    if isinstance(function, partial):  # a partial of a partial is one partial
        for bound in function.keywords:
            parameters.pop(bound, None)
    for one in parameters.values():
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            raise ConfigurationError(f"{function!r} cannot be a tool: {one} has no schema; name the parameters")
    return parameters


def _hints(function: Callable[..., object]) -> dict[str, object]:
    bare: Callable[..., object] = function.func if isinstance(function, partial) else function
    annotated = bare if inspect.isroutine(bare) else type(bare).__call__
    try:
        return get_type_hints(inspect.unwrap(annotated), include_extras=True)
    except NameError as error:
        raise ConfigurationError(f"{function!r} cannot be a tool: a type hint has an unknown name: {error}") from error


def _field(
    name: str, parameter: inspect.Parameter, hint: object, description: str | None
) -> tuple[str, type] | tuple[str, type, object]:
    """Return a parameter as the definition of a field of a msgspec struct."""
    kind = cast("type", hint)  # to msgspec, all forms of hints are types
    if description:
        kind = cast("type", Annotated[kind, msgspec.Meta(description=description)])
    if parameter.default is parameter.empty:
        return name, kind
    default: object = parameter.default
    if type(default) in (list, dict, set, bytearray):  # each call gets its own
        return name, kind, msgspec.field(default_factory=partial(copy, default))
    return name, kind, default


def _uses_pydantic(value: object) -> bool:
    """Return whether a type hint, its metadata or a default is pydantic's."""
    if "pydantic" not in sys.modules:
        return False
    metadata: tuple[object, ...] = getattr(value, "__metadata__", ())
    if hasattr(value, "__pydantic_core_schema__") or type(value).__module__.partition(".")[0] in _PYDANTIC:
        return True
    if getattr(value, "__module__", "").partition(".")[0] in _PYDANTIC and isinstance(value, type):
        return True
    return any(_uses_pydantic(inner) for inner in (*get_args(value), *metadata))


def _validated(kind: object, value: object) -> object:
    validate = getattr(kind, "model_validate", None)
    if not callable(validate):
        raise NotImplementedError
    result: object = validate(value)
    return result


def _has_own_docstring(function: object) -> bool:
    return inspect.isroutine(function) or type(function).__doc__ is not None
