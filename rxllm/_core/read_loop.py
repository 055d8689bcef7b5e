"""The one subscribe(): a wire's answer as a cold Observable of token events.

Each subscription makes one request. It is read on a thread of the producing scheduler (by default a daemon thread of
its own, or a shared one if there are many streams), never on the caller's. on_next is called by one thread at a time,
in order, and the next read follows when it returns. The stream ends in exactly one of: `StreamEnd` then on_completed;
one `LLMError` with `partial`; or silence, because it was disposed. Disposing closes the connection at once.

An exception that the subscriber raises closes the connection and is passed to `threading.excepthook`.
"""

from __future__ import annotations

import contextvars
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain

import msgspec
from reactivex import Observable, abc

from .._protocol import Decoder, WireRequest
from .._runtime.errors import report_exception
from .._runtime.thread_cache import Task, workers
from .._transport.body import DRAIN_SECONDS, Body
from .._transport.connections import Call, CallAborted, CallPhase
from .._transport.framing import MAX_FRAME_BYTES, NDJSONFraming, SSEFraming
from .._transport.http import PendingResponse, Transport
from .._transport.rate_limit_headers import retry_after
from ..errors import APIConnectionError, LLMError, RateLimitError, StreamError
from ..events import ReasoningDelta, Response, StreamEnd, TextDelta, Timing, TokenEvent, VendorEvent, is_content
from ..options import Timeout
from .awaitable import AwaitableObservable
from .scheduling import schedule_after_subscribe
from .stream_errors import emit_error, unexpected_error
from .thread_choice import admission, interpreter_ends, is_crowded, live, reactor
from .time_limits import TimeLimits
from .token_usage import with_estimate

_FRAMINGS: dict[str, type[SSEFraming | NDJSONFraming]] = {"sse": SSEFraming, "ndjson": NDJSONFraming}


class Source(msgspec.Struct, frozen=True):
    """A provider, the request, and how its answer is read.

    `request` is called on the producing thread, and may block. `scheduler` is the producing one; None means a thread
    of our own.
    """

    provider: str
    model: str
    request: Callable[[], WireRequest]
    decoder: Callable[[], Decoder]
    transport: Transport
    timeout: Timeout
    scheduler: abc.SchedulerBase | None = None
    max_event_bytes: int = MAX_FRAME_BYTES
    max_answer_chars: int | None = None


def token_stream(source: Source) -> Observable[TokenEvent]:
    """Return the cold Observable of `source`: one request for each subscription."""
    # The scheduler given to subscribe() may be a UI thread's: blocking reads never run on it.
    return AwaitableObservable(lambda observer, scheduler: _Subscription(source, observer).start(scheduler))


class _Subscription(abc.DisposableBase):
    """One request and its observer. One thread at a time reads it: its own, or in a crowd one of the reactor's."""

    # Slots, here and in what else each read touches: in a crowd, half of its cost is memory that is not in the cache.
    __slots__ = (
        *("_source", "_observer", "_decoder", "_call", "_pending", "_body", "_framing", "_in_crowd"),
        *("_must_block", "_ended", "_failure", "_disposed", "_halted", "_is_started", "_scheduled", "_request"),
        *("_answered", "_first_token", "_max_chars", "_chars", "_limits"),
    )

    def __init__(self, source: Source, observer: abc.ObserverBase[TokenEvent]) -> None:
        self._source = source
        self._observer = observer
        self._decoder = source.decoder()
        self._call = Call(self._on_phase)
        self._pending: PendingResponse | None = None
        """The response that is awaited; then its body follows."""
        self._body: Body | None = None
        self._framing: SSEFraming | NDJSONFraming
        self._in_crowd = False
        """The reactor reads."""
        self._must_block = False
        """The next read may block, so it needs a thread of its own."""
        self._ended = False
        """Nothing more is read."""
        self._failure: LLMError | None = None
        self._disposed = False
        self._halted = False
        """No further event is delivered: the stream was disposed, or `total` has passed."""
        self._is_started = threading.Lock()
        """Acquired, and never released, by what ends the waiting for a start: the producing thread, or a limit."""
        self._scheduled: abc.DisposableBase | None = None
        self._request: WireRequest | None = None
        self._answered = False
        """The request is billed, so usage is estimated on failure."""
        self._first_token: float | None = None
        self._max_chars = source.max_answer_chars
        self._chars = 0
        self._limits = TimeLimits(source.timeout, self._on_expired)

    def start(self, given: abc.SchedulerBase | None) -> _Subscription:
        """Start on a worker or on the producing scheduler, in a copy of the subscriber's context."""
        run = contextvars.copy_context().run
        try:
            run(self._limits.start)
            if self._source.scheduler is None:
                admission.submit(self, self._thread_name(), partial(run, self._run), self._start_failed)
            else:
                self._scheduled = schedule_after_subscribe(self._source.scheduler, partial(run, self._run), given)
        except Exception as error:
            self._start_failed(error)
        return self

    def dispose(self) -> None:
        """Stop: close the connection, deliver nothing more. Thread-safe, harmless when repeated."""
        self._disposed = self._halted = True
        if not self._ended:
            self._call.abort()
        if self._scheduled is not None:
            self._scheduled.dispose()

    def leave(self) -> None:
        """Read and deliver nothing more: this process was forked, perhaps inside on_next. Takes no lock."""
        self._disposed = self._halted = True

    def _start_failed(self, error: Exception) -> None:
        """End a stream for which there is no thread, unless it runs (then a limit or its scheduler has failed)."""
        if self._is_started.acquire(blocking=False):
            self._disposed = self._disposed or interpreter_ends.is_set()
            self._abandon("the stream could not be started", error)

    def _abandon(self, what: str, error: Exception) -> None:
        """End the stream, because no thread or selector takes it."""
        failure = APIConnectionError(f"{what}: {type(error).__name__}: {error}")
        failure.__cause__ = error
        self._fail(failure)
        self._read_once()

    def _run(self) -> Task | None:
        """Read to the end, or until a crowd forms; runs on the producing thread. Return what the thread does next."""
        if not self._is_started.acquire(blocking=False):
            admission.release(self)  # a limit has ended the stream
            return None
        live.add(self)
        return self._read_here()

    def _read_here(self) -> Task | None:
        """Read on this thread to the end, or until a crowd forms. Return what the thread does next."""
        may_leave = self._source.scheduler is None
        while self._read_once():
            wire = self._body or self._pending
            if not (may_leave and is_crowded() and wire is not None and (fd := wire.fileno()) is not None):
                continue
            try:
                wire.set_blocking(False)
                self._in_crowd = True
                lead = reactor.add(fd, self._read_once, partial(self._abandon, "the connection could not be read"))
            except OSError:  # the reactor cannot take it: this stream keeps its thread
                may_leave = self._in_crowd = False
                wire.set_blocking(True)
                continue
            if lead is None:
                return admission.next_task(self)
            admission.release(self)
            return lead
        return None

    def _thread_name(self) -> str:
        return f"rxllm-{self._source.provider}-{next(_thread_numbers)}"

    def _read_once(self) -> bool:
        """Read once and deliver the events. Return whether the calling thread must read again.

        Raises nothing, except KeyboardInterrupt and the like on a scheduler of the user: it may use the main thread.
        """
        continues = False
        events: list[TokenEvent] = []
        try:
            try:
                if self._disposed or self._ended:
                    pass
                elif self._body is not None:
                    self._read(self._body, events)
                elif self._pending is not None:
                    self._read_head(self._pending, events)
                else:
                    self._open()
            except BaseException as error:  # SystemExit of your function would end only this thread, in silence
                if not isinstance(error, Exception) and self._source.scheduler is not None:
                    raise
                self._fail(error)
            on_next = self._observer.on_next
            for event in events:
                if self._halted:
                    self._fail(CallAborted())  # also when the answer is complete: its end is not delivered
                    break
                on_next(event)
            if self._limits.expired == "total" and not self._decoder.finished:
                self._fail(CallAborted())
            if self._ended or self._disposed:
                self._end()
            else:
                self._limits.reset()
                continues = True
        except BaseException as error:
            self._close()
            if not isinstance(error, Exception) and self._source.scheduler is not None:
                raise
            report_exception()
        finally:
            if not continues:
                self._release()
        if continues and self._must_block:  # the reactor's thread must not block
            self._leave_crowd()
            return False
        return continues

    def _leave_crowd(self) -> None:
        """Let a thread of its own read this stream."""
        self._must_block = self._in_crowd = False
        try:
            workers.run(self._thread_name(), partial(contextvars.copy_context().run, self._read_here))
        except RuntimeError as error:
            self._abandon("the connection could not be read", error)

    def _open(self) -> None:
        """Send the request."""
        self._request = self._source.request()  # may start the embedded model
        self._limits.start_connect()
        if not self._disposed:
            self._pending = self._source.transport.send(self._request, self._call)
            self._framing = _FRAMINGS[self._request.framing](self._source.max_event_bytes)

    def _read_head(self, pending: PendingResponse, events: list[TokenEvent]) -> None:
        """Read the head of the response; in a crowd, as much of it as has arrived."""
        admission.release(self)
        body = pending.read()
        self._must_block = pending.must_block
        if body is not None:
            self._body, self._pending = body, None
            if not pending.is_blocking:
                self._read(body, events)  # what has arrived with the head does not make the socket readable

    def _on_phase(self, phase: CallPhase) -> None:
        """Set the time limits for what the call waits for now."""
        if phase == "connecting":
            admission.release(self)
        else:
            self._limits.enter(phase)

    def _read(self, body: Body, events: list[TokenEvent]) -> None:
        """Read the next bytes, and add the events in them to `events`."""
        block = body.read()
        limits = self._limits
        limits.is_waiting = False  # until the next read, only `total` limits the time that the subscriber takes
        decoder = self._decoder
        feed = decoder.feed
        frames = self._framing.feed(block)
        at_end = body.at_end
        has_content = False
        for frame in chain(frames, self._framing.close()) if at_end else frames:
            batch = feed(frame) if frame.data else ()
            if batch:
                events += batch
                has_content = has_content or self._note(batch)  # once per read is enough for the limits
                if decoder.finished:
                    break
            else:
                limits.has_noise = True
                if self._answered and (not frame.data or frame.event in _KEEP_ALIVES):
                    events.append(_KEPT_ALIVE)
        if at_end and not decoder.finished:
            events += decoder.close()
        if self._max_chars is not None:
            self._limit_answer(events, self._max_chars)
        if decoder.finished:
            self._ended = True
            limits.stop()
            if isinstance(end := events[-1], StreamEnd):
                events[-1] = StreamEnd(self._timed(end.response))
        elif body.failure is not None:
            raise body.failure

    def _note(self, batch: Sequence[TokenEvent]) -> bool:
        """Record whether the events of a frame are content; return that."""
        first = batch[0]
        self._answered = True
        if not (type(first) is TextDelta and first.text) and not any(map(is_content, batch)):
            self._limits.has_noise = True
            return False
        self._limits.has_content = True
        if self._first_token is None:
            self._first_token = time.monotonic() - self._limits.started_at
            self._limits.phase = "idle"
        return True

    def _limit_answer(self, events: list[TokenEvent], limit: int) -> None:
        """End the stream at the event with which the answer exceeds `limit` characters."""
        for number, event in enumerate(events):
            if isinstance(event, TextDelta | ReasoningDelta):
                self._chars += len(event.text)
                if self._chars > limit:
                    del events[number:]
                    raise StreamError(f"the answer exceeds {limit} characters (max_answer_chars)")

    def _fail(self, error: BaseException) -> None:
        """Record the error that ends the stream; none for an abort, unless a time limit caused it."""
        self._ended = True
        if isinstance(error, CallAborted):
            expired = self._limits.expired
            self._failure = None if expired is None else self._limits.error(expired)
        elif isinstance(error, LLMError):
            self._failure = error
        else:
            self._failure = unexpected_error(error, is_open=self._body is not None)

    def _end(self) -> None:
        """Notify the observer of the end, and return the connection to the pool, or close it.

        A complete answer is reported before the rest of its body has arrived.
        """
        body, failure = self._body, self._failure
        if body is not None and isinstance(failure, RateLimitError) and failure.retry_after is None:
            failure.retry_after = retry_after(body.headers, time.time())  # Azure: a rate limit inside the stream
        if body is None or not self._decoder.finished:
            self._close()
            self._notify_end()
        elif body.finish(0.0):
            self._notify_end()
        else:
            try:
                self._notify_end()
            finally:
                body.finish(0.0 if self._in_crowd else DRAIN_SECONDS)
        self._close()

    def _close(self) -> None:
        """Close the connection, unless it is back in the pool. Harmless when repeated."""
        self._ended = True
        wire = self._body or self._pending
        self._body = self._pending = None
        if wire is not None:
            wire.close()

    def _release(self) -> None:
        """Remove every reference to this stream; it has ended."""
        self._limits.stop()
        live.discard(self)
        admission.release(self)
        self._call.finish()

    def _notify_end(self) -> None:
        """Call the observer's end; complete the error with provider, model and partial answer."""
        if self._disposed:
            return
        error, self._failure = self._failure, None  # its traceback refers to this stream
        if error is None:
            self._observer.on_completed()
            return
        error.provider = error.provider or self._source.provider
        error.model = error.model or self._source.model
        if error.partial is None:
            try:
                error.partial = self._partial()
            except Exception as failure:  # no memory, or a bug of a decoder: the stream still ends
                error.add_note(f"the answer so far could not be read: {failure!r}")
        emit_error(self._observer, error)

    def _partial(self) -> Response:
        """Return the answer so far."""
        answer = self._timed(self._decoder.partial())
        return with_estimate(answer, self._request.body) if self._answered and self._request else answer

    def _timed(self, response: Response) -> Response:
        timing = Timing(self._first_token, time.monotonic() - self._limits.started_at)
        return msgspec.structs.replace(response, timing=timing)

    def _on_expired(self) -> None:
        """Abort the call after a time limit; runs on the watchdog's thread. Ends a stream that no thread reads yet."""
        self._halted = self._halted or self._limits.expired == "total"
        self._call.abort()
        if self._is_started.acquire(blocking=False):
            self._fail(CallAborted())
            try:
                workers.run(self._thread_name(), self._read_once)
            except RuntimeError:
                self._read_once()


_KEEP_ALIVES = frozenset({"ping", "keepalive", "keep-alive"})
_KEPT_ALIVE = VendorEvent("keep_alive", {})
_thread_numbers = itertools.count(1)
