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
    output = estimated_output(partial)
    counted = usage.input_tokens
    taken = counted if counted is not None or body is None else estimated_input(body)
    return msgspec.structs.replace(
        partial,
        usage=msgspec.structs.replace(
            usage,
            input_tokens=taken,
            output_tokens=output,
            total_tokens=None if taken is None else taken + output,
            estimated=True,
        ),
    )


def estimated_output(response: Response) -> int:
    """Return an estimate of the tokens of an answer's text, reasoning and tool calls."""
    calls = sum(estimated_tokens(call.name + encode(call.arguments).decode()) for call in response.tool_calls)
    return estimated_tokens(response.text) + estimated_tokens(response.reasoning) + calls


def add_usage(first: Usage, second: Usage) -> Usage:
    """Return the usage of two requests together.

    If only one of them reported its input or its output, the sum is too low and marked as estimated.

    >>> add_usage(Usage(10, 2, 12), Usage(12, 3, 15))
    Usage(input_tokens=22, output_tokens=5, total_tokens=27, cached_input_tokens=None, reasoning_tokens=None, \
estimated=False)
    """
    known = [usage for usage in (first, second) if usage != Usage()]
    if len(known) < 2:
        return known[0] if known else first
    lacking = any(
        (getattr(first, name) is None) != (getattr(second, name) is None) for name in ("input_tokens", "output_tokens")
    )
    no_totals = first.total_tokens is None and second.total_tokens is None
    return Usage(
        input_tokens=_sum(first.input_tokens, second.input_tokens),
        output_tokens=_sum(first.output_tokens, second.output_tokens),
        total_tokens=None if no_totals else _sum(_total(first), _total(second)),
        cached_input_tokens=_sum(first.cached_input_tokens, second.cached_input_tokens),
        reasoning_tokens=_sum(first.reasoning_tokens, second.reasoning_tokens),
        estimated=first.estimated or second.estimated or lacking,
    )


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
