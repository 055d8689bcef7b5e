"""The answer of a stream at its end, however it ended."""

from __future__ import annotations

from collections.abc import Callable

from reactivex import abc

from .._core.token_usage import with_estimate
from .._json import encode
from ..errors import LLMError
from ..events import Response, StreamEnd, TextDelta, TokenEvent
from ..prompt import Prompt, messages_of
from ._operator import Operator, Outcome, WatchedStream, not_an_event, subscribing
from ._response_builder import ResponseBuilder


def finally_response(
    action: Callable[[Response], object], prompt: Prompt | None = None
) -> Operator[TokenEvent, TokenEvent]:
    """Call `action` once with the answer, when the stream has completed, failed, or been disposed.

    Args:
        action: Called with the complete response; after an error, with `error.partial`; after a dispose, with what
            had arrived. In that case its usage is the vendor's last report, else an estimate (`Usage.estimated`). It
            is called before on_completed or on_error, on the thread that ended the stream: the producer's, or the one
            that called dispose().
        prompt: The prompt of the stream. With it an estimate counts the input tokens too.

    Raises:
        ConfigurationError: `prompt` is not a prompt.

    ::

        model.stream("Hi").pipe(finally_response(lambda response: print(response.usage)))
    """
    body = None if prompt is None else encode(messages_of(prompt))
    return subscribing(lambda observer, source, given: _AnswerWatch(observer, action, body).start(source, given))


class _AnswerWatch(WatchedStream[TokenEvent]):
    """Keeps the events; builds a response of them only if the stream did not end by itself."""

    def __init__(
        self, observer: abc.ObserverBase[TokenEvent], action: Callable[[Response], object], body: bytes | None
    ) -> None:
        super().__init__(observer)
        self._action = action
        self._body = body
        self._events: list[TokenEvent] = []

    def on_next(self, item: TokenEvent, /) -> None:
        """Keep the event and pass it on; dispose if the subscriber raises."""
        if type(item) is not TextDelta and isinstance(item, str):
            self.on_error(not_an_event("finally_response"))
            return
        self._events.append(item)
        try:
            self._emit(item)
        except BaseException:
            self.dispose()
            raise

    def ended(self, outcome: Outcome, /) -> None:
        """Call the user's function with the answer, or the part of it that the error holds or that has arrived."""
        partial = outcome.partial if isinstance(outcome, LLMError) else None
        self._action(partial or self._response_so_far())

    def _response_so_far(self) -> Response:
        """Return the answer of a stream that has ended by itself, else what has arrived of it."""
        events = self._events.copy()
        if events and isinstance(end := events[-1], StreamEnd):
            return end.response
        builder = ResponseBuilder()
        for event in events:
            builder.add(event)
        return with_estimate(builder.response(), self._body) if events else Response()
