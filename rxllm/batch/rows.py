"""What becomes of each prompt: one row, an answer or a failure. Pure values, to JSON and back."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from .._core.error_format import ErrorRecord
from ..events import Response, Usage

Key: TypeAlias = str | int
"""What a prompt is known by over all runs: its number from 0, or what the user's key column says."""


class AnswerRow(msgspec.Struct, frozen=True, tag="answer", omit_defaults=True):
    """The answer to the prompt with this key.

    `value` is the answer's JSON, where a `response_format` asked for some: it is of the type that
    was asked for. `columns` are those of the prompt's row that `keep=` names. `tries` counts the
    requests made, the last included.
    """

    key: Key
    response: Response
    value: object = None
    columns: dict[str, object] = {}
    tries: int = 1

    @property
    def text(self) -> str:
        """What the answer says."""
        return self.response.text


class FailureRow(msgspec.Struct, frozen=True, tag="failure", omit_defaults=True):
    """What became of the prompt with this key instead of an answer.

    `error` is the name of the error's class, `message` what it says. `partial` is as much of an
    answer as had come. `transient`: the same prompt may be answered another time.
    """

    key: Key
    error: str
    message: str
    transient: bool = False
    status_code: int | None = None
    request_id: str | None = None
    partial: Response | None = None
    columns: dict[str, object] = {}
    tries: int = 1


Row: TypeAlias = AnswerRow | FailureRow

_decoder: msgspec.json.Decoder[Row] = msgspec.json.Decoder(Row)


def failure_of(error: Exception, key: Key, columns: dict[str, object], tries: int) -> FailureRow:
    """Return the row for `error`.

    >>> from rxllm import RateLimitError
    >>> failure_of(RateLimitError("slow down", status_code=429), 7, {}, 3).error
    'RateLimitError'
    """
    record = ErrorRecord.of(error)
    return FailureRow(
        key=key,
        error=type(error).__name__,
        message=record.message.encode("utf-8", "backslashreplace").decode(),
        transient=record.transient,
        status_code=record.status_code,
        request_id=record.request_id,
        partial=record.partial,
        columns=columns,
        tries=tries,
    )


def usage_of(row: Row) -> Usage:
    """The tokens of a row, as far as they are known."""
    if isinstance(row, AnswerRow):
        return row.response.usage
    return Usage() if row.partial is None else row.partial.usage


def row_to_json(row: Row) -> bytes:
    """One row as one line of JSON, without the line's end."""
    return msgspec.json.encode(row)


def row_from_json(data: bytes | str) -> Row:
    """The row that `row_to_json` wrote; raises `ValueError` on other JSON.

    >>> row_from_json(row_to_json(AnswerRow("a", Response("Hello")))).text
    'Hello'
    """
    return _decoder.decode(data)
