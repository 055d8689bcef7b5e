"""What a stream has brought, and cost, when it is over, however it ended."""

from __future__ import annotations

import threading
from collections.abc import Callable

from reactivex import Observable, abc
from reactivex.disposable import SingleAssignmentDisposable

from .._core.token_usage import with_estimate
from .._json import encode
from ..errors import LLMError
from ..events import Response, StreamEnd, StreamReset, TokenEvent
from ..prompt import Prompt, messages_of
from ._operator import Operator
from ._response_builder import ResponseBuilder


def finally_response(
    tell: Callable[[Response], object], prompt: Prompt | None = None
) -> Operator[TokenEvent, TokenEvent]:
    """Call `tell`, once, when the stream has completed, failed, or been disposed: finally_action, with the answer.

    It gets the whole response; or `error.partial`; or, after a dispose, what had arrived, to keep
    what a stop button cut short. There its usage is the vendor's last word, else an estimate
    marked as one, which counts the `prompt` if you give it. `tell` is called where the stream
    ended: on the producing thread, or on the one that disposed.

    ::

        model.stream("Hi").pipe(finally_response(lambda response: print(response.usage)))
    """
    messages = None if prompt is None else messages_of(prompt)

    def operator(source: Observable[TokenEvent]) -> Observable[TokenEvent]:
        def subscribe(
            observer: abc.ObserverBase[TokenEvent], given: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            body = None if messages is None else encode(messages)
            return _Watched(observer, tell, body).start(source, given)

        return Observable(subscribe)

    return operator


class _Watched(abc.DisposableBase):
    """One subscription. Events are kept, and put together only if the stream has no end of its own."""

    def __init__(
        self, observer: abc.ObserverBase[TokenEvent], tell: Callable[[Response], object], body: bytes | None
    ) -> None:
        self._observer = observer
        self._emit = observer.on_next
        self._tell = tell
        self._body = body
        self._events: list[TokenEvent] = []
        self._response: Response | None = None
        self._told = False
        self._lock = threading.Lock()
        self._subscription = SingleAssignmentDisposable()

    def start(self, source: Observable[TokenEvent], given: abc.SchedulerBase | None) -> _Watched:
        self._subscription.disposable = source.subscribe(
            self.on_next, self.on_error, self.on_completed, scheduler=given
        )
        return self

    def dispose(self) -> None:
        self._subscription.dispose()
        self._over()

    def on_next(self, event: TokenEvent) -> None:
        if type(event) is StreamEnd:
            self._response = event.response
        elif type(event) is StreamReset:
            self._events.clear()
        else:
            self._events.append(event)
        self._emit(event)

    def on_error(self, error: Exception) -> None:
        if isinstance(error, LLMError):
            self._response = error.partial
        try:
            self._observer.on_error(error)
        finally:
            self._over()

    def on_completed(self) -> None:
        try:
            self._observer.on_completed()
        finally:
            self._over()

    def _over(self) -> None:
        with self._lock:
            told, self._told = self._told, True
        if not told:
            self._tell(self._response or self._so_far())

    def _so_far(self) -> Response:
        answer = ResponseBuilder()
        for event in self._events.copy():
            answer.add(event)
        response = answer.response()
        return with_estimate(response, self._body) if self._events else response
