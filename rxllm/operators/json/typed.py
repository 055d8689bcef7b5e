"""JSON values as values of a type: complete ones, and ones that are still being written.

Types are dataclasses, msgspec Structs, TypedDicts, pydantic models, and types built of them. An object that is being
written lacks fields. Those whose type has an empty value get it: text is "", a list [], an optional field None, an
object is made of such fields, a constant is itself. Nothing else is invented: a number, a bool, one of several words,
or text in a format has no empty value. Until it has come, its object is left out of its list or field; at the root,
there is no value yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Generic, TypeVar, cast

import msgspec

from ..._json import is_array, is_object, object_at, objects_at, text_at
from ..._schema import converter, schema_with_definitions
from .incremental_parser import Container, JsonTree, extended

T = TypeVar("T")

_Schema = Mapping[str, object]
_MISSING: Final = object()
_ANY: Final[_Schema] = {}
_MAX_DEPTH = 20  # of missing objects in missing objects: types may refer to themselves
_RESTRICTED = frozenset(("enum", "const", "format", "pattern", "minLength", "contentEncoding", "minItems"))
_COST_OF_CONVERSION = 20  # of one value, in units of `Target.cost`


class Target(Generic[T]):
    """A type to convert JSON to; None stands for JSON's own types.

    Raises:
        ConfigurationError: JSON cannot be read as the type.
    """

    def __init__(self, kind: type[T] | None) -> None:
        self._kind = kind
        self._schema: _Schema = _ANY if kind is None else schema_with_definitions(kind)
        self._definitions: _Schema = object_at(self._schema, "$defs")
        self._convert: Callable[[object], T] = converter(cast("type[T]", kind or object), str_keys=True)

    def whole(self, value: object) -> T:
        """Return `value` as the type; raise `ValueError` if it is none."""
        if self._kind is None:
            return cast("T", value)  # T is object then
        try:
            return self._convert(value)
        except msgspec.ValidationError as error:
            if "got `float`" not in str(error):
                raise
            # JSON has one kind of number: 3.0 is an integer (JSON Schema, 6.1.1).
            return self._convert(_with_integers(value))

    def so_far(self, tree: JsonTree) -> T | None:
        """Return the value so far in `tree` as the type; None if it is not a valid one yet."""
        if self._kind is None:
            return cast("T", tree.snapshot())  # T is object then
        value = tree.root() if tree.done else self._open(tree.path(), tree.open_text(), self._schema)
        try:
            return None if value is _MISSING else self.whole(value)
        except ValueError:
            return None

    def cost(self, tree: JsonTree) -> int:
        """Return the cost of `so_far`, in units of about 5 ns (one place of a container copied)."""
        copied = sum(map(len, tree.stack))
        return copied if self._kind is None else copied + _COST_OF_CONVERSION * tree.values

    def _open(self, path: Sequence[tuple[Container, str]], text: str | None, schema: _Schema) -> object:
        """Return the value that is open at the beginning of `path`, which ends in the open `text`.

        Missing fields get empty values if the schema allows them.
        """
        if not path:
            return _MISSING if text is None or _RESTRICTED & self._resolved(schema).keys() else text
        container, key = path[0]
        schema = self._resolved(schema, container)
        inner = self._open(path[1:], text, _schema_at(schema, container, key))
        value = container.copy() if inner is _MISSING else extended(container, key, inner)
        return self._filled(value, schema, 0) if isinstance(value, dict) else value

    def _filled(self, value: dict[str, object], schema: _Schema, depth: int) -> object:
        """Add the missing required fields to `value` and return it; `_MISSING` if one has no empty value."""
        required = schema.get("required")
        fields = object_at(schema, "properties")
        for name in required if is_array(required) else ():
            if isinstance(name, str) and name not in value:
                value[name] = self._empty(object_at(fields, name), depth)
                if value[name] is _MISSING:
                    return _MISSING
        return value

    def _empty(self, schema: _Schema, depth: int) -> object:
        """Return the empty value of `schema`; `_MISSING` if it has none."""
        if _allows_null(schema):
            return None
        schema = self._resolved(schema)
        words = schema.get("enum")
        if is_array(words) and len(words) == 1:
            return words[0]
        if "const" in schema:
            return schema["const"]
        if _RESTRICTED & schema.keys() or depth > _MAX_DEPTH:
            return _MISSING
        match schema.get("type"):
            case "string":
                return ""
            case "array":
                return []
            case "object":
                return self._filled({}, schema, depth + 1)
            case _:
                return _MISSING

    def _resolved(self, schema: _Schema, value: Container | None = None) -> _Schema:
        """Return `schema` with its reference and choice resolved, as far as `value` shows which choice it is."""
        reference = text_at(schema, "$ref")
        if reference is not None:
            return self._resolved(self._named(reference), value)
        choices = [choice for choice in objects_at(schema, "anyOf") if choice.get("type") != "null"]
        choices = choices or objects_at(schema, "oneOf") or objects_at(schema, "allOf")
        if len(choices) == 1:
            return self._resolved(choices[0], value)
        return self._chosen(schema, value) if choices else schema

    def _chosen(self, schema: _Schema, value: Container | None) -> _Schema:
        """Return the choice that the tag in `value` names."""
        discriminator = object_at(schema, "discriminator")
        tag = value.get(text_at(discriminator, "propertyName") or "") if isinstance(value, dict) else None
        reference = text_at(object_at(discriminator, "mapping"), tag) if isinstance(tag, str) else None
        return _ANY if reference is None else self._resolved(self._named(reference), value)

    def _named(self, reference: str) -> _Schema:
        return object_at(self._definitions, reference.rpartition("/")[2])


def _schema_at(schema: _Schema, container: Container, key: str) -> _Schema:
    """Return the schema of the value at `key` in a container of `schema`."""
    if isinstance(container, list):
        return object_at(schema, "items")
    return object_at(object_at(schema, "properties"), key) or object_at(schema, "additionalProperties")


def _allows_null(schema: _Schema) -> bool:
    return schema.get("type") == "null" or any(choice.get("type") == "null" for choice in objects_at(schema, "anyOf"))


def _with_integers(value: object) -> object:
    """Return the value with each float that is a whole number as an int."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if is_object(value):
        return {key: _with_integers(each) for key, each in value.items()}
    return [_with_integers(each) for each in value] if is_array(value) else value
