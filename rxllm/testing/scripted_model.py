"""A model that answers from a list of replies, without HTTP, on any scheduler."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, TypeAlias, Unpack

from reactivex import Observable, abc

from .._core.awaitable import AwaitableObservable
from .._transport.vendor_errors import Fault as VendorFault
from .._transport.vendor_errors import status_error, stream_error
from ..errors import LLMError, StreamInterruptedError
from ..events import (
    StreamStart,
    TokenEvent,
    UsageUpdate,
)
from ..messages import Message, messages_to_json
from ..model import StreamingModel
from ..operators._operator import Outcome, WatchedStream
from ..operators._response_builder import ResponseBuilder
from ..options import CallOptions
from ..prompt import Prompt, messages_of
from ._script import counted_usage, error_body, reply_pieces
from .replies import Drop, ErrorReply, Fail, Hang, Reply, Reset, Truncate
from .scripted_stream import Step, ending, scripted

ModelReply: TypeAlias = str | Reply | ErrorReply | Hang | LLMError | Observable[TokenEvent]
"""Text (a `Reply`), an answer as for `LLMServer`, an error, or your own Observable of events."""


class ScriptedCall:
    """One subscription to a `ScriptedModel`.

    Args:
        messages: the prompt.
        options: the options of the call.

    Attributes:
        state: "running", or how the stream ended.
    """

    def __init__(self, messages: tuple[Message, ...], options: CallOptions) -> None:
        self.messages = messages
        self.options = options
        self.state: Literal["running", "completed", "failed", "disposed"] = "running"

    def __repr__(self) -> str:
        return f"ScriptedCall({messages_to_json(self.messages)}, {self.options}, {self.state})"

    @property
    def prompt(self) -> str:
        """Return the text of the last message."""
        return self.messages[-1].text


class ScriptedModel(StreamingModel):
    """A model for tests of code that uses models. Each subscription takes the next reply. Thread-safe.

    `ErrorReply` and `Fail` become the errors that a real provider raises. Nothing is retried.

    Args:
        replies: what to answer, in turn: a reply, or a function from the call to one.
        default: what to answer when no reply is left; default: the text of the last message.
        provider: the model's provider name.
        model: the model's name.
        scheduler: where streams run; default: the subscriber's, else a thread for each
            subscription. With a `TestScheduler`, `Reply.delay` is virtual time.

    Attributes:
        calls: the subscriptions so far.

    Example:
        >>> model = ScriptedModel("Hello!", ErrorReply(429, "slow down"))
        >>> model.chat("Hi").text
        'Hello!'
        >>> model.chat("Hi again")
        Traceback (most recent call last):
        rxllm.errors.RateLimitError: HTTP 429: slow down
        >>> [(call.prompt, call.state) for call in model.calls]
        [('Hi', 'completed'), ('Hi again', 'failed')]
    """

    def __init__(
        self,
        *replies: ModelReply | Callable[[ScriptedCall], ModelReply],
        default: ModelReply | Callable[[ScriptedCall], ModelReply] = lambda call: call.prompt,
        provider: str = "scripted",
        model: str = "scripted",
        scheduler: abc.SchedulerBase | None = None,
    ) -> None:
        self.provider = provider
        self.model = model
        self.calls: list[ScriptedCall] = []
        self._replies = deque(replies)
        self._default = default
        self._scheduler = scheduler
        self._lock = threading.Lock()

    def stream(self, prompt: Prompt, **options: Unpack[CallOptions]) -> Observable[TokenEvent]:
        """Return an Observable that gives the next reply at each subscription.

        Args:
            prompt: as for every model.
            options: kept in `calls`; they change nothing.
        """
        messages = messages_of(prompt)

        def subscribe(
            observer: abc.ObserverBase[TokenEvent], scheduler: abc.SchedulerBase | None
        ) -> abc.DisposableBase:
            """Record the call, take the next reply and play it."""
            call = ScriptedCall(messages, options)
            with self._lock:
                self.calls.append(call)
                reply = self._replies.popleft() if self._replies else self._default
            answer = reply(call) if callable(reply) else reply
            return _TrackedStream(call, observer).start(self._events(answer, call), scheduler)

        return AwaitableObservable(subscribe)

    def _events(self, reply: ModelReply, call: ScriptedCall) -> Observable[TokenEvent]:
        """Return the stream of a reply."""
        if isinstance(reply, Observable):
            return reply
        match reply:
            case str():
                steps: Iterable[Step] = _steps(Reply(reply), call, self.model)
            case Reply():
                steps = _steps(reply, call, self.model)
            case Hang():
                steps = ()
            case ErrorReply():
                headers = {name.lower(): value for name, value in reply.headers.items()}
                steps = [(0.0, status_error(reply.status, headers, error_body(reply, "openai-chat"), now=0.0))]
            case _:
                steps = [(0.0, reply)]
        return scripted(steps, ends=False, scheduler=self._scheduler)


class _TrackedStream(WatchedStream[TokenEvent]):
    """A stream whose call knows how it has ended."""

    def __init__(self, call: ScriptedCall, observer: abc.ObserverBase[TokenEvent]) -> None:
        super().__init__(observer)
        self._call = call

    def ended(self, outcome: Outcome, /) -> None:
        self._call.state = "failed" if isinstance(outcome, Exception) else outcome


def _steps(reply: Reply, call: ScriptedCall, model: str) -> Iterator[Step]:
    """Yield (seconds after the start, event) of a reply, up to its fault; a fault that hangs yields nothing more."""
    start = StreamStart(reply.id or None, reply.model or model)
    yield 0.0, start
    answer, count, fault = ResponseBuilder(), 0, reply.fault
    answer.add(start)
    for events in reply_pieces(reply):
        if fault is not None and count == fault.after:
            break
        for event in events:
            answer.add(event)
            yield reply.delay * count, event
        count += 1
    at = reply.delay * max(0, count - 1)
    match fault:
        case Fail(_, message, kind):
            yield at, stream_error(VendorFault(message, (kind,)))
        case Drop() | Reset() | Truncate():
            yield at, StreamInterruptedError("the scripted reply breaks off here")
        case None:
            if (usage := counted_usage(reply, call.prompt, count)) is not None:
                answer.add(UsageUpdate(usage))
                yield at, UsageUpdate(usage)
            yield at, ending(answer, reply.finish_reason)
        case _:
            return  # silence
