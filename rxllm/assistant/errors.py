"""Errors of a turn beside the model's own."""

from __future__ import annotations

from ..errors import LLMError, StreamError


class MaxIterationsError(LLMError):
    """The turn has made `max_iterations` requests, and the model still calls tools or gives no valid answer."""


class MemoryStoreError(LLMError):
    """A conversation could not be read or written. `__cause__` is the error of the store or the window."""


def as_exception(error: BaseException) -> Exception:
    """Return the error; a `StreamError` with its text if it is no `Exception`.

    Args:
        error: Anything that code of the user raised.
    """
    return error if isinstance(error, Exception) else StreamError(error_text(error))


def error_text(error: BaseException) -> str:
    """Return the class and the message of an error, also if its `__str__` raises.

    Args:
        error: Any exception.

    >>> error_text(KeyError("city")), error_text(TimeoutError())
    ("KeyError: 'city'", 'TimeoutError')
    """
    name = type(error).__name__
    try:
        text = str(error)
    except BaseException:
        text = "(its message cannot be shown)"
    return f"{name}: {text}" if text else name
