"""Arguments are checked by their type hints, so that a wrong one is refused where it is given."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache, wraps
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints, is_typeddict

from .errors import ConfigurationError

__all__ = ["check_arguments", "check_fields", "check_functions", "check_type"]

_F = TypeVar("_F", bound=Callable[..., Any])
_WIDER: dict[Any, Any] = {int: Integral, float: Real, re.Pattern: object}  # numpy's numbers, patterns of regex
_WORDS: dict[Any, str] = {
    Integral: "a whole number",
    Real: "a number",
    Callable: "a function",
    Mapping: "a mapping",
    NoneType: "None",
}


def check_arguments(function: _F) -> _F:
    """Return `function` with a check: an argument that is not of its hinted classes raises `ConfigurationError`.

    So does one that is none of its hinted words. Other hints (protocols, type variables) are not checked.

    Args:
        function: A function, or the `__init__` of a class.
    """
    called = function.__qualname__.removesuffix(".__init__")

    @wraps(function)
    def checked(*args: Any, **options: Any) -> Any:
        signature, hints = _hints(function)
        try:
            given = signature.bind_partial(*args, **options).arguments
        except TypeError:  # does not name the function: Python's own error does
            return function(*args, **options)
        for name, value in given.items():
            wanted = hints.get(name)
            is_many = signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
            for one in value if is_many else (value,):
                if wanted:
                    _check(f"{called}({name}=...)", one, wanted)
        return function(*args, **options)

    return cast("_F", checked)


def check_functions(module: dict[str, Any], names: Iterable[str]) -> None:
    """Let functions check their arguments, in `module` and where they are defined, so that they can be pickled.

    Args:
        module: The `globals()` of a module.
        names: What is public in it.
    """
    for name in names:
        if inspect.isfunction(function := module[name]):
            module[name] = check_arguments(function)
            setattr(sys.modules[function.__module__], name, module[name])


def check_fields(struct: object) -> None:
    """Raise `ConfigurationError` if a field is not what its type hint says: msgspec checks only what it decodes.

    Args:
        struct: A new msgspec.Struct.
    """
    kind: Any = type(struct)
    for name, wanted in _hints(kind)[1].items():
        value = getattr(struct, name)
        if type(value) not in wanted and not _is_word(value, wanted):  # the usual cases at the least cost
            _check(f"{kind.__name__}({name}=...)", value, wanted)


def check_type(what: str, value: object, *classes: type) -> None:
    """Raise `ConfigurationError` if `value` is of none of the classes. It does not show the value: it may be a key.

    Args:
        what: The name of the argument.
        value: Its value.
        classes: The classes that it takes.
    """
    if not isinstance(value, classes):
        kinds = " or ".join(_WORDS.get(kind, kind.__name__) for kind in classes)
        raise ConfigurationError(f"{what} takes {kinds}; got a value of type {type(value).__name__}")


def _check(what: str, value: object, wanted: tuple[Any, ...]) -> None:
    """Raise `ConfigurationError` if the value is of none of the classes, or none of the words, that are wanted."""
    if isinstance(wanted[0], type):
        check_type(what, value, *wanted)
    elif not _is_word(value, wanted):
        raise ConfigurationError(f"{what} is one of {', '.join(map(repr, wanted))}; got {value!r}")


def _is_word(value: object, wanted: tuple[Any, ...]) -> bool:
    """Return whether the value is one of the words. It compares no arrays, whose `==` returns no bool."""
    return (value is None or isinstance(value, str | int)) and value in wanted


@cache
def _hints(function: Callable[..., Any]) -> tuple[inspect.Signature, dict[str, tuple[Any, ...]]]:
    """Return the signature, and the classes or words that parameters or fields take; unchecked ones are left out.

    Not checked are hints that mix words and classes, hints without a class (type variables), protocols, and `type[T]`:
    a type may also be an alias such as `list[int]`, which is not an instance of `type`.
    """
    hints: dict[str, tuple[Any, ...]] = {}
    for name, hint in get_type_hints(function).items():
        members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        origins = (Mapping if is_typeddict(member) else get_origin(member) or member for member in members)
        kinds = tuple(_WIDER.get(kind, kind) for kind in origins)
        if all(
            isinstance(kind, type) and kind is not type and not getattr(kind, "_is_protocol", False) for kind in kinds
        ):
            hints[name] = kinds
        elif all(kind in (Literal, NoneType) for kind in kinds):
            hints[name] = tuple(word for member in members for word in get_args(member) or (None,))
    return inspect.signature(function), hints
