"""Answers as data: while they are written, element by element, or as a whole.

The JSON is in the answer's text (see `document` for where), or with `tool=` in the arguments of each call of that
tool. An answer without it, that is cut off, or that is not of the type, ends in an `OutputParsingError`, which holds
the text.

A type is a dataclass, a TypedDict, a msgspec Struct, a pydantic model, or built of them (`list[Item]`). Without a type,
values are dicts, lists, str, int, float, bool and None.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Generic

from typing_extensions import TypeVar

from ..._json import decode, encode
from ...errors import OutputParsingError
from ...events import TokenEvent, ToolCallEnd
from ...messages import ToolCall
from .._operator import Operator, pick
from .incremental_parser import JsonTree
from .json_in_answer import JsonDocument, json_scalars, json_values, not_json, read_json
from .typed import Target

T = TypeVar("T", default=object)  # without a type: JSON's own types

_CREDIT_AT_START = 10_000_000
_CREDIT_PER_CHARACTER = 200
"""What snapshots may cost (in units of `Target.cost`): about 0.05 s, and 1 us per character."""


def partial_json(type: type[T] | None = None, *, tool: str | None = None) -> Operator[TokenEvent | str, T]:  # noqa: A002  the word users know
    """Emit the object or array as it grows, valid at every moment: a snapshot after each piece that changes it.

    Text grows with each piece; numbers and literals come when they are complete. With a type, fields that have not
    come are empty if the type allows it ("", [], None, the field's own default), and no object comes before it can be
    a valid one: give a default to a number that comes late.

    Snapshots share their closed parts: do not change them. The total cost is linear: in an answer of more than about
    15,000 characters one snapshot may stand for several pieces. The last one is the whole object. An answer that is
    cut off ends in an error after its snapshots. A number, text or literal alone comes once, at the end.

    Args:
        type: The type of the object; default: JSON's own types.
        tool: Read the arguments of each call of this tool, not the text.

    Raises:
        ConfigurationError: JSON cannot be read as `type`.

    >>> import reactivex
    >>> reactivex.of('{"name": "Wid', 'get", "tags": ["ne', 'w"]}').pipe(partial_json()).subscribe(print).dispose()
    {'name': 'Wid'}
    {'name': 'Widget', 'tags': ['ne']}
    {'name': 'Widget', 'tags': ['new']}
    """
    target = Target(type)
    return read_json(lambda: _Partial(target), tool)


def array_items(
    type: type[T] | None = None,  # noqa: A002  see above
    *,
    path: str | Sequence[str] = (),
    tool: str | None = None,
) -> Operator[TokenEvent | str, T]:
    """Emit each element of the array at `path` the moment it closes. Only the text is kept, not the elements.

    An answer without such an array ends in an `OutputParsingError`.

    Args:
        type: The type of an element; default: JSON's own types.
        path: The keys to the array, as "data.items" or ("data", "items"); "*" is any element of an array. Default:
            the root is the array.
        tool: Read the arguments of each call of this tool, not the text.

    Raises:
        ConfigurationError: JSON cannot be read as `type`.

    >>> import reactivex
    >>> source = reactivex.of('{"items": [{"n": 1}, {"n"', ": 2}]}")
    >>> source.pipe(array_items(dict[str, int], path="items")).subscribe(print).dispose()
    {'n': 1}
    {'n': 2}
    """
    target = Target(type)
    keys = tuple(path.split(".") if path else ()) if isinstance(path, str) else tuple(path)
    return read_json(lambda: _Items(target, keys), tool)


def parse(type: type[T] | None = None, *, tool: str | None = None) -> Operator[TokenEvent | str, T]:  # noqa: A002  see above
    """Emit the whole answer as one value, at its end; with `tool`, a value for each call.

    Args:
        type: The type of the value; default: JSON's own types.
        tool: Read the arguments of each call of this tool, not the text.

    Raises:
        ConfigurationError: JSON cannot be read as `type`.

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
        self._emitted: T | None = None

    def feed(self, text: str, /) -> Sequence[T]:
        """Return snapshots after `text`; reading it may end one document and begin another."""
        tree = self._document.tree
        self._document.feed(text)
        self._credit += _CREDIT_PER_CHARACTER * len(text)
        if tree is self._document.tree:
            return self._snapshot(tree)
        # A tree that has been given up in this piece is shown as far as it had come.
        return [*self._snapshot(tree), *self._snapshot(self._document.tree)]

    def _snapshot(self, tree: JsonTree) -> Sequence[T]:
        """Return the value so far, if it has grown; not when building it costs more than the text that has arrived."""
        if not tree.grown:
            return ()
        if tree.done:
            tree.grown = False
            try:
                self._emitted = self._target.whole(tree.root())
            except ValueError:
                return ()  # an error at the end, unless there is a better value
            return (self._emitted,)
        cost = self._target.cost(tree)
        if cost > self._credit:
            return ()
        self._credit -= cost
        tree.grown = False
        value = self._target.so_far(tree)
        return () if value is None else (value,)

    def close(self) -> Sequence[T]:
        if not self._document.text:
            return ()
        whole = value_of(self._target, self._document.text)
        return () if self._emitted is not None and self._emitted == whole else (whole,)


class _Items(Generic[T]):
    def __init__(self, target: Target[T], path: tuple[str, ...]) -> None:
        self._target = target
        self._path = path
        self._document = JsonDocument(path)
        self._found = False
        """The array has begun."""
        self._error: OutputParsingError | None = None
        """Raised after the elements before it have been emitted."""

    def feed(self, text: str, /) -> Sequence[T]:
        """Return the elements that have closed. An error waits until those before it are emitted."""
        items: list[T] = []
        try:
            self._read(text, items)
        except OutputParsingError as error:
            self._error = error
            if not items:
                raise
        return items

    def _read(self, text: str, items: list[T]) -> None:
        """Add the elements that `text` closes to `items`; raise the error that ends the array."""
        if self._error is not None:
            raise self._error
        tree = self._document.tree
        self._document.feed(text)
        self._take(tree, items)
        if tree is not self._document.tree:
            if self._found:  # it broke off: elements of a later document do not belong to it
                raise not_json(self._document.text)
            self._take(self._document.tree, items)

    def _take(self, tree: JsonTree, items: list[T]) -> None:
        self._found = self._found or tree.items_found
        values, tree.items = tree.items, []
        for value in values:
            items.append(_typed(self._target, value, self._document.text))

    def close(self) -> Sequence[T]:
        """Return elements found only in the whole answer, if no array had begun in the stream."""
        if self._error is not None:
            raise self._error
        text = self._document.text
        if not text or (self._found and self._document.tree.done):
            return ()
        value = None if self._found else next(json_values(text), None)
        if value is None:
            raise not_json(text)
        tree = JsonTree(self._path)
        tree.feed(encode(value).decode())
        if not tree.items_found:
            raise OutputParsingError(f"the answer has no array at {'.'.join(self._path) or 'its root'}", text=text)
        return [_typed(self._target, item, text) for item in tree.items]


class _Whole(Generic[T]):
    def __init__(self, target: Target[T]) -> None:
        self._target = target
        self._pieces: list[str] = []

    def feed(self, text: str, /) -> Sequence[T]:
        self._pieces.append(text)
        return ()

    def close(self) -> Sequence[T]:
        return (value_of(self._target, "".join(self._pieces)),)


def value_of(target: Target[T], text: str) -> T:
    """Return the first value in the complete answer `text` that is of the type, the most likely ones first.

    Raises:
        OutputParsingError: There is none; the error is that of the most likely value.
    """
    wrong_type: OutputParsingError | None = None
    for value in _values_in(text):
        try:
            return _typed(target, value, text)
        except OutputParsingError as error:
            wrong_type = wrong_type or error
    raise wrong_type or not_json(text)


def _values_in(text: str) -> Iterator[object]:
    """Yield the JSON that the answer is; then, if other text is beside it or it is not quite JSON, what is in it."""
    with suppress(ValueError, RecursionError):
        yield decode(text)
    yield from json_values(text)
    yield from json_scalars(text)


def _typed(target: Target[T], value: object, text: str) -> T:
    """Return `value`, which the answer `text` holds, as the type."""
    try:
        return target.whole(value)
    except ValueError as error:
        raise OutputParsingError(f"the answer's JSON does not fit the type: {error}", text=text) from error
