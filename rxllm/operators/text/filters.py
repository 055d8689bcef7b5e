"""The stream with its text changed: token events in, token events out.

What these change in the deltas they change in `StreamEnd.response` too, and in the partial
response of an error. They hold back only what a later piece may still change; on an error
what is held back is not emitted. Put them before `text()` and the units of text.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import ConfigurationError
from ...events import ReasoningDelta, StreamEnd, TextDelta, TokenEvent
from .._operator import Operator, run_steps
from .._response_builder import ResponseBuilder
from .text_operator import FilterStep, filter_text


def stop_at(*texts: str) -> Operator[TokenEvent, TokenEvent]:
    """End the stream before the first of `texts` that the answer comes to, across deltas too.

    No part of the stop text that was reached is emitted. The upstream is disposed, so the vendor
    stops writing; `StreamEnd` then holds the answer up to there, with finish_reason "stop" and the
    usage that was known (vendors report most of it at the end: often nothing).
    Raises `ConfigurationError` where a text is empty, or none is given.
    """
    if not texts or "" in texts:
        raise ConfigurationError("stop_at() needs at least one text, and none of them empty")

    def step() -> _StopStep:
        return _StopStep(texts)

    return run_steps(step)


def think_tags(*names: str, opened: bool = False) -> Operator[TokenEvent, TokenEvent]:
    """Turn text between `<think>` and `</think>` into `ReasoningDelta`, tags cut across deltas too.

    Nothing but the tags is removed. `names` are other tags to look for instead of "think". With
    `opened`, the answer begins inside the first of them: some chat templates put the opening tag
    into the prompt. Text after a tag that is never closed is reasoning to the end of the run.
    """

    def start() -> _ThinkTags:
        return _ThinkTags(names or ("think",), opened)

    return filter_text(start)


class _StopStep(FilterStep):
    """A filter that can end the stream; it knows the answer so far, to end it with."""

    def __init__(self, texts: Sequence[str]) -> None:
        super().__init__(lambda: _StopText(texts))
        self._answer = ResponseBuilder()
        self.done = False

    def feed(self, event: TokenEvent, /) -> Sequence[TokenEvent]:
        events = super().feed(event)
        for passed in events:
            self._answer.add(passed)
        if isinstance(self._filter, _StopText) and self._filter.reached:
            self.done = True
            return (*events, StreamEnd(self._answer.response("stop")))
        return events


class _StopText:
    """Passes the text before the first stop text; "first" is the one that is complete first."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._held: str = ""
        self.reached = False

    def feed(self, text: str, /) -> Sequence[TextDelta]:
        if self.reached:
            return ()
        text = self._held + text
        found = [(start + len(stop), start) for stop in self._texts if (start := text.find(stop)) >= 0]
        self.reached = bool(found)
        safe = min(found)[1] if found else min(_maybe_at(text, stop) for stop in self._texts)
        self._held = "" if found else text[safe:]
        return (TextDelta(text[:safe]),) if safe else ()

    def close(self) -> Sequence[TextDelta]:
        held, self._held = self._held, ""
        return (TextDelta(held),) if held else ()


class _ThinkTags:
    def __init__(self, names: Sequence[str], opened: bool) -> None:
        self._opening = {f"<{name}>": f"</{name}>" for name in names}
        self._closing = f"</{names[0]}>" if opened else ""
        self._held: str = ""

    def feed(self, text: str, /) -> Sequence[TextDelta | ReasoningDelta]:
        text = self._held + text
        deltas: list[TextDelta | ReasoningDelta] = []
        at = 0
        while (tag := self._next_tag(text, at))[0] < len(text):
            start, name = tag
            self._add(deltas, text[at:start])
            self._closing = self._opening.get(name, "")
            at = start + len(name)
        safe = min(_maybe_at(text, name, at) for name in self._awaited())
        self._add(deltas, text[at:safe])
        self._held = text[safe:]
        return deltas

    def close(self) -> Sequence[TextDelta | ReasoningDelta]:
        deltas: list[TextDelta | ReasoningDelta] = []
        self._add(deltas, self._held)
        self._held = self._closing = ""
        return deltas

    def _awaited(self) -> Sequence[str]:
        return (self._closing,) if self._closing else tuple(self._opening)

    def _next_tag(self, text: str, at: int) -> tuple[int, str]:
        """Where the next awaited tag is, and which; at the end of `text` where there is none."""
        found = ((text.find(name, at), name) for name in self._awaited())
        return min(((start, name) for start, name in found if start >= 0), default=(len(text), ""))

    def _add(self, deltas: list[TextDelta | ReasoningDelta], text: str) -> None:
        if text:
            deltas.append(ReasoningDelta(text) if self._closing else TextDelta(text))


def _maybe_at(text: str, whole: str, at: int = 0) -> int:
    """Where the end of `text` may be the beginning of `whole`; the length of `text` where it is not."""
    at = max(at, len(text) - len(whole) + 1)
    while (at := text.find(whole[0], at)) >= 0:
        if whole.startswith(text[at:]):
            return at
        at += 1
    return len(text)
