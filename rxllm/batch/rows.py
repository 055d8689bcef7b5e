"""The row that each prompt ends in, an answer or a failure; to JSON and back. Pure values."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from .._core.error_format import ErrorRecord
from .._schema import decoder
from ..events import Response, Usage

Key: TypeAlias = str | int
"""Identifies a prompt in all runs: its number from 0, or the value of the key column."""


class AnswerRow(msgspec.Struct, frozen=True, tag="answer", omit_defaults=True):
    """The answer to a prompt.

    Attributes:
        key: Identifies the prompt.
        response: The answer.
        value: The JSON in the answer if there was a `response_format`; it is of the type that was asked for.
        columns: The columns that `keep=` named.
        tries: Number of requests that were made.
    """

    key: Key
    response: Response
    value: object = None
    columns: dict[str, object] = {}
    tries: int = 1

    @property
    def text(self) -> str:
        """The text of the answer."""
        return self.response.text


class FailureRow(msgspec.Struct, frozen=True, tag="failure", omit_defaults=True):
    """A prompt that has no answer.

    Attributes:
        key: Identifies the prompt.
        error: Name of the error's class.
        message: The error's message; with the number of the prompt's row if no request was made.
        transient: The same prompt may be answered another time.
        status_code: HTTP status.
        request_id: The vendor's id of the request.
        partial: The part of the answer that arrived.
        columns: The columns that `keep=` named.
        tries: Number of requests that were made.
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


class Settled(msgspec.Struct, frozen=True):
    """A row, with the position of its prompt, and the digest that changes with the prompt, the model or the options."""

    position: int
    digest: bytes
    row: Row

    @property
    def key(self) -> Key:
        """The row's key."""
        return self.row.key


_decoder: msgspec.json.Decoder[Row] = decoder(Row)


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
    """Return the tokens of a row, as far as they are known."""
    if isinstance(row, AnswerRow):
        return row.response.usage
    return Usage() if row.partial is None else row.partial.usage


def row_to_json(row: Row) -> bytes:
    """Return a row as one line of JSON, without a line end.

    Args:
        row: The row.
    """
    return msgspec.json.encode(row)


def row_from_json(data: bytes | str) -> Row:
    """Return the row that `row_to_json` wrote.

    Args:
        data: The JSON.

    Raises:
        ValueError: It is not the JSON of a row.

    >>> row_from_json(row_to_json(AnswerRow("a", Response("Hello")))).text
    'Hello'
    """
    return _decoder.decode(data)
