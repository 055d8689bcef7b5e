"""Answers as data: while they are written, element by element, or whole.

The JSON is the answer's text (where other text stands first: its first fenced block of JSON),
or with `tool=` the arguments of each call of that tool. An answer that is not JSON, that is cut
off, or that is not of the type, ends in an `OutputParsingError`, which holds the text.

A type is a dataclass, a TypedDict, a msgspec Struct, a pydantic model, or built of them
(`list[Item]`); without one, values are dicts, lists, str, int, float, bool and None. A type that
JSON cannot be read as is a `ConfigurationError` at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar, overload

from ..._json import decode
from ...errors import OutputParsingError
from ...events import TokenEvent, ToolCallEnd
from ...messages import ToolCall
from .._operator import Operator, pick
from .document import JsonDocument, read_json
from .typed import Target

T = TypeVar("T")

_CREDIT_AT_START = 10_000_000
_CREDIT_PER_CHARACTER = 200
"""What snapshots may cost (units of `Target.cost`): some 0.05 s, and 1 us per character."""


@overload
def partial_json(type: None = None, *, tool: str | None = None) -> Operator[TokenEvent | str, object]: ...
@overload
def partial_json(type: type[T], *, tool: str | None = None) -> Operator[TokenEvent | str, T]: ...
def partial_json(type: type[T] | None = None, *, tool: str | None = None) -> Operator[TokenEvent | str, T]:  # noqa: A002  the word users know
    """Show the object as it grows, valid at every moment: a snapshot after each piece that changes it.

    Text grows with each piece; numbers and literals come when they are whole. With a type, what
    has not come is empty where the type allows it ("", [], None, the field's own default), and no
    object comes before it can be a valid one: give a default to a number that comes late.

    Snapshots stay as they are, and share what is closed: do not change them. The total cost is
    linear: in an answer beyond some 15,000 characters one snapshot may stand for a few pieces. The
    last is the whole object. (An answer cut off ends in an error behind the snapshots.)

    >>> import reactivex
    >>> reactivex.of('{"name": "Wid', 'get", "tags": ["ne', 'w"]}').pipe(partial_json()).subscribe(print).dispose()
    {'name': 'Wid'}
    {'name': 'Widget', 'tags': ['ne']}
    {'name': 'Widget', 'tags': ['new']}
    """
    target = Target(type)
    return read_json(lambda: _Partial(target), tool)


@overload
def array_items(
    type: None = None, *, path: str | Sequence[str] = (), tool: str | None = None
) -> Operator[TokenEvent | str, object]: ...
@overload
def array_items(
    type: type[T], *, path: str | Sequence[str] = (), tool: str | None = None
) -> Operator[TokenEvent | str, T]: ...
def array_items(
    type: type[T] | None = None,  # noqa: A002  see above
    *,
    path: str | Sequence[str] = (),
    tool: str | None = None,
) -> Operator[TokenEvent | str, T]:
    """Emit each element of the array at `path`, as `type`, the moment it closes.

    `path` is the keys to the array: "data.items" or ("data", "items"), where "*" stands for any
    element of an array on the way; nothing is the root. Elements are not kept, only
    the text is. No array there is an `OutputParsingError` at the end.

    >>> import reactivex
    >>> source = reactivex.of('{"items": [{"n": 1}, {"n"', ": 2}]}")
    >>> source.pipe(array_items(dict[str, int], path="items")).subscribe(print).dispose()
    {'n': 1}
    {'n': 2}
    """
    target = Target(type)
    keys = tuple(path.split(".") if path else ()) if isinstance(path, str) else tuple(path)
    return read_json(lambda: _Items(target, keys), tool)


@overload
def parse(type: None = None, *, tool: str | None = None) -> Operator[TokenEvent | str, object]: ...
@overload
def parse(type: type[T], *, tool: str | None = None) -> Operator[TokenEvent | str, T]: ...
def parse(type: type[T] | None = None, *, tool: str | None = None) -> Operator[TokenEvent | str, T]:  # noqa: A002  see above
    """Emit the whole answer as one value of `type`, at its end; with `tool`, one for each call.

    >>> import reactivex
    >>> reactivex.of("[1, 2", ", 3]").pipe(parse(list[int])).subscribe(print).dispose()
    [1, 2, 3]
    """
    target = Target(type)
    return read_json(lambda: _Whole(target), tool)


def tool_calls() -> Operator[TokenEvent, ToolCall]:
    """Emit each tool call once its arguments are complete."""
    return pick("tool_calls", ToolCallEnd, "call")


class _Partial(Generic[T]):
    def __init__(self, target: Target[T]) -> None:
        self._target = target
        self._document = JsonDocument()
        self._credit = _CREDIT_AT_START

    def feed(self, text: str, /) -> Sequence[T]:
        tree = self._document.tree
        self._document.feed(text)
        self._credit += _CREDIT_PER_CHARACTER * len(text)
        if not tree.grown:
            return ()
        if tree.done:
            tree.grown = False
            return (_whole(self._target, tree.root(), self._document),)
        cost = self._target.cost(tree)
        if cost > self._credit:
            return ()
        self._credit -= cost
        tree.grown = False
        value = self._target.so_far(tree)
        return () if value is None else (value,)

    def close(self) -> Sequence[T]:
        if not self._document.empty:
            self._document.finish()
        return ()


class _Items(Generic[T]):
    def __init__(self, target: Target[T], path: tuple[str, ...]) -> None:
        self._target = target
        self._path = path
        self._document = JsonDocument(path)
        self._failed: OutputParsingError | None = None  # behind elements that are yet to be emitted

    def feed(self, text: str, /) -> Sequence[T]:
        if self._failed is not None:
            raise self._failed
        found: list[T] = []
        try:
            self._read(text, found)
        except OutputParsingError as error:
            if not found:
                raise
            self._failed = error
        return found

    def _read(self, text: str, found: list[T]) -> None:
        try:
            self._document.feed(text)
        finally:
            items, self._document.tree.items = self._document.tree.items, []
            found.extend(_whole(self._target, item, self._document) for item in items)

    def close(self) -> Sequence[T]:
        if self._failed is not None:
            raise self._failed
        if not self._document.empty:
            self._document.finish()
            if not self._document.tree.items_found:
                where = ".".join(self._path) or "its root"
                raise OutputParsingError(f"the answer has no array at {where}", text=self._document.text)
        return ()


def value_of(target: Target[T], text: str) -> T:
    """Return the JSON in `text` as the type; raise `OutputParsingError` if it is none."""
    try:
        value = decode(text)
    except (ValueError, RecursionError):  # a fence around it, a raw newline in it, or no JSON
        document = JsonDocument()
        document.feed(text)
        document.finish()
        value = document.tree.root()
    return _whole(target, value, text)


class _Whole(Generic[T]):
    def __init__(self, target: Target[T]) -> None:
        self._target = target
        self._pieces: list[str] = []

    def feed(self, text: str, /) -> Sequence[T]:
        self._pieces.append(text)
        return ()

    def close(self) -> Sequence[T]:
        return (value_of(self._target, "".join(self._pieces)),)


def _whole(target: Target[T], value: object, text: str | JsonDocument) -> T:
    try:
        return target.whole(value)
    except ValueError as error:
        said = text if isinstance(text, str) else text.text
        raise OutputParsingError(f"the answer's JSON is not of the type it should be: {error}", text=said) from error
