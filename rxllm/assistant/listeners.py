"""Who listens to a model: each request, its answer, its error, whoever asks. `observed` puts them there.

A listener that raises is logged and harms nothing. Nothing is done per token but one function call.
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

from .._core.token_usage import add_usage
from ..errors import LLMError
from ..events import Response, StreamEnd, TokenEvent, Usage
from ..messages import Message
from ..model import StreamingModel
from ..options import CallOptions
from ..prompt import Prompt, messages_of

log = logging.getLogger("rxllm")


class ModelRequest(msgspec.Struct, frozen=True, eq=False):
    """One request; a value to tell it apart by. `options` are those of the call, not those of the model."""

    provider: str
    model: str
    messages: tuple[Message, ...]
    options: CallOptions


class ModelListener:
    """What may be heard of a model: override what you need. After `on_request` comes exactly one of the others.

    Called on whichever thread it happens on, `on_request` on the subscriber's, before the request is made.
    """

    def on_request(self, request: ModelRequest) -> None:
        """The model is asked."""

    def on_response(self, request: ModelRequest, response: Response) -> None:
        """It has answered; told before the subscriber hears of it."""

    def on_error(self, request: ModelRequest, error: Exception) -> None:
        """It has failed; what had arrived is in `error.partial`."""

    def on_cancel(self, request: ModelRequest) -> None:
        """The subscriber has left."""


def observed(model: StreamingModel, *listeners: ModelListener) -> StreamingModel:
    """`model`, with listeners.

    >>> from rxllm.testing import ScriptedModel
    >>> tokens = TokenTracker()
    >>> observed(ScriptedModel("Hello there"), tokens).chat("Hi").text
    'Hello there'
    >>> tokens.usage("scripted").output_tokens
    2
    """
    return _Observed(model, listeners)


class LoggingListener(ModelListener):
    """Writes requests, answers and errors to a standard logger; what was said only with `content`."""

    def __init__(
        self, logger: logging.Logger | None = None, *, level: int = logging.INFO, content: bool = False
    ) -> None:
        self._log = logger or logging.getLogger("rxllm.requests")
        self._level = level
        self._content = content

    def on_request(self, request: ModelRequest) -> None:
        """One line."""
        said = f": {request.messages[-1].text!r}" if self._content else ""
        self._log.log(self._level, "%s is asked, %d messages%s", _name(request), len(request.messages), said)

    def on_response(self, request: ModelRequest, response: Response) -> None:
        """One line, with tokens and seconds."""
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
        """One line, as a warning."""
        self._log.warning("%s has failed: %s: %s", _name(request), type(error).__name__, error)

    def on_cancel(self, request: ModelRequest) -> None:
        """One line."""
        self._log.log(self._level, "%s was cancelled", _name(request))


class TokenTracker(ModelListener):
    """Adds up what each model has spent, answers that failed included as far as they were counted."""

    def __init__(self) -> None:
        self._spent: dict[str, Usage] = {}
        self._lock = threading.Lock()

    def usage(self, model: str | None = None) -> Usage:
        """What the model of this name has spent; without a name, all of them."""
        with self._lock:
            if model is not None:
                return self._spent.get(model, Usage())
            total = Usage()
            for usage in self._spent.values():
                total = add_usage(total, usage)
            return total

    def models(self) -> list[str]:
        """The names of the models that have spent anything."""
        with self._lock:
            return sorted(self._spent)

    def on_response(self, request: ModelRequest, response: Response) -> None:
        """Add what the answer cost."""
        with self._lock:
            self._spent[request.model] = add_usage(self._spent.get(request.model, Usage()), response.usage)

    def on_error(self, request: ModelRequest, error: Exception) -> None:
        """Add what the partial answer cost."""
        if isinstance(error, LLMError) and error.partial is not None and error.partial.usage != Usage():
            self.on_response(request, error.partial)


Exchange: TypeAlias = tuple[ModelRequest, Response | Exception | None]
"""A request, and its answer, its error, or None where it was cancelled."""


class MessageCapture(ModelListener):
    """Keeps the last `size` exchanges, to look at."""

    def __init__(self, size: int = 100) -> None:
        self._exchanges: deque[Exchange] = deque(maxlen=size)

    @property
    def exchanges(self) -> list[Exchange]:
        """The exchanges that have ended, the oldest first."""
        return list(self._exchanges)

    def on_response(self, request: ModelRequest, response: Response) -> None:
        """Keep an answer."""
        self._exchanges.append((request, response))

    def on_error(self, request: ModelRequest, error: Exception) -> None:
        """Keep an error."""
        self._exchanges.append((request, error))

    def on_cancel(self, request: ModelRequest) -> None:
        """Keep that there was no answer."""
        self._exchanges.append((request, None))


class _Observed(StreamingModel):
    def __init__(self, model: StreamingModel, listeners: tuple[ModelListener, ...]) -> None:
        self.provider = model.provider
        self.model = model.model
        self._model = model
        self._listeners = listeners

    def stream(self, prompt: Prompt, **options: Unpack[CallOptions]) -> Observable[TokenEvent]:
        events = self._model.stream(prompt, **options)
        request = (self.provider, options.get("model") or self.model, messages_of(prompt), options)

        def subscribe(
            observer: abc.ObserverBase[TokenEvent], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            return _Listening(ModelRequest(*request), self._listeners, observer).to(events, scheduler)

        return Observable(subscribe)

    def close(self) -> None:
        self._model.close()


class _Listening:
    """One request, as listeners hear it."""

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
        self._tell(lambda listener: listener.on_request(self._request))
        subscription = events.subscribe(
            self._on_event, self._on_error, self._observer.on_completed, scheduler=scheduler
        )

        def dispose() -> None:
            subscription.dispose()
            self._cancelled()

        return Disposable(dispose)

    def _on_event(self, event: TokenEvent) -> None:
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

    def _end(self, tell: Callable[[ModelListener], None]) -> None:
        with self._lock:
            ended, self._ended = self._ended, True
        if not ended:
            self._tell(tell)

    def _tell(self, tell: Callable[[ModelListener], None]) -> None:
        for listener in self._listeners:
            try:
                tell(listener)
            except Exception:
                log.exception("a listener of %s failed", _name(self._request))


def _name(request: ModelRequest) -> str:
    return f"{request.provider}:{request.model}"
