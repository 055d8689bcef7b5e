"""How a stream ends with an error."""

from __future__ import annotations

import logging
from typing import TypeVar

from reactivex import abc

from .._text_without_controls import inert_text
from ..errors import APIConnectionError, LLMError, ProtocolError, StreamError

T = TypeVar("T")

log = logging.getLogger("rxllm")


def _make_inert(record: logging.LogRecord) -> bool:
    """Make control characters visible in what a log line and its traceback quote, of a server for example."""
    if isinstance(record.args, tuple):
        record.args = tuple(inert_text(str(arg)) if isinstance(arg, str | Exception) else arg for arg in record.args)
    if record.exc_info:
        record.exc_text = inert_text(_formatter.formatException(record.exc_info))  # formatters use it as it is
    return True


_formatter = logging.Formatter()
log.addFilter(_make_inert)


def emit_error(observer: abc.ObserverBase[T], error: LLMError) -> None:
    """End a stream with `error`; if the subscriber has no on_error, log it."""
    try:
        observer.on_error(error)
    except LLMError as raised:  # by reactivex itself, if there is no on_error
        if raised is not error:
            raise
        log.error("a stream ended with an error that nothing handled: %s", error)


def unexpected_error(error: BaseException, *, is_open: bool) -> LLMError:
    """Return our error for one of another kind: raised while the request was made, or (`is_open`) the answer read."""
    log.debug("a stream failed", exc_info=error)
    what = f"{type(error).__name__}: {error}"
    failure: LLMError
    if not is_open:
        failure = APIConnectionError(f"the request could not be made: {what}")
    elif isinstance(error, MemoryError):
        failure = StreamError("there is not enough memory for the answer")
    else:
        failure = ProtocolError(f"the answer could not be understood: {what}")
    failure.__cause__ = error
    return failure
