"""Filters of the visible text: token events in, token events out.

They change the response in `StreamEnd`, and the partial response of an error, as they change the deltas. They hold
back only text that a later piece may still change. Text that is held back when an error comes is not emitted. Put
them before `text()` and before operators that split the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ...errors import ConfigurationError
from ...events import StreamEnd, TextDelta, TokenEvent
from .._operator import Operator, run_steps
from .._response_builder import ResponseBuilder
from .text_operator import FilterStep, text_delta


def stop_at(*texts: str) -> Operator[TokenEvent, TokenEvent]:
    """End the stream before the first of `texts` in the answer, also if it is cut into several deltas.

    No part of the stop text is emitted. The upstream is disposed, so the vendor stops writing. `StreamEnd` then holds
    the answer up to there, with finish_reason "stop" and the usage reported so far (most vendors report it at the
    end: often nothing).

    Args:
        texts: The stop texts, at least one, none of them empty.

    Raises:
        ConfigurationError: No text is given, or one is empty or no text.
    """
    if not texts or any(type(text) is not str or not text for text in texts):
        raise ConfigurationError("stop_at() needs at least one text, and none of them empty")
    return run_steps(partial(_StopStep, texts))


class _StopStep(FilterStep):
    """A filter that can end the stream. It builds the response so far, to end it with."""

    def __init__(self, texts: Sequence[str]) -> None:
        super().__init__("stop_at", lambda: _StopText(texts))
        self._builder = ResponseBuilder()

    def feed(self, event: TokenEvent, /) -> Sequence[TokenEvent]:
        """Pass the event on; at a stop text, end the stream with the answer up to there."""
        events = super().feed(event)
        for passed in events:
            self._builder.add(passed)
        if isinstance(self._filter, _StopText) and self._filter.reached:
            self.done = True
            return (*events, StreamEnd(self._builder.response("stop")))
        return events


class _StopText:
    """Passes the text before the first stop text, which is the one that is complete first."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._held: str = ""
        self.reached = False

    def feed(self, text: str, /) -> Sequence[TextDelta]:
        """Return the text that is certainly before a stop text."""
        if self.reached:
            return ()
        text = self._held + text
        found = [(start + len(stop), start) for stop in self._texts if (start := text.find(stop)) >= 0]
        self.reached = bool(found)
        safe = min(found)[1] if found else min(possible_start(text, stop) for stop in self._texts)
        self._held = "" if found else text[safe:]
        return text_delta(text[:safe])

    def close(self) -> Sequence[TextDelta]:
        held, self._held = self._held, ""
        return text_delta(held)


def possible_start(text: str, whole: str) -> int:
    """Return where the end of `text` may be the beginning of `whole`; the length of `text` if nowhere."""
    at = max(0, len(text) - len(whole) + 1)
    while (at := text.find(whole[0], at)) >= 0:
        if whole.startswith(text[at:]):
            return at
        at += 1
    return len(text)
