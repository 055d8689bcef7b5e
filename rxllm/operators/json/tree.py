"""JSON read while it is written: a tree that grows with each piece of text.

The tree holds the closed values; the open ones are on a stack. `snapshot` joins the two into a value that does not
change later: containers on the open path are copied, closed ones are shared. Reading is linear in the text, for any
cut. The JSON is that of RFC 8259, and what models write beside it: control characters in strings, trailing commas, and
backslashes that begin no escape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from string import hexdigits
from typing import Literal, TypeAlias

import msgspec

from ..._json import decode
from ..text.growing_text import GrowingText

MAX_DEPTH = 200
"""Containers within containers; deeper JSON is an error."""

Container: TypeAlias = dict[str, object] | list[object]
State: TypeAlias = "Callable[[JsonTree, str, int], int]"
Next: TypeAlias = Literal["document", "value", "value or end", "key or end", "colon", "comma or end"]

_EXPECTED: dict[Next, str] = {
    "document": "a JSON object or array",
    "value": "a value",
    "value or end": "a value",
    "key or end": "a key in quotes",
    "colon": "a colon",
}
_SPACE = re.compile(r"[ \t\n\r]*")
_PLAIN = re.compile(r'[^"\\]*')
_TOKEN = re.compile(r"[-+.0-9A-Za-z]*")
_HEXADECIMAL = frozenset(hexdigits)
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_LONGEST_TOKEN = 4000  # digits of a number
_LOST = "\ufffd"  # replaces half a surrogate pair, so that text can always be encoded


class JsonTree:
    """One JSON document, an object or an array, as it grows.

    With `items_at`, a path of keys ("*" for any array element), the elements of the arrays there go to `items` when
    they close, and not into the tree.
    """

    def __init__(self, items_at: tuple[str, ...] | None = None) -> None:
        self.done = False
        """The document is complete."""
        self.values = 0
        """Number of values that have closed."""
        self.grown = False
        """A value has closed, opened or grown. The reader sets it to False."""
        self.items: list[object] = []
        self.items_found = False
        """An array at `items_at` has opened."""
        self._items_at = items_at
        self._items_depth = 0  # of the open array whose elements are wanted
        self._root: object = None
        self.stack: list[Container] = []
        """The open containers, from the root on."""
        self._keys: list[str] = []  # for each open container, the place in it that is open
        self._state: State = JsonTree._between
        self._next: Next = "document"
        """What may come between strings, numbers and literals."""
        self._text: GrowingText | None = None  # the open string
        self._in_key = False
        self._escape = ""  # the beginning of an escape in it
        self._high = 0  # a high surrogate without its other half yet
        self._token = ""  # the beginning of a number or literal
        self._read = 0  # characters before the current piece
        self.stopped_at = 0
        """Where in the last piece reading stopped: behind the document, or at an error."""

    def feed(self, text: str, at: int = 0) -> None:
        """Read on from `text[at]` to the end of the document.

        Raises:
            ValueError: This cannot become JSON any more; the message says where.
        """
        self._read -= at
        try:
            while at < len(text) and not self.done:
                at = self._state(self, text, at)
        finally:
            self.stopped_at = at
        self._read += at

    def path(self) -> Sequence[tuple[Container, str]]:
        """Return the open containers from the root on, each with the key that is open in it ("*" in arrays)."""
        return list(zip(self.stack, self._keys, strict=True))

    def open_text(self) -> str | None:
        """Return the open string value, as far as it has come; None if no string is open."""
        return self._text.latest if self._text is not None and not self._in_key else None

    def root(self) -> object:
        """Return the document, once it is done."""
        return self._root

    def snapshot(self) -> object:
        """Return the document so far; None before it has begun. Numbers and literals count once they are complete."""
        if self.done:
            return self._root
        value: object = self.open_text()
        for container, key in reversed(self.path()):
            value = extended(container, key, value) if value is not None else container.copy()
        return value

    def _push(self, container: Container, key: str, following: Next) -> None:
        """Open an array or object, below the current one; raise `ValueError` if it is nested too deep."""
        if len(self.stack) == MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} levels deep")
        if key and self._items_at == tuple(self._keys) and not self._items_depth:
            self._items_depth = len(self.stack) + 1
            self.items_found = True
        self.stack.append(container)
        self._keys.append(key)
        self._next = following
        self.grown = True

    def _pop(self) -> None:
        if len(self.stack) == self._items_depth:
            self._items_depth = 0
        self._keys.pop()
        self._close(self.stack.pop())

    def _close(self, value: object) -> None:
        """Add `value`, which is complete, to its container."""
        self.values += 1
        self.grown = True
        if not self.stack:
            self._root, self.done = value, True
            return
        container = self.stack[-1]
        self._state, self._next = JsonTree._between, "comma or end"
        if isinstance(container, dict):
            container[self._keys[-1]] = value
        elif len(self.stack) == self._items_depth:
            self.items.append(value)
        else:
            container.append(value)

    def _wrong(self, text: str, at: int, wanted: str) -> ValueError:
        return ValueError(f"{wanted} expected at character {self._read + at}, not {text[at]!r}")

    # The states: each reads on from `text[at]` and returns where it stopped.

    def _between(self, text: str, at: int) -> int:
        """Read the next character outside of strings, numbers and literals."""
        char = text[at]
        if char in " \t\n\r":
            return _end_of(_SPACE, text, at)
        in_object = bool(self.stack) and isinstance(self.stack[-1], dict)
        end = "}" if in_object else "]"
        match self._next, char:
            case "comma or end", ",":  # a trailing comma may end it
                self._next = "key or end" if in_object else "value or end"
            case "colon", ":":
                self._next = "value"
            case "key or end" | "value" | "value or end", '"':
                self._open_text(in_key=self._next == "key or end")
            case "document" | "value" | "value or end", "{":
                self._push({}, "", "key or end")
            case "document" | "value" | "value or end", "[":
                self._push([], "*", "value or end")
            case "value" | "value or end", _ if char in "-0123456789tfn":
                self._state = JsonTree._scalar
                return at
            case "key or end" | "value or end" | "comma or end", _ if char == end:
                self._pop()
            case _:
                raise self._wrong(text, at, _EXPECTED.get(self._next, f"a comma or {end}"))
        return at + 1

    def _scalar(self, text: str, at: int) -> int:
        """Collect a number or literal up to the next other character: only then is it complete."""
        end = _end_of(_TOKEN, text, at)
        self._token += text[at:end]
        if len(self._token) > _LONGEST_TOKEN:
            raise ValueError(f"a number of more than {_LONGEST_TOKEN} digits")
        if end < len(text):
            token, self._token = self._token, ""
            try:
                value = decode(token)
            except ValueError as error:
                fault = "a number out of range" if isinstance(error, msgspec.ValidationError) else "not a JSON value"
                raise ValueError(f"{fault}: {token[:40]}") from None
            self._close(value)
        return end

    def _open_text(self, *, in_key: bool) -> None:
        self._text = GrowingText()
        self._in_key = in_key
        self.grown = self.grown or not in_key
        self._state = JsonTree._string

    def _string(self, text: str, at: int) -> int:
        """Read the open string up to its end, or up to a backslash."""
        end = _end_of(_PLAIN, text, at)
        if end > at:
            self._add(text[at:end])
        if end == len(text):
            return end
        if text[end] == "\\":
            self._state = JsonTree._escaped
        else:
            self._end_text()
        return end + 1

    def _escaped(self, text: str, at: int) -> int:
        """Read an escape; it may be cut anywhere, also inside four hexadecimal digits."""
        char = text[at]
        self._escape += char
        if self._escape[0] != "u":
            self._add(_ESCAPES.get(char, "\\" + char))  # or a backslash of its own, as in "C:\\Home"
        elif len(self._escape) > 1 and char not in _HEXADECIMAL:
            raise self._wrong(text, at, "four hexadecimal digits after \\u")
        elif len(self._escape) < 5:
            return at + 1
        else:
            self._add_unit(int(self._escape[1:], 16))
        self._escape, self._state = "", JsonTree._string
        return at + 1

    def _add_unit(self, unit: int) -> None:
        """Add a UTF-16 code unit; a high surrogate waits for its other half."""
        if 0xDC00 <= unit < 0xE000:
            high, self._high = self._high, 0
            self._add(chr(0x10000 + ((high - 0xD800) << 10) + unit - 0xDC00) if high else _LOST)
        elif 0xD800 <= unit < 0xDC00:
            self._add("")
            self._high = unit
        else:
            self._add(chr(unit))

    def _add(self, piece: str) -> None:
        if self._high:
            self._high = 0
            piece = _LOST + piece
        if self._text is not None and piece:
            self._text.add(piece)
            self.grown = self.grown or not self._in_key

    def _end_text(self) -> None:
        """End the string: it is a key, or a value."""
        self._add("")
        text = self._text.latest if self._text is not None else ""
        self._text = None
        if self._in_key:
            self._keys[-1] = text
            self._state, self._next = JsonTree._between, "colon"
        else:
            self._close(text)


def extended(container: Container, key: str, value: object) -> Container:
    """Return a copy of `container` with `value` added at its open end."""
    if isinstance(container, dict):
        return {**container, key: value}
    return [*container, value]


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Return where the match of `pattern` at `at` ends; it always matches."""
    match = pattern.match(text, at)
    return match.end() if match else at
