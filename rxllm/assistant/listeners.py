"""Listeners of a model: they are called for each request, answer and error. `observed` adds them to a model.

A listener that raises is logged; the stream is not affected. The cost per token is one function call.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import reduce

import msgspec
from reactivex import Observable, abc
from typing_extensions import Unpack

from .._arguments import check_arguments
from .._core.error_format import error_text
from .._core.token_usage import add_usage
from ..errors import LLMError
from ..events import Response, StreamEnd, TokenEvent, Usage
from ..messages import Message
from ..model import StreamingModel
from ..operators._operator import Outcome, WatchedStream, subscribing
from ..options import CallOptions
from ..prompt import Prompt, messages_of

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
        what = f"is asked, {len(request.messages)} messages"
        self._write(self._level, request, what, request.messages[-1].text)

    def on_response(self, request: ModelRequest, response: Response) -> None:
        """Log one line with tokens and seconds.

        Args:
            request: The request.
            response: The answer.
        """
        usage, timing = response.usage, response.timing
        seconds = None if timing is None else round(timing.total, 3)
        tokens = f"{usage.input_tokens} tokens in, {usage.output_tokens} out"
        what = f"has answered ({response.finish_reason}), {tokens}, {seconds} s"
        self._write(self._level, request, what, response.text)

    def on_error(self, request: ModelRequest, error: Exception) -> None:
        """Log one line as a warning.

        Args:
            request: The request.
            error: The error.
        """
        self._write(logging.WARNING, request, f"has failed ({type(error).__name__})", error_text(error))

    def on_cancel(self, request: ModelRequest) -> None:
        """Log one line.

        Args:
            request: The request.
        """
        self._write(self._level, request, "was cancelled", "")

    def _write(self, level: int, request: ModelRequest, what: str, content: str) -> None:
        said = f": {content}" if self._content and content else ""
        self._log.log(level, "%s %s%s", _name(request), what, said)


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
            spent = list(self._spent.values()) if model is None else [self._spent.get(model, Usage())]
        return reduce(add_usage, spent, Usage())

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


class _ObservedModel(StreamingModel):
    def __init__(self, model: StreamingModel, listeners: tuple[ModelListener, ...]) -> None:
        self.provider = model.provider
        self.model = model.model
        self._model = model
        self._listeners = listeners

    def stream(self, prompt: Prompt, **options: Unpack[CallOptions]) -> Observable[TokenEvent]:
        """Return the stream of the model, whose subscriptions call the listeners."""
        messages = messages_of(prompt)

        def watch(
            observer: abc.ObserverBase[TokenEvent], source: Observable[TokenEvent], given: abc.SchedulerBase | None
        ) -> abc.DisposableBase:
            request = ModelRequest(self.provider, options.get("model") or self.model, messages, options)
            return _ObservedStream(request, self._listeners, observer).start(source, given)

        return subscribing(watch)(self._model.stream(prompt, **options))

    def close(self) -> None:
        self._model.close()


class _ObservedStream(WatchedStream[TokenEvent]):
    """One request with its listeners, which hear of an answer before the subscriber gets its end."""

    def __init__(
        self, request: ModelRequest, listeners: tuple[ModelListener, ...], observer: abc.ObserverBase[TokenEvent]
    ) -> None:
        super().__init__(observer)
        self._request = request
        self._listeners = listeners
        self._running = threading.Lock()  # acquired by what ends the request first, and never released
        self._notify(lambda listener: listener.on_request(request))

    def note(self, event: TokenEvent, /) -> None:
        if type(event) is StreamEnd:  # not at the completion, which comes after the subscriber has the answer
            response = event.response
            self._notify_end(lambda listener: listener.on_response(self._request, response))

    def ended(self, outcome: Outcome, /) -> None:
        if isinstance(outcome, Exception):
            self._notify_end(lambda listener: listener.on_error(self._request, outcome))
        else:
            self._notify_end(lambda listener: listener.on_cancel(self._request))

    def _notify_end(self, call: Callable[[ModelListener], None]) -> None:
        if self._running.acquire(blocking=False):
            self._notify(call)

    def _notify(self, call: Callable[[ModelListener], None]) -> None:
        for listener in self._listeners:
            try:
                call(listener)
            except BaseException:
                log.exception("a listener of %s failed", _name(self._request))


def _name(request: ModelRequest) -> str:
    return f"{request.provider}:{request.model}"
