"""The one subscribe(): a wire's answer as a cold Observable of token events.

Each subscription makes one request. It is read on a thread of the producing scheduler (by default
a daemon thread of its own), never on the caller's; on_next comes from that thread alone, in order,
and reading goes on when on_next returns. The stream ends in exactly one of: `StreamEnd` then
on_completed; one `LLMError` with `partial`; or silence, because it was disposed. Disposing closes
the connection at once, in whatever phase it is.

An exception raised by the subscriber is the subscriber's: the connection closes, and it surfaces
through `threading.excepthook`.
"""

from __future__ import annotations

import atexit
import contextvars
import itertools
import logging
import math
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import TypeVar

import msgspec
from reactivex import Observable, abc

from .._protocol import Decoder, WireRequest
from .._runtime.admission import Gate
from .._runtime.deadlines import Watch, watchdog
from .._runtime.fork import after_fork
from .._runtime.reactor import Reactor
from .._runtime.thread_cache import workers
from .._transport.connections import Call, CallAborted
from .._transport.framing import MAX_FRAME_BYTES, NDJSONFraming, SSEFraming
from .._transport.http import Body, Transport
from ..errors import APITimeoutError, LLMError, ProtocolError, TimeoutPhase
from ..events import CONTENT_EVENTS, Response, StreamEnd, Timing, TokenEvent, VendorEvent
from ..options import Timeout
from .token_usage import with_estimate

T = TypeVar("T")

log = logging.getLogger("rxllm")

_EXIT_SECONDS = 1.0
_FRAMINGS: dict[str, type[SSEFraming | NDJSONFraming]] = {"sse": SSEFraming, "ndjson": NDJSONFraming}
_CROWD = 64
"""So many streams at once have a thread each; what more there are, and then all, are read by the reactor."""


def _is_busy() -> bool:
    return _reactor.busy


_gate = Gate(_is_busy)
_reactor = Reactor(_gate.let_in)


class Source(msgspec.Struct, frozen=True):
    """What a stream is made of; `request` is called on the producing thread, and may block."""

    provider: str
    model: str
    request: Callable[[], WireRequest]
    decoder: Callable[[], Decoder]
    transport: Transport
    timeout: Timeout
    scheduler: abc.SchedulerBase | None = None
    max_event_bytes: int = MAX_FRAME_BYTES


def token_stream(source: Source) -> Observable[TokenEvent]:
    """The cold Observable of `source`: one request per subscription."""

    def subscribe(
        observer: abc.ObserverBase[TokenEvent], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        # The scheduler given to subscribe() may be a UI thread's: blocking reads never run on it.
        return _Subscription(source, observer).start()

    return Observable(subscribe)


def emit_error(observer: abc.ObserverBase[T], error: LLMError) -> None:
    """End a stream with `error`; where the subscriber gave no on_error, it is logged."""
    try:
        observer.on_error(error)
    except LLMError as raised:  # by reactivex itself, where there is no on_error
        if raised is not error:
            raise
        log.error("a stream ended with an error that nobody handled: %s", error)


class _Subscription(abc.DisposableBase):
    """One request and its observer.

    It is read in turns: each waits for bytes, makes events of them, and delivers those. Turns are
    taken by one thread at a time: the stream's own, or where there is a crowd, the reactor's.
    """

    def __init__(self, source: Source, observer: abc.ObserverBase[TokenEvent]) -> None:
        self._source = source
        self._observer = observer
        self._decoder = source.decoder()
        self._call = Call(self._connected, partial(_gate.leave, self))
        self._body: Body | None = None
        self._framing: SSEFraming | NDJSONFraming = SSEFraming()
        self._step: Callable[[list[TokenEvent]], None] = self._open
        """What the next turn does with the wire; it adds the events that come of it."""
        self._over = False
        """The wire has no more to give."""
        self._failure: LLMError | None = None
        self._disposed = False
        self._expired: TimeoutPhase | None = None
        self._request: WireRequest | None = None
        self._answered = False
        """An event of the answer has come: from then on it costs."""
        self._started = time.monotonic()
        self._first_token: float | None = None
        self._active = False
        """An event has come since the last look at the clock."""
        self._phase: TimeoutPhase = "connect"
        limits = source.timeout
        self._total_at = self._started + _or_infinite(limits.total)
        self._idle = _or_infinite(limits.idle)
        self._idle_since = math.inf
        self._watch = Watch(math.inf, self._idle, self._expire)
        self._scheduled: abc.DisposableBase | None = None

    def start(self) -> _Subscription:
        run = contextvars.copy_context().run
        if self._source.scheduler is None:
            name = f"rxllm-{self._source.provider}-{next(_thread_numbers)}"
            _gate.enter(self, partial(workers.run, name, partial(run, self._run)))
        else:

            def scheduled(scheduler: abc.SchedulerBase, state: object | None = None) -> None:
                run(self._run)

            self._scheduled = self._source.scheduler.schedule(scheduled)
        return self

    def dispose(self) -> None:
        """Stop: close the connection, deliver nothing more. From any thread, any number of times."""
        self._disposed = True
        if not self._over:
            self._call.abort()
        if self._scheduled is not None:
            self._scheduled.dispose()

    def _run(self) -> None:
        """On the producing thread: take all turns, or those before it gets crowded."""
        _live.add(self)
        while self._turn():
            if len(_live) > _CROWD and self._body is not None and self._source.scheduler is None:
                fd = self._body.fileno()
                if fd is not None:
                    _reactor.add(fd, partial(contextvars.copy_context().run, self._turn))
                    return

    def _turn(self) -> bool:
        """Wait for what comes, and deliver it; whether there is more to come. Raises nothing."""
        goes_on = False
        try:
            goes_on = self._deliver()
            if not goes_on:
                self._close()
                self._tell_the_end()
        except BaseException:
            # The subscriber's own: it is neither the wire's nor ours to handle, and no thread may end of it.
            self._close()
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
        finally:
            if not goes_on:
                self._close()
                watchdog.stop(self._watch)
                _live.discard(self)
        return goes_on

    def _deliver(self) -> bool:
        events: list[TokenEvent] = []
        try:
            if not self._disposed:
                self._step(events)
        except Exception as error:
            self._fail(error)
        on_next = self._observer.on_next
        for event in events:
            if self._disposed:
                break
            on_next(event)
        if self._over or self._disposed:
            return False
        if self._phase == "idle":
            if self._active:
                self._active = False
                self._idle_since = time.monotonic()
            self._watch.at = min(self._idle_since + self._idle, self._total_at)
        return True

    def _open(self, _: list[TokenEvent]) -> None:
        """Send the request, and wait for the headers of its answer."""
        source = self._source
        try:
            self._request = source.request()  # may start the embedded model
            self._arm("connect", time.monotonic() + _or_infinite(source.timeout.connect))
            if not self._disposed:
                self._body = source.transport.open(self._request, self._call, source.timeout.connect)
                self._framing = _FRAMINGS[self._request.framing](source.max_event_bytes)
                self._step = partial(self._read, self._body)
        finally:
            _gate.leave(self)

    def _read(self, body: Body, events: list[TokenEvent]) -> None:
        """Add the events of the next bytes.

        The limit on silence holds while the read waits, not while the subscriber works.
        """
        block = body.read()
        if self._phase == "idle":
            self._watch.at = self._total_at
        decoder = self._decoder
        feed = decoder.feed
        frames = self._framing.feed(block)
        at_end = body.at_end
        for frame in chain(frames, self._framing.close()) if at_end else frames:
            batch = feed(frame) if frame.data else ()
            if batch:
                events += batch
                self._active = True
                if self._phase != "idle":
                    self._begin(batch)
                if decoder.finished:
                    break
            elif self._answered and (not frame.data or frame.event in _KEEP_ALIVES):
                events.append(_KEPT_ALIVE)
        if at_end and not decoder.finished:
            events += decoder.close()
        if decoder.finished:
            self._over = True
            watchdog.stop(self._watch)
            events[-1] = self._timed(events[-1])

    def _begin(self, batch: Sequence[TokenEvent]) -> None:
        """The answer begins with this batch, or its content does."""
        self._answered = True
        if _has_content(batch):
            self._first_token = time.monotonic() - self._started
            self._phase = "idle"
            self._watch.at = self._total_at
            watchdog.add(self._watch)

    def _fail(self, error: Exception) -> None:
        """The wire has failed, or was told to stop."""
        self._over = True
        if isinstance(error, CallAborted):
            failure = None
        elif isinstance(error, LLMError):
            failure = error
        else:
            log.debug("an answer could not be read", exc_info=True)
            failure = ProtocolError(f"the answer could not be understood: {type(error).__name__}: {error}")
            failure.__cause__ = error
        if self._expired is not None:
            cause, failure = failure, self._timeout_error(self._expired)
            failure.__cause__ = cause
        self._failure = failure

    def _close(self) -> None:
        """Let go of the connection. Harmless when repeated."""
        self._over = True
        self._step = _nothing
        body, self._body = self._body, None
        if body is not None:
            body.finish() if self._decoder.finished else body.close()

    def _tell_the_end(self) -> None:
        if self._disposed:
            return
        error = self._failure
        if error is None:
            self._observer.on_completed()
            return
        error.provider = error.provider or self._source.provider
        error.model = error.model or self._source.model
        if error.partial is None:
            error.partial = self._partial()
        emit_error(self._observer, error)

    def _partial(self) -> Response:
        """The answer as far as it had come."""
        timing = Timing(self._first_token, time.monotonic() - self._started)
        partial_answer = msgspec.structs.replace(self._decoder.partial(), timing=timing)
        if self._answered and self._request is not None:
            return with_estimate(partial_answer, self._request.body)
        return partial_answer

    def _timed(self, event: TokenEvent) -> TokenEvent:
        if not isinstance(event, StreamEnd):
            return event
        timing = Timing(self._first_token, time.monotonic() - self._started)
        return StreamEnd(msgspec.structs.replace(event.response, timing=timing))

    def _connected(self) -> None:
        self._arm("first_token", time.monotonic() + _or_infinite(self._source.timeout.first_token))

    def _arm(self, phase: TimeoutPhase, at: float) -> None:
        self._phase = phase
        self._watch.at = min(at, self._total_at)
        watchdog.add(self._watch)

    def _expire(self) -> None:
        """On the watchdog's thread: a limit has passed."""
        self._expired = "total" if time.monotonic() >= self._total_at else self._phase
        self._call.abort()

    def _timeout_error(self, phase: TimeoutPhase) -> APITimeoutError:
        seconds = getattr(self._source.timeout, phase)
        return APITimeoutError(f"{_PHASES[phase]} within {seconds:g} s (timeout {phase!r})", phase=phase)


_PHASES: dict[TimeoutPhase, str] = {
    "connect": "no connection",
    "first_token": "no first token",
    "idle": "nothing more came",
    "total": "the answer was not complete",
}
_KEEP_ALIVES = frozenset({"ping", "keepalive", "keep-alive"})
_KEPT_ALIVE = VendorEvent("keep_alive", {})
"""For whoever watches the wire: it is no content, and satisfies no time limit."""

_thread_numbers = itertools.count(1)
_live: set[_Subscription] = set()
after_fork(_live.clear)  # or a child that ends would close its parent's connections


def _has_content(batch: Sequence[TokenEvent]) -> bool:
    return any(isinstance(event, CONTENT_EVENTS) for event in batch)


def _nothing(_: list[TokenEvent]) -> None:
    """A step after the last one."""


def _or_infinite(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds


@atexit.register
def abort_live_streams() -> None:
    """Close what is open when the interpreter ends, and give the workers a moment to clean up."""
    deadline = time.monotonic() + _EXIT_SECONDS
    for subscription in list(_live):
        subscription.dispose()
    while _live and time.monotonic() < deadline:
        time.sleep(0.005)
