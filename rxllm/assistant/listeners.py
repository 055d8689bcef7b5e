"""Listeners of a model: they are called for each request, answer and error. `observed` adds them to a model.

A listener that raises is logged; the stream is not affected. The cost per token is one function call.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

import msgspec
from reactivex import Observable, abc
from reactivex.disposable import Disposable
from typing_extensions import Unpack

from .._arguments import check_arguments
from .._core.token_usage import add_usage
from ..errors import LLMError
from ..events import Response, StreamEnd, TokenEvent, Usage
from ..messages import Message
from ..model import StreamingModel
from ..options import CallOptions
from ..prompt import Prompt, messages_of
from .errors import error_text
from .tools import check_count

__all__ = [
    "Exchange",
    "LoggingListener",
    "MessageCapture",
    "ModelListener",
    "ModelRequest",
    "TokenTracker",
    "observed",
]

log = logging.getLogger("rxllm")


class ModelRequest(msgspec.Struct, frozen=True, eq=False):
    """One request; two requests are never equal.

    Args:
        provider: The provider, as `create_streaming_model` names it.
        model: The model that is asked.
        messages: The prompt.
        options: The options of the call, without those of the model.
    """

    provider: str
    model: str
    messages: tuple[Message, ...]
    options: CallOptions


class ModelListener:
    """Base class of listeners: override what you need. After `on_request` exactly one other method is called.

    `on_request` is called on the subscriber's thread before the request is made, the others on the producing thread or
    on the thread that disposes.
    """

    def on_request(self, request: ModelRequest) -> None:
        """Handle the start of a request.

        Args:
            request: The request.
        """

    def on_response(self, request: ModelRequest, response: Response) -> None:
        """Handle an answer, before the subscriber gets its end.

        Args:
            request: The request.
            response: The complete answer.
        """

    def on_error(self, request: ModelRequest, error: Exception) -> None:
        """Handle a failure.

        Args:
            request: The request.
            error: The error; its `partial` is the answer so far.
        """

    def on_cancel(self, request: ModelRequest) -> None:
        """Handle that the subscription was disposed.

        Args:
            request: The request.
        """


@check_arguments
def observed(model: StreamingModel, *listeners: ModelListener) -> StreamingModel:
    """Return `model` with listeners.

    Args:
        model: The model.
        listeners: Called for each request, in this order.

    >>> from rxllm.testing import ScriptedModel
    >>> tokens = TokenTracker()
    >>> observed(ScriptedModel("Hello there"), tokens).chat("Hi").text
    'Hello there'
    >>> tokens.usage("scripted").output_tokens
    2
    """
    return _ObservedModel(model, listeners)


class LoggingListener(ModelListener):
    """Writes requests, answers and errors to a logger.

    Args:
        logger: The logger; default: "rxllm.requests".
        level: The level of all lines but errors, which are warnings.
        content: Whether to log the last message, the answer, and the text of errors, which may quote them.
    """

    def __init__(
        self, logger: logging.Logger | None = None, *, level: int = logging.INFO, content: bool = False
    ) -> None:
        self._log = logger or logging.getLogger("rxllm.requests")
        self._level = level
        self._content = content

    def on_request(self, request: ModelRequest) -> None:
        """Log one line.

        Args:
            request: The request.
        """
        said = f": {request.messages[-1].text!r}" if self._content else ""
        self._log.log(self._level, "%s is asked, %d messages%s", _name(request), len(request.messages), said)

    def on_response(self, request: ModelRequest, response: Response) -> None:
        """Log one line with tokens and seconds.

        Args:
            request: The request.
            response: The answer.
        """
        said = f": {response.text!r}" if self._content else ""
        usage, timing = response.usage, response.timing
        self._log.log(
            self._level,
            "%s has answered (%s), %s tokens in, %s out, %s s%s",
            _name(request),
            response.finish_reason,
            usage.input_tokens,
            usage.output_tokens,
            None if timing is None else round(timing.total, 3),
            said,
        )

    def on_error(self, request: ModelRequest, error: Exception) -> None:
        """Log one line as a warning.

        Args:
            request: The request.
            error: The error.
        """
        said = error_text(error) if self._content else type(error).__name__
        self._log.warning("%s has failed: %s", _name(request), said)

    def on_cancel(self, request: ModelRequest) -> None:
        """Log one line.

        Args:
            request: The request.
        """
        self._log.log(self._level, "%s was cancelled", _name(request))


class TokenTracker(ModelListener):
    """Adds up the usage of each model, including that of answers that failed. Thread-safe."""

    def __init__(self) -> None:
        self._spent: dict[str, Usage] = {}
        self._lock = threading.Lock()

    def usage(self, model: str | None = None) -> Usage:
        """Return the usage of one model, or of all.

        Args:
            model: The name of the model; default: all models.
        """
        with self._lock:
            if model is not None:
                return self._spent.get(model, Usage())
            total = Usage()
            for usage in self._spent.values():
                total = add_usage(total, usage)
            return total

    def models(self) -> list[str]:
        """Return the names of the models that have usage."""
        with self._lock:
            return sorted(self._spent)

    def on_response(self, request: ModelRequest, response: Response) -> None:
        """Add the usage of an answer.

        Args:
            request: The request.
            response: The answer.
        """
        with self._lock:
            self._spent[request.model] = add_usage(self._spent.get(request.model, Usage()), response.usage)

    def on_error(self, request: ModelRequest, error: Exception) -> None:
        """Add the usage of a partial answer.

        Args:
            request: The request.
            error: The error; its `partial` is the answer so far.
        """
        if isinstance(error, LLMError) and error.partial is not None and error.partial.usage != Usage():
            self.on_response(request, error.partial)


Exchange: TypeAlias = tuple[ModelRequest, Response | Exception | None]
"""A request, and its answer, its error, or None if it was cancelled."""


class MessageCapture(ModelListener):
    """Keeps the last exchanges, for tests and debugging.

    Args:
        size: The number of exchanges to keep.
    """

    def __init__(self, size: int = 100) -> None:
        check_count("MessageCapture(size=...)", size, 0)
        self._exchanges: deque[Exchange] = deque(maxlen=size)

    @property
    def exchanges(self) -> list[Exchange]:
        """The last exchanges that have ended, the oldest first."""
        return list(self._exchanges)

    def on_response(self, request: ModelRequest, response: Response) -> None:
        """Keep an answer.

        Args:
            request: The request.
            response: The answer.
        """
        self._exchanges.append((request, response))

    def on_error(self, request: ModelRequest, error: Exception) -> None:
        """Keep an error.

        Args:
            request: The request.
            error: The error.
        """
        self._exchanges.append((request, error))

    def on_cancel(self, request: ModelRequest) -> None:
        """Keep a request that was cancelled.

        Args:
            request: The request.
        """
        self._exchanges.append((request, None))


class _ObservedModel(StreamingModel):
    def __init__(self, model: StreamingModel, listeners: tuple[ModelListener, ...]) -> None:
        self.provider = model.provider
        self.model = model.model
        self._model = model
        self._listeners = listeners

    def stream(self, prompt: Prompt, **options: Unpack[CallOptions]) -> Observable[TokenEvent]:
        """Return the stream of the model, whose subscriptions call the listeners."""
        events = self._model.stream(prompt, **options)
        request = (self.provider, options.get("model") or self.model, messages_of(prompt), options)

        def subscribe(
            observer: abc.ObserverBase[TokenEvent], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            return _Subscription(ModelRequest(*request), self._listeners, observer).to(events, scheduler)

        return Observable(subscribe)

    def close(self) -> None:
        self._model.close()


class _Subscription:
    """One request with its listeners."""

    def __init__(
        self, request: ModelRequest, listeners: tuple[ModelListener, ...], observer: abc.ObserverBase[TokenEvent]
    ) -> None:
        self._request = request
        self._listeners = listeners
        self._observer = observer
        self._on_next = observer.on_next
        self._lock = threading.Lock()
        self._ended = False

    def to(self, events: Observable[TokenEvent], scheduler: abc.SchedulerBase | None) -> abc.DisposableBase:
        """Subscribe to `events`; disposing tells the listeners too."""
        self._notify(lambda listener: listener.on_request(self._request))
        subscription = events.subscribe(
            self._on_event, self._on_error, self._observer.on_completed, scheduler=scheduler
        )

        def dispose() -> None:
            subscription.dispose()
            self._cancelled()

        return Disposable(dispose)

    def _on_event(self, event: TokenEvent) -> None:
        """Pass an event on, after the listeners if it is the end; a subscriber that raises has cancelled."""
        if type(event) is StreamEnd:
            response = event.response
            self._end(lambda listener: listener.on_response(self._request, response))
        try:
            self._on_next(event)
        except BaseException:
            self._cancelled()
            raise

    def _on_error(self, error: Exception) -> None:
        self._end(lambda listener: listener.on_error(self._request, error))
        self._observer.on_error(error)

    def _cancelled(self) -> None:
        self._end(lambda listener: listener.on_cancel(self._request))

    def _end(self, call: Callable[[ModelListener], None]) -> None:
        with self._lock:
            ended, self._ended = self._ended, True
        if not ended:
            self._notify(call)

    def _notify(self, call: Callable[[ModelListener], None]) -> None:
        for listener in self._listeners:
            try:
                call(listener)
            except BaseException:
                log.exception("a listener of %s failed", _name(self._request))


def _name(request: ModelRequest) -> str:
    return f"{request.provider}:{request.model}"
