"""JSON read while it is written: a tree that grows with each piece of text.

The tree holds the closed values; the open ones are on a stack. `snapshot` joins the two into a value that does not
change later: containers on the open path are copied, closed ones are shared. Reading is linear in the text, for any
cut. The JSON is that of RFC 8259, and what models write beside it: control characters in strings, trailing commas, and
backslashes that begin no escape.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from ..._json import decode, valid_text
from ..text.growing_text import GrowingText

MAX_DEPTH = 200
"""Containers within containers; deeper JSON is an error."""

Container: TypeAlias = dict[str, object] | list[object]
Next: TypeAlias = Literal["document", "value", "value or end", "key or end", "colon", "comma or end"]

_EXPECTED: dict[Next, str] = {
    "document": "a JSON object or array",
    "value": "a value",
    "value or end": "a value",
    "key or end": "a key in quotes",
    "colon": "a colon",
}
_SPACE = re.compile(r"[ \t\n\r]*")
_TOKEN = re.compile(r"[-+.0-9A-Za-z]*")
_STRING = re.compile(r'(?:[^"\\]|\\u[0-9a-fA-F]{4}|\\[^u])*', re.DOTALL)
"""What a string holds, up to its end or to an escape that is cut or wrong."""
_ESCAPE = re.compile(r"\\(?:u(?P<unit>.{4})|(?P<char>.))", re.DOTALL)
_CUT_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_LONGEST_TOKEN = 4000  # digits of a number


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
        self._items_depth = 0  # number of open containers down to the open array at `items_at`; 0: none is open
        self._root: object = None
        self.stack: list[Container] = []
        """The open containers, from the root on."""
        self._keys: list[str] = []  # for each open container, the place in it that is open
        self._next: Next = "document"
        """What may come between strings, numbers and literals."""
        self._text: GrowingText | None = None  # the open string
        self._in_key = False
        self._high = ""  # a high surrogate at the end of the open string, without its other half yet
        self._held: str = ""  # the beginning of a number, of a literal or of an escape
        self._read = 0  # characters before the text that is being read
        self.stopped_at = 0
        """Where in the last piece reading stopped: behind the document, or at an error."""

    def feed(self, text: str, at: int = 0) -> None:
        """Read on from `text[at]` to the end of the document.

        Raises:
            ValueError: This cannot become JSON any more; the message says where.
        """
        held = len(self._held)
        if held:
            text, at = self._held + text[at:], 0
        self._read -= at
        begun = -1
        try:
            while begun < at < len(text) and not self.done:
                begun = at
                at = self._between(text, at) if self._text is None else self._string(text, at)
        finally:
            self.stopped_at = at - held
        self._held = text[at:] if at == begun else ""
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
        self._next = "comma or end"
        if isinstance(container, dict):
            container[self._keys[-1]] = value
        elif len(self.stack) == self._items_depth:
            self.items.append(value)
        else:
            container.append(value)

    # Each of these reads on from `text[at]` and returns where it stopped: at `at` if it needs more text.

    def _between(self, text: str, at: int) -> int:
        """Read the next character outside of strings, a number or a literal."""
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
                self._text, self._in_key = GrowingText(), self._next == "key or end"
                self.grown = self.grown or not self._in_key
            case "document" | "value" | "value or end", "{":
                self._push({}, "", "key or end")
            case "document" | "value" | "value or end", "[":
                self._push([], "*", "value or end")
            case "value" | "value or end", _ if char in "-0123456789tfn":
                return self._scalar(text, at)
            case "key or end" | "value or end" | "comma or end", _ if char == end:
                self._pop()
            case _:
                wanted = _EXPECTED.get(self._next, f"a comma or {end}")
                raise ValueError(f"{wanted} expected at character {self._read + at}, not {char!r}")
        return at + 1

    def _scalar(self, text: str, at: int) -> int:
        """Read a number or literal up to the next other character: only then is it complete."""
        end = _end_of(_TOKEN, text, at)
        if end - at > _LONGEST_TOKEN:
            raise ValueError(f"a number of more than {_LONGEST_TOKEN} digits")
        if end == len(text):
            return at
        try:
            value = decode(text[at:end])
        except ValueError as error:
            fault = "a number out of range" if isinstance(error, msgspec.ValidationError) else "not a JSON value"
            raise ValueError(f"{fault}: {text[at : min(end, at + 40)]}") from None
        self._close(value)
        return end

    def _string(self, text: str, at: int) -> int:
        """Read the open string up to its end, or up to an escape that is cut."""
        end = _end_of(_STRING, text, at)
        is_end = text.startswith('"', end)
        if end > at or (is_end and self._high):
            self._add(_ESCAPE.sub(_unescaped, text[at:end]), is_end=is_end)
        if is_end:
            self._end_text()
            return end + 1
        if end < len(text) and not _CUT_ESCAPE.match(text, end):
            raise ValueError(f"four hexadecimal digits expected after \\u at character {self._read + end}")
        return end

    def _add(self, piece: str, *, is_end: bool) -> None:
        """Add text to the open string; a high surrogate at its end waits for its other half."""
        piece = self._high + piece
        self._high = piece[-1] if "\ud800" <= piece[-1] < "\udc00" and not is_end else ""
        piece = valid_text(piece[: len(piece) - len(self._high)])
        if self._text is not None and piece:
            self._text.add(piece)
            self.grown = self.grown or not self._in_key

    def _end_text(self) -> None:
        """End the string: it is a key, or a value."""
        text = self._text.latest if self._text is not None else ""
        self._text = None
        if self._in_key:
            self._keys[-1] = text
            self._next = "colon"
        else:
            self._close(text)


def extended(container: Container, key: str, value: object) -> Container:
    """Return a copy of `container` with `value` added at its open end."""
    if isinstance(container, dict):
        return {**container, key: value}
    return [*container, value]


def _unescaped(escape: re.Match[str]) -> str:
    """Return the character that an escape stands for. A backslash that begins none stays: as in a path of Windows."""
    unit, char = escape.groups()
    return chr(int(unit, 16)) if unit else _ESCAPES.get(char, "\\" + char)


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Return where the match of `pattern` at `at` ends; it always matches."""
    match = pattern.match(text, at)
    return match.end() if match else at
