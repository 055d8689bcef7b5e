"""The answer of a stream at its end, however it ended."""

from __future__ import annotations

import threading
from collections.abc import Callable

from reactivex import Observable, abc
from reactivex.disposable import SingleAssignmentDisposable

from .._core.token_usage import with_estimate
from .._json import encode
from ..errors import LLMError
from ..events import Response, StreamEnd, StreamReset, TextDelta, TokenEvent
from ..prompt import Prompt, messages_of
from ._operator import Operator, not_an_event, subscribing
from ._response_builder import ResponseBuilder


def finally_response(
    action: Callable[[Response], object], prompt: Prompt | None = None
) -> Operator[TokenEvent, TokenEvent]:
    """Call `action` once with the answer, when the stream has completed, failed, or been disposed.

    Args:
        action: Called with the complete response; after an error, with `error.partial`; after a dispose, with what
            had arrived. In that case its usage is the vendor's last report, else an estimate (`Usage.estimated`). It
            is called on the thread that ended the stream: the producer's, or the one that called dispose().
        prompt: The prompt of the stream. With it an estimate counts the input tokens too.

    Raises:
        ConfigurationError: `prompt` is no prompt.

    ::

        model.stream("Hi").pipe(finally_response(lambda response: print(response.usage)))
    """
    messages = None if prompt is None else messages_of(prompt)

    def subscribe(
        observer: abc.ObserverBase[TokenEvent], source: Observable[TokenEvent], given: abc.SchedulerBase | None
    ) -> abc.DisposableBase:
        body = None if messages is None else encode(messages)
        return _FinallySubscription(observer, action, body).start(source, given)

    return subscribing(subscribe)


class _FinallySubscription(abc.DisposableBase):
    """Keeps the events; builds a response of them only if the stream did not end by itself."""

    def __init__(
        self, observer: abc.ObserverBase[TokenEvent], action: Callable[[Response], object], body: bytes | None
    ) -> None:
        self._observer = observer
        self._emit = observer.on_next
        self._action = action
        self._body = body
        self._events: list[TokenEvent] = []
        self._response: Response | None = None
        self._ended = False
        self._lock = threading.Lock()
        self._subscription = SingleAssignmentDisposable()

    def start(self, source: Observable[TokenEvent], given: abc.SchedulerBase | None) -> _FinallySubscription:
        self._subscription.disposable = source.subscribe(
            self.on_next, self.on_error, self.on_completed, scheduler=given
        )
        return self

    def dispose(self) -> None:
        self._subscription.dispose()
        self._call_action()

    def on_next(self, event: TokenEvent) -> None:
        """Keep the event and pass it on; most are text, so they are looked at first."""
        if type(event) is TextDelta:
            self._events.append(event)
        elif type(event) is StreamEnd:
            self._response = event.response
        elif type(event) is StreamReset:
            self._events.clear()
        elif isinstance(event, str):
            self.on_error(not_an_event("finally_response"))
            return
        else:
            self._events.append(event)
        self._emit(event)

    def on_error(self, error: Exception) -> None:
        if isinstance(error, LLMError):
            self._response = error.partial
        try:
            self._observer.on_error(error)
        finally:
            self._call_action()

    def on_completed(self) -> None:
        try:
            self._observer.on_completed()
        finally:
            self._call_action()

    def _call_action(self) -> None:
        """Call the user's function with the answer, unless it was called before."""
        with self._lock:
            ended, self._ended = self._ended, True
        if not ended:
            self._action(self._response or self._response_so_far())

    def _response_so_far(self) -> Response:
        builder = ResponseBuilder()
        for event in self._events.copy():
            builder.add(event)
        response = builder.response()
        return with_estimate(response, self._body) if self._events else response
