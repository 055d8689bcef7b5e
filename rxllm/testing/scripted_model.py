"""A model that answers from a script, without HTTP: the same replies as the server's, on any scheduler."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, TypeAlias, Unpack

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from .._transport.vendor_errors import Fault as VendorFault
from .._transport.vendor_errors import status_error, stream_error
from ..errors import LLMError, StreamInterruptedError
from ..events import (
    ReasoningDelta,
    StreamStart,
    TextDelta,
    TokenEvent,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    UsageUpdate,
)
from ..messages import Message, messages_to_json
from ..model import StreamingModel
from ..operators._response_builder import ResponseBuilder
from ..options import CallOptions
from ..prompt import Prompt, messages_of
from ._script import counted, error_body, words_of
from ._writers import argument_pieces
from .replies import Drop, ErrorReply, Fail, Hang, Reply, Reset, Truncate
from .scripted import Step, ending, scripted

ModelReply: TypeAlias = str | Reply | ErrorReply | Hang | LLMError | Observable[TokenEvent]
"""Text that stands for a `Reply`, an answer as for the server, an error, or a stream of one's own."""


class ScriptedCall:
    """One subscription to a `ScriptedModel`: what was asked, and how it stands."""

    def __init__(self, messages: tuple[Message, ...], options: CallOptions) -> None:
        self.messages = messages
        self.options = options
        self.state: Literal["running", "completed", "failed", "disposed"] = "running"

    def __repr__(self) -> str:
        return f"ScriptedCall({messages_to_json(self.messages)}, {self.options}, {self.state})"

    @property
    def prompt(self) -> str:
        """The text of the last message."""
        return self.messages[-1].text


class ScriptedModel(StreamingModel):
    """A model for tests of what is built on models; each subscription takes the next reply.

    Once there is none it takes the `default`, which may be a function of the call; without one
    the prompt is echoed. `Reply.delay` and faults take place on `scheduler`, on virtual time if it
    is a TestScheduler; `ErrorReply` and `Fail` become the errors that a real provider's would.
    Nothing is retried here. `calls` are the subscriptions so far.

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
        """The next reply, at each subscription."""
        messages = messages_of(prompt)

        def subscribe(
            observer: abc.ObserverBase[TokenEvent], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            call = ScriptedCall(messages, options)
            with self._lock:
                self.calls.append(call)
                reply = self._replies.popleft() if self._replies else self._default
            answer = reply(call) if callable(reply) else reply
            return _watched(self._told(answer, call), call, observer, scheduler)

        return Observable(subscribe)

    def _told(self, reply: ModelReply, call: ScriptedCall) -> Observable[TokenEvent]:
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
                steps = [(0.0, _status_error(reply))]
            case _:
                steps = [(0.0, reply)]
        return scripted(steps, ends=False, scheduler=self._scheduler)


def _watched(
    source: Observable[TokenEvent],
    call: ScriptedCall,
    observer: abc.ObserverBase[TokenEvent],
    scheduler: abc.SchedulerBase | None,
) -> abc.DisposableBase:
    """Subscribe, and note in `call` how it ends."""

    def on_error(error: Exception) -> None:
        call.state = "failed"
        observer.on_error(error)

    def on_completed() -> None:
        call.state = "completed"
        observer.on_completed()

    subscription = source.subscribe(observer.on_next, on_error, on_completed, scheduler=scheduler)

    def dispose() -> None:
        if call.state == "running":
            call.state = "disposed"
        subscription.dispose()

    return Disposable(dispose)


def _status_error(reply: ErrorReply) -> LLMError:
    headers = {name.lower(): value for name, value in reply.headers.items()}
    return status_error(reply.status, headers, error_body(reply, "openai-chat"), now=0.0)


def _steps(reply: Reply, call: ScriptedCall, model: str) -> Iterator[Step]:
    """A whole answer, or one that goes wrong as its fault says."""
    start = StreamStart(reply.id or None, reply.model or model)
    yield 0.0, start
    answer, count, fault = ResponseBuilder(), 0, reply.fault
    answer.add(start)
    for events in _pieces(reply):
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
            yield at, StreamInterruptedError("the script breaks off here")
        case None:
            if (usage := counted(reply, call.prompt, count)) is not None:
                answer.add(UsageUpdate(usage))
                yield at, UsageUpdate(usage)
            yield at, ending(answer, reply.finish_reason)
        case _:
            return  # silence


def _pieces(reply: Reply) -> Iterator[tuple[TokenEvent, ...]]:
    for piece in words_of(reply.reasoning) if isinstance(reply.reasoning, str) else reply.reasoning:
        yield (ReasoningDelta(piece),)
    for piece in words_of(reply.text) if reply.pieces is None else reply.pieces:
        yield (TextDelta(piece),)
    for index, call in enumerate(reply.tool_calls):
        deltas = (ToolCallDelta(index, piece) for piece in argument_pieces(call))
        yield ToolCallStart(index, call.id, call.name), *deltas, ToolCallEnd(index, call)
