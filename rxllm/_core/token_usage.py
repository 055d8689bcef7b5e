"""Token usage: the sum of the vendors' counts, or an estimate if a stream was cut before a count arrived.

An estimate is rough, and made once, when a stream has ended: a token is taken to be four
characters of ASCII, or one and a half of any other script. On recorded English answers that was 10 %
below to 20 % above the vendor's count. Hidden reasoning, images, documents and sound are not in it.
`Usage.estimated` marks it.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from .._json import decode, encode, is_array, is_object
from ..events import Response, Usage

_ASCII_CHARACTERS = 4.0
_OTHER_CHARACTERS = 1.5
_BINARY = 256
"""Text without a space that is as long as this is taken for base64."""


def estimated_tokens(text: str) -> int:
    """Return an estimate of the tokens of `text`.

    >>> estimated_tokens("The quick brown fox jumps over the lazy dog.")
    11
    """
    ascii_characters = len(text.encode("ascii", "ignore"))
    return round(ascii_characters / _ASCII_CHARACTERS + (len(text) - ascii_characters) / _OTHER_CHARACTERS)


def estimated_input(body: bytes) -> int:
    """Return an estimate of a request's tokens from the text in its JSON body; 0 if the body is not JSON."""
    try:
        return sum(map(estimated_tokens, _texts(decode(body))))
    except (ValueError, RecursionError):
        return 0


def with_estimate(partial: Response, body: bytes | None) -> Response:
    """Return `partial` with the vendor's counts, if it counted the output, else with estimates of the missing counts.

    `body` is the request's body, or None if unknown.
    """
    usage = partial.usage
    if usage.output_tokens is not None:
        return partial
    calls = (call.name + encode(call.arguments).decode() for call in partial.tool_calls)
    output = sum(map(estimated_tokens, (partial.text, partial.reasoning, *calls)))
    known = usage.input_tokens
    taken = estimated_input(body) if known is None and body is not None else known
    total = None if taken is None else taken + output
    usage = msgspec.structs.replace(usage, input_tokens=taken, output_tokens=output, total_tokens=total, estimated=True)
    return msgspec.structs.replace(partial, usage=usage)


def add_usage(first: Usage, second: Usage) -> Usage:
    """Return the usage of two requests together.

    If only one of them reported its input or its output, the sum is too low and marked as estimated.

    >>> add_usage(Usage(10, 2, 12), Usage(12, 3, 15))
    Usage(input_tokens=22, output_tokens=5, total_tokens=27, cached_input_tokens=None, reasoning_tokens=None, \
estimated=False)
    """
    if Usage() in (first, second):
        return second if first == Usage() else first
    counts = {name: _sum(getattr(first, name), getattr(second, name)) for name in _COUNTS}
    is_lacking = any((getattr(first, name) is None) != (getattr(second, name) is None) for name in _COUNTS[:2])
    total = None
    if first.total_tokens is not None or second.total_tokens is not None:
        total = _sum(_total(first), _total(second))
    return Usage(**counts, total_tokens=total, estimated=first.estimated or second.estimated or is_lacking)


_COUNTS = ("input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens")


def _total(usage: Usage) -> int | None:
    """Return the total that the vendor reported, else the sum of the counts that it did report."""
    return _sum(usage.input_tokens, usage.output_tokens) if usage.total_tokens is None else usage.total_tokens


def _sum(first: int | None, second: int | None) -> int | None:
    known = [count for count in (first, second) if count is not None]
    return sum(known) if known else None


def _texts(value: object) -> Iterator[str]:
    """Yield all text in a JSON value that a model may read: values, and the names in a schema."""
    if isinstance(value, str):
        if not _is_binary(value):
            yield value
    elif is_array(value):
        for item in value:
            yield from _texts(item)
    elif is_object(value):
        for name, item in value.items():
            if name not in _SETTINGS:
                yield from _texts(item)
                if is_object(item):
                    yield name


def _is_binary(text: str) -> bool:
    start = text[:_BINARY]
    return len(start) == _BINARY and start.isascii() and " " not in start and "\n" not in start


_SETTINGS = frozenset({"model", "role", "type", "id", "mime_type", "mimeType", "media_type", "detail", "stream"})
"""Fields that say how, not what."""
