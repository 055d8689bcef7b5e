"""The machinery of `map_prompts`: a bounded number of streams at a time, results delivered one at a time.

A thread that brings a prompt or an answer pumps: it delivers the results that are due, starts the streams that may
start, and repeats until nothing is left to do. While one thread pumps, others only store what they bring. So on_next
is called by one thread at a time, and while the subscriber is busy no new prompt is sent.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Generic, Literal, Self, TypeAlias, TypeVar

import msgspec
from reactivex import Observable, abc
from reactivex.disposable import SingleAssignmentDisposable
from reactivex.scheduler import NewThreadScheduler, VirtualTimeScheduler

from .._core.scheduling import capture_context
from ..errors import LLMError, StreamError, StreamInterruptedError
from ..events import Response
from ._operator import Subscription

P = TypeVar("P")
P_co = TypeVar("P_co", covariant=True)
V_co = TypeVar("V_co", covariant=True)

PromptOverflow: TypeAlias = Literal["block", "drop_oldest", "drop_newest", "error"]

_AHEAD = 16
"""In order, at most this many times `max_concurrent` prompts are sent ahead of the answer that is due next."""


class Progress(msgspec.Struct, frozen=True):
    """How far a run of prompts is.

    Args:
        done: Prompts answered or failed, this one included.
        failed: Prompts that failed.
        running: Prompts that the model is answering.
        waiting: Prompts that have not been asked.
        total: All prompts; None until the last one has come.
        dropped: Prompts dropped by the overflow policy.
    """

    done: int
    failed: int
    running: int
    waiting: int
    total: int | None
    dropped: int = 0


class PromptAnswer(msgspec.Struct, Generic[P_co, V_co], frozen=True, tag="answer"):
    """The answer to a prompt.

    Args:
        index: The number of the prompt, from 0.
        prompt: The prompt.
        response: The answer.
        progress: The state of the run, this answer included.
        value: The answer as `response_type`; None without one.
    """

    index: int
    prompt: P_co
    response: Response
    progress: Progress
    value: V_co


class PromptFailure(msgspec.Struct, Generic[P_co], frozen=True, tag="failure"):
    """The error that a prompt got instead of an answer.

    Args:
        index: The number of the prompt, from 0.
        prompt: The prompt.
        error: The error.
        progress: The state of the run, this failure included.
    """

    index: int
    prompt: P_co
    error: Exception
    progress: Progress


class _PromptRun(Generic[P, V_co]):
    """One prompt, from its arrival to the delivery of its result."""

    __slots__ = ("index", "is_dropped", "outcome", "prompt", "stream")

    def __init__(self, index: int, prompt: P) -> None:
        self.index = index
        self.prompt = prompt
        self.stream = SingleAssignmentDisposable()
        self.outcome: tuple[Response, V_co] | Exception = StreamInterruptedError("the stream ended without an answer")
        self.is_dropped = False


class PromptPool(Subscription[P, PromptAnswer[P, V_co] | PromptFailure[P]]):
    """One subscription to `map_prompts`.

    `ask` returns the stream of one item, the answer and its value. At most `capacity` prompts are in hand.
    """

    def __init__(
        self,
        observer: abc.ObserverBase[PromptAnswer[P, V_co] | PromptFailure[P]],
        ask: Callable[[P], Observable[tuple[Response, V_co]]],
        max_concurrent: int,
        capacity: float,
        overflow: PromptOverflow,
        ordered: bool,
        stop_after_failures: float,
    ) -> None:
        super().__init__(observer)
        self._ask = ask
        self._max_concurrent = max_concurrent
        self._capacity = capacity
        self._overflow: PromptOverflow = overflow
        self._ordered = ordered
        self._stop_after_failures = stop_after_failures
        self._changed = threading.Condition()
        """Guards all attributes below. Not held while a stream, the source or the subscriber runs."""
        self._waiting: deque[_PromptRun[P, V_co]] = deque()
        self._running: dict[int, _PromptRun[P, V_co]] = {}
        self._undelivered: dict[int, _PromptRun[P, V_co]] = {}
        """Answered, failed or dropped, and not yet delivered."""
        self._received = self._done = self._failed = self._dropped = 0
        self._next_due = 0
        """The index of the result that is due next, if results come in order."""
        self._equal_failures = 0
        """How many of the last results have failed with the same permanent error, of the kind `_last_kind`."""
        self._last_kind: tuple[type[Exception], int | None] | None = None
        self._source_completed = False
        self._error: Exception | None = None
        self._closed = False
        self._pumping_thread: int | None = None
        self._given: abc.SchedulerBase | None = None
        self._in_context: Callable[[Callable[[], None]], None] = capture_context()

    def start(self, source: Observable[P], given: abc.SchedulerBase | None) -> Self:
        """Subscribe to the prompts; a source that may be blocked gets a thread of its own, not the caller's."""
        self._given = given
        may_block = self._overflow == "block" and self._capacity != math.inf
        return super().start(source, NewThreadScheduler() if given is None and may_block else given)

    def dispose(self) -> None:
        """Stop: dispose the source and every running stream. Thread-safe, may be repeated."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            streams = [run.stream for run in self._running.values()]
        super().dispose()
        for stream in streams:
            stream.dispose()

    def on_next(self, item: P, /) -> None:
        """Queue a prompt and start what can run; block or drop if too many are in hand."""
        with self._changed:
            if self._closed or self._error is not None:
                return
            self._waiting.append(_PromptRun(self._received, item))
            self._received += 1
        self._pump()
        with self._changed:
            if self._overflow == "block" and not isinstance(self._given, VirtualTimeScheduler):
                if self._pumping_thread != threading.get_ident():  # the subscriber's own prompt cannot wait for itself
                    self._changed.wait_for(lambda: self._in_hand() < self._capacity or self._closed or self._error)
            elif self._in_hand() > self._capacity:
                self._handle_overflow()
        self._pump()

    def on_error(self, error: Exception) -> None:
        with self._changed:
            self._error = error
        self._pump()

    def on_completed(self) -> None:
        with self._changed:
            self._source_completed = True
        self._pump()

    def _in_hand(self) -> int:
        return len(self._running) + len(self._waiting)

    def _handle_overflow(self) -> None:
        """Apply the overflow policy: one prompt too many is in hand. Must hold the lock."""
        match self._overflow:
            case "block":
                self._error = StreamError("map_prompts(overflow='block') cannot block a source on virtual time")
            case "error":
                waiting = len(self._waiting) - 1
                self._error = StreamError(f"the model is too slow: {waiting} prompts wait, and overflow is 'error'")
            case "drop_oldest" | "drop_newest" as which:
                run = self._waiting.popleft() if which == "drop_oldest" else self._waiting.pop()
                run.is_dropped = True
                self._dropped += 1
                self._undelivered[run.index] = run

    def _pump(self) -> None:
        """Do the work that is due, on one thread at a time."""
        with self._changed:
            if self._pumping_thread is not None:  # that thread looks again before it stops
                return
            self._pumping_thread = threading.get_ident()
        try:
            while (work := self._next_work()) is not None:
                work()
        except BaseException:
            self.dispose()
            raise

    def _next_work(self) -> Callable[[], None] | None:
        """Return what must be done next; None, and stop pumping, if there is nothing to do."""
        with self._changed:
            work = None if self._closed else self._work()
            if work is None:
                self._pumping_thread = None
            self._changed.notify_all()
            return work

    def _work(self) -> Callable[[], None] | None:
        """Return what must be done next. Must hold the lock."""
        if self._error is not None:
            return partial(self._fail, self._error)
        due = self._take_due()
        if due is not None:
            return partial(self._emit, self._result(due))
        if self._may_start():
            run = self._waiting.popleft()
            self._running[run.index] = run
            return partial(self._in_context, partial(self._begin, run))
        if self._source_completed and not (self._waiting or self._running or self._undelivered):
            self._closed = True
            return self._observer.on_completed
        return None

    def _fail(self, error: Exception) -> None:
        self.dispose()
        self._observer.on_error(error)

    def _take_due(self) -> _PromptRun[P, V_co] | None:
        """Remove and return the run whose result is due; None if there is none. Must hold the lock."""
        while True:
            run = self._undelivered.pop(self._next_due if self._ordered else next(iter(self._undelivered), -1), None)
            self._next_due += run is not None
            if run is None or not run.is_dropped:
                return run

    def _may_start(self) -> bool:
        if not self._waiting or len(self._running) >= self._max_concurrent:
            return False
        ahead = self._waiting[0].index - self._next_due
        return not self._ordered or ahead < _AHEAD * self._max_concurrent

    def _result(self, run: _PromptRun[P, V_co]) -> PromptAnswer[P, V_co] | PromptFailure[P]:
        """Return the result of a run, with the progress so far. Must hold the lock."""
        outcome = run.outcome
        self._done += 1
        self._failed += isinstance(outcome, Exception)
        total = self._received if self._source_completed else None
        progress = Progress(self._done, self._failed, len(self._running), len(self._waiting), total, self._dropped)
        if isinstance(outcome, Exception):
            self._count_failure(outcome)
            return PromptFailure(run.index, run.prompt, outcome, progress)
        self._equal_failures = 0
        response, value = outcome
        return PromptAnswer(run.index, run.prompt, response, progress, value)

    def _count_failure(self, error: Exception) -> None:
        """End the stream if the last results have all failed with the same permanent error. Must hold the lock."""
        if isinstance(error, LLMError) and error.transient:
            return
        kind = (type(error), error.status_code if isinstance(error, LLMError) else None)
        self._equal_failures = self._equal_failures + 1 if kind == self._last_kind else 1
        self._last_kind = kind
        if self._equal_failures >= self._stop_after_failures:
            error.add_note(f"stopped: {self._equal_failures} prompts in a row have failed with this error")
            self._error = error

    def _begin(self, run: _PromptRun[P, V_co]) -> None:
        """Subscribe to the answer of a prompt."""

        def on_next(answer: tuple[Response, V_co]) -> None:
            run.outcome = answer

        def on_error(error: Exception) -> None:
            run.outcome = error
            self._ended(run)

        run.stream.disposable = self._ask(run.prompt).subscribe(
            on_next, on_error, partial(self._ended, run), scheduler=self._given
        )

    def _ended(self, run: _PromptRun[P, V_co]) -> None:
        """Move an ended run from the running ones to the undelivered ones."""
        with self._changed:
            if self._closed:
                return
            del self._running[run.index]
            self._changed.notify_all()
            self._undelivered[run.index] = run
        self._pump()
