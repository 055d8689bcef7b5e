"""Stops a run whose first prompts all fail for the same reason: the job is wrong, not the prompts."""

from __future__ import annotations

import re

from .._core.error_format import ErrorRecord
from ..errors import ConfigurationError, LLMError
from .rows import FailureRow, Row, Settled

_NUMBER = re.compile(r"^row \d+: ")


class EarlyStop:
    """Holds back the first failures of a run until a row differs from them.

    `limit` failures with the same error end the run; 0 holds nothing back. Transient failures, answers of which a
    part arrived (they are paid for) and prompts that exceed the context window never count.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: list[Settled] = []

    def pass_on(self, rows: list[Settled]) -> list[Settled]:
        """Return the rows to settle now. Raises the common error of the first `limit` rows."""
        for number, settled in enumerate(rows):
            row = settled.row
            if not self._limit or not isinstance(row, FailureRow) or not self._is_alike(row):
                return [*self.release(), *rows[number:]]
            self._held.append(settled)
            if len(self._held) >= self._limit:
                raise _common_error(row, self._limit)
        return []

    def release(self) -> list[Settled]:
        """Hold nothing back any more; return the rows held back."""
        self._limit = 0
        held, self._held = self._held, []
        return held

    def _is_alike(self, row: FailureRow) -> bool:
        """Return whether the failure counts, and has the same error as those held back."""
        partial = row.partial
        is_paid = partial is not None and (partial.text or partial.reasoning or partial.tool_calls)
        if row.transient or is_paid or row.error in ("ContextWindowExceededError", "OutputParsingError"):
            return False
        return not self._held or _reason(self._held[0].row) == _reason(row)


def _reason(row: Row) -> tuple[object, ...]:
    """Return what failures with the same cause have in common: the error without the ids of request and row."""
    assert isinstance(row, FailureRow)
    without_ids = row.message.replace(row.request_id or "\0", "")
    return row.error, row.status_code, _NUMBER.sub("", without_ids)


def _common_error(row: FailureRow, count: int) -> LLMError:
    """Return the error that ends the run: as the vendor's, or a `ConfigurationError` if no request was made."""
    message = f"the first {count} prompts all failed with the same error, so the run stopped: {row.message}"
    if row.tries == 0:
        return ConfigurationError(message)
    return ErrorRecord(row.error, message, status_code=row.status_code, request_id=row.request_id).to_error()
