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
from collections.abc import Callable, Generator, Iterator, Sequence

import msgspec
from reactivex import Observable, abc

from ._connections import Call, CallAborted
from ._framing import MAX_FRAME_BYTES, ndjson_frames, sse_frames
from ._http import Body, Transport
from ._spending import with_estimate
from ._watchdog import Watch, watchdog
from ._wire import Decoder, WireRequest
from .errors import APITimeoutError, LLMError, ProtocolError, TimeoutPhase
from .events import CONTENT_EVENTS, StreamEnd, Timing, TokenEvent, VendorEvent
from .options import Timeout

log = logging.getLogger("rxllm")

_EXIT_SECONDS = 1.0
_FRAMINGS = {"sse": sse_frames, "ndjson": ndjson_frames}


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


class _Subscription(abc.DisposableBase):
    """One request and its observer."""

    def __init__(self, source: Source, observer: abc.ObserverBase[TokenEvent]) -> None:
        self._source = source
        self._observer = observer
        self._decoder = source.decoder()
        self._call = Call(self._connected)
        self._disposed = False
        self._ended = False
        self._expired: TimeoutPhase | None = None
        self._answered: WireRequest | None = None
        """The request, once an event of its answer has come: from then on it costs."""
        self._started = time.monotonic()
        self._first_token: float | None = None
        self._active = False
        """An event has come since the last look at the clock."""
        self._phase: TimeoutPhase = "connect"
        limits = source.timeout
        self._total_at = self._started + _or_infinite(limits.total)
        self._idle = _or_infinite(limits.idle)
        self._watch = Watch(math.inf, self._idle, self._expire)
        self._scheduled: abc.DisposableBase | None = None

    def start(self) -> _Subscription:
        context = contextvars.copy_context()
        if self._source.scheduler is None:
            name = f"rxllm-{self._source.provider}-{next(_thread_numbers)}"
            threading.Thread(target=context.run, args=(self._run,), name=name, daemon=True).start()
        else:

            def run(scheduler: abc.SchedulerBase, state: object | None = None) -> None:
                context.run(self._run)

            self._scheduled = self._source.scheduler.schedule(run)
        return self

    def dispose(self) -> None:
        """Stop: close the connection, deliver nothing more. From any thread, any number of times."""
        self._disposed = True
        if not self._ended:
            self._call.abort()
        if self._scheduled is not None:
            self._scheduled.dispose()

    def _run(self) -> None:
        _live.add(self)
        try:
            error = self._produce()
            if self._disposed:
                return
            if error is not None:
                self._fail(error)
            else:
                self._observer.on_completed()
        except Exception:
            # The subscriber's own: it is neither the wire's nor ours to handle.
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
        finally:
            watchdog.stop(self._watch)
            _live.discard(self)

    def _produce(self) -> LLMError | None:
        """Deliver all events; the error the stream ends with, if it does."""
        batches = self._batches()
        on_next = self._observer.on_next
        try:
            while not self._disposed:
                try:
                    batch = next(batches, None)
                except LLMError as error:
                    return error
                if batch is None:
                    return None
                for event in batch:
                    on_next(event)
            return None
        finally:
            batches.close()

    def _batches(self) -> Generator[Sequence[TokenEvent], None, None]:
        """The events, frame by frame, as they come off the wire. Raises nothing but `LLMError`."""
        body: Body | None = None
        try:
            self._arm("connect", self._started + _or_infinite(self._source.timeout.connect))
            request = self._source.request()
            if self._disposed:
                return
            body = self._source.transport.open(request, self._call, self._source.timeout.connect)
            yield from self._decoded(body, request)
        except CallAborted:
            if self._expired is not None and not self._disposed:
                raise self._timeout_error(self._expired) from None
        except LLMError as error:
            if self._expired is not None and not self._disposed:
                raise self._timeout_error(self._expired) from error
            raise
        except Exception as error:
            log.debug("an answer could not be read", exc_info=True)
            raise ProtocolError(f"the answer could not be understood: {type(error).__name__}: {error}") from error
        finally:
            self._ended = True
            if body is not None:
                body.finish() if self._decoder.finished else body.close()

    def _decoded(self, body: Body, request: WireRequest) -> Iterator[Sequence[TokenEvent]]:
        decoder = self._decoder
        feed = decoder.feed
        waiting = True
        for frame in _FRAMINGS[request.framing](self._blocks(body), self._source.max_event_bytes):
            batch = feed(frame) if frame.data else ()
            if not batch:
                if self._answered is not None and (not frame.data or frame.event in _KEEP_ALIVES):
                    yield _KEPT_ALIVE
                continue
            if waiting:
                self._answered = request
                if _has_content(batch):
                    waiting = False
                    self._first_token = time.monotonic() - self._started
                    self._phase = "idle"
                    watchdog.add(self._watch)
            self._active = True
            if decoder.finished:
                break
            yield batch
        else:
            batch = decoder.close()
        watchdog.stop(self._watch)
        self._ended = True
        yield [self._timed(event) for event in batch]

    def _blocks(self, body: Body) -> Iterator[bytes]:
        """The body's bytes. The limit on silence holds while a read waits, not while the subscriber works."""
        watch = self._watch
        idle_since = time.monotonic()
        while True:
            if self._phase == "idle":
                now = time.monotonic()
                if self._active:
                    self._active = False
                    idle_since = now
                watch.at = min(idle_since + self._idle, self._total_at)
                block = body.read()
                watch.at = self._total_at
            else:
                block = body.read()
            if not block:
                return
            yield block

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

    def _fail(self, error: LLMError) -> None:
        error.provider = error.provider or self._source.provider
        error.model = error.model or self._source.model
        if error.partial is None:
            timing = Timing(self._first_token, time.monotonic() - self._started)
            partial = msgspec.structs.replace(self._decoder.partial(), timing=timing)
            error.partial = partial if self._answered is None else with_estimate(partial, self._answered.body)
        try:
            self._observer.on_error(error)
        except LLMError as raised:
            if raised is not error:
                raise
            # reactivex raises the error itself where the subscriber gave no on_error.
            log.error("a stream ended with an error that nobody handled: %s", error)


_PHASES: dict[TimeoutPhase, str] = {
    "connect": "no connection",
    "first_token": "no first token",
    "idle": "nothing more came",
    "total": "the answer was not complete",
}
_KEEP_ALIVES = frozenset({"ping", "keepalive", "keep-alive"})
_KEPT_ALIVE = (VendorEvent("keep_alive", {}),)
"""For whoever watches the wire: it is no content, and satisfies no time limit."""

_thread_numbers = itertools.count(1)
_live: set[_Subscription] = set()


def _has_content(batch: Sequence[TokenEvent]) -> bool:
    return any(isinstance(event, CONTENT_EVENTS) for event in batch)


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
