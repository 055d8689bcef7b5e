"""The machinery of `map_prompts`: a bounded number of streams at a time, results delivered one at a time.

A thread that brings a prompt or an answer pumps: it delivers the results that are due, starts the streams that may
start, and repeats until nothing is left to do. While one thread pumps, others only store what they bring. So on_next
is called by one thread at a time, and while the subscriber is busy no new prompt is sent.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Generic, Literal, NamedTuple, TypeAlias, TypeVar

import msgspec
from reactivex import Observable, abc
from reactivex.disposable import SerialDisposable, SingleAssignmentDisposable
from reactivex.scheduler import NewThreadScheduler, VirtualTimeScheduler

from .._core.attempts import capture_context
from .._core.token_usage import add_usage
from ..errors import LLMError, OutputParsingError, StreamError, StreamInterruptedError
from ..events import Response, StreamEnd, TokenEvent

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


class PoolSettings(NamedTuple, Generic[P, V_co]):
    """The settings of a `PromptPool`; see `map_prompts`."""

    ask: Callable[[P], Observable[TokenEvent]]
    ask_again: Callable[[P, Response, Exception], Observable[TokenEvent]]
    """Asks a prompt once more, after an answer that is not of the type."""
    value_of: Callable[[Response], V_co]
    """Returns the value of an answer; raises `OutputParsingError`."""
    max_concurrent: int
    max_waiting: float
    overflow: PromptOverflow
    ordered: bool
    raises: bool
    """The first failure ends the stream."""
    stop_after_failures: float


class _PromptRun(Generic[P]):
    """One prompt, from its arrival to the delivery of its result."""

    __slots__ = ("index", "outcome", "prompt", "stream", "value")

    def __init__(self, index: int, prompt: P) -> None:
        self.index = index
        self.prompt = prompt
        self.stream = SerialDisposable()
        self.outcome: Response | Exception = StreamInterruptedError("the stream ended without an answer")
        self.value: object = None


class PromptPool(abc.DisposableBase, Generic[P, V_co]):
    """One subscription to `map_prompts`."""

    def __init__(
        self, observer: abc.ObserverBase[PromptAnswer[P, V_co] | PromptFailure[P]], settings: PoolSettings[P, V_co]
    ) -> None:
        self._observer = observer
        self._settings = settings
        self._capacity = settings.max_concurrent + settings.max_waiting
        self._changed = threading.Condition()
        """Guards all attributes below. Not held while a stream, the source or the subscriber runs."""
        self._waiting: deque[_PromptRun[P]] = deque()
        self._running: dict[int, _PromptRun[P]] = {}
        self._answered: dict[int, _PromptRun[P]] = {}
        """Ended and not yet delivered."""
        self._received = 0
        self._next_due = 0
        """The index of the result that is due next, if results come in order."""
        self._dropped: set[int] = set()
        self._done = 0
        self._failed = 0
        self._failures_alike = 0
        self._last_failure: tuple[type[Exception], int | None] | None = None
        self._source_completed = False
        self._error: Exception | None = None
        self._closed = False
        self._pumping_thread: int | None = None
        self._upstream = SingleAssignmentDisposable()
        self._given: abc.SchedulerBase | None = None
        self._in_context: Callable[[Callable[[], None]], None] = capture_context()

    def start(self, source: Observable[P], scheduler: abc.SchedulerBase | None) -> PromptPool[P, V_co]:
        """Subscribe to the prompts; a source that may be blocked gets a thread of its own, not the caller's."""
        self._given = scheduler
        may_block = self._settings.overflow == "block" and self._settings.max_waiting != float("inf")
        source_scheduler = NewThreadScheduler() if scheduler is None and may_block else scheduler
        self._upstream.disposable = source.subscribe(
            self._on_prompt, self._on_source_error, self._on_source_completed, scheduler=source_scheduler
        )
        return self

    def dispose(self) -> None:
        """Stop: dispose the source and every running stream. Thread-safe, may be repeated."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            streams = [run.stream for run in self._running.values()]
        self._upstream.dispose()
        for stream in streams:
            stream.dispose()

    def _on_prompt(self, prompt: P) -> None:
        """Queue a prompt and start what can run; block or drop if too many are in hand."""
        with self._changed:
            if self._closed or self._error is not None:
                return
            self._waiting.append(_PromptRun(self._received, prompt))
            self._received += 1
        self._pump()
        with self._changed:
            if self._settings.overflow == "block" and not isinstance(self._given, VirtualTimeScheduler):
                self._wait_for_room()
            elif self._in_hand() > self._capacity:
                self._handle_overflow()
        self._pump()

    def _in_hand(self) -> int:
        return len(self._running) + len(self._waiting)

    def _handle_overflow(self) -> None:
        """Apply the overflow policy: one prompt too many is in hand. Must hold the lock."""
        match self._settings.overflow:
            case "block":
                self._error = StreamError("map_prompts(overflow='block') cannot block a source on virtual time")
            case "drop_oldest":
                self._dropped.add(self._waiting.popleft().index)
            case "drop_newest":
                self._dropped.add(self._waiting.pop().index)
            case "error":
                waiting = len(self._waiting) - 1
                self._error = StreamError(f"the model is too slow: {waiting} prompts wait, and overflow is 'error'")

    def _wait_for_room(self) -> None:
        """Block the source's thread until another prompt may come. Must hold the lock; releases it while waiting."""
        if self._pumping_thread == threading.get_ident():
            return  # the subscriber pushes a prompt from its own on_next: waiting here would never end
        self._changed.wait_for(lambda: self._in_hand() < self._capacity or self._closed or self._error is not None)

    def _on_source_completed(self) -> None:
        with self._changed:
            self._source_completed = True
        self._pump()

    def _on_source_error(self, error: Exception) -> None:
        with self._changed:
            self._error = error
        self._pump()

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
        while self._next_due in self._dropped:
            self._dropped.remove(self._next_due)
            self._next_due += 1
        due = self._answered.pop(self._next_due if self._settings.ordered else next(iter(self._answered), -1), None)
        if due is not None:
            self._next_due += 1
            result = self._result(due)
            return partial(self._observer.on_next, result)
        if self._may_start():
            run = self._waiting.popleft()
            self._running[run.index] = run
            return partial(self._in_context, partial(self._begin, run, partial(self._settings.ask, run.prompt)))
        if self._source_completed and not (self._waiting or self._running or self._answered):
            self._closed = True
            return self._observer.on_completed
        return None

    def _fail(self, error: Exception) -> None:
        self.dispose()
        self._observer.on_error(error)

    def _may_start(self) -> bool:
        if not self._waiting or len(self._running) >= self._settings.max_concurrent:
            return False
        ahead = self._waiting[0].index - self._next_due
        return not self._settings.ordered or ahead < _AHEAD * self._settings.max_concurrent

    def _result(self, run: _PromptRun[P]) -> PromptAnswer[P, V_co] | PromptFailure[P]:
        """Return the result of a run, with the progress so far."""
        outcome = run.outcome
        self._done += 1
        self._failed += isinstance(outcome, Exception)
        total = self._received if self._source_completed else None
        dropped = self._received - self._done - len(self._running) - len(self._waiting) - len(self._answered)
        progress = Progress(self._done, self._failed, len(self._running), len(self._waiting), total, dropped)
        if isinstance(outcome, Exception):
            self._count_failure(outcome)
            return PromptFailure(run.index, run.prompt, outcome, progress)
        self._failures_alike = 0
        return PromptAnswer(run.index, run.prompt, outcome, progress, run.value)  # type: ignore[arg-type]  # of value_of

    def _count_failure(self, error: Exception) -> None:
        """End the stream if the last results have all failed with the same permanent error. Must hold the lock."""
        if isinstance(error, LLMError) and error.transient:
            return
        kind = (type(error), error.status_code if isinstance(error, LLMError) else None)
        self._failures_alike = self._failures_alike + 1 if kind == self._last_failure else 1
        self._last_failure = kind
        if self._failures_alike >= self._settings.stop_after_failures:
            error.add_note(f"stopped: {self._failures_alike} prompts in a row have failed with this error")
            self._error = error

    def _begin(
        self, run: _PromptRun[P], ask: Callable[[], Observable[TokenEvent]], *, earlier: Response | None = None
    ) -> None:
        """Subscribe to the stream of a prompt; `earlier` is the first answer if this is the second request."""

        def on_next(event: TokenEvent) -> None:
            if type(event) is StreamEnd:
                run.outcome = event.response

        def on_error(error: Exception) -> None:
            run.outcome = error
            self._ended(run)

        def on_completed() -> None:
            again = self._convert(run, earlier)
            if again is None:
                self._ended(run)
            else:
                self._in_context(again)

        try:
            subscribe = ask().subscribe
        except Exception as error:
            on_error(error)
        else:
            slot = SingleAssignmentDisposable()
            run.stream.disposable = slot
            slot.disposable = subscribe(on_next, on_error, on_completed, scheduler=self._given)

    def _convert(self, run: _PromptRun[P], earlier: Response | None) -> Callable[[], None] | None:
        """Set the value of an answer; return what asks once more, if the first answer is not of the type."""
        response = run.outcome
        if not isinstance(response, Response):
            return None
        if earlier is not None:
            usage = add_usage(earlier.usage, response.usage)
            run.outcome = response = msgspec.structs.replace(response, usage=usage)
        try:
            run.value = self._settings.value_of(response)
        except OutputParsingError as error:
            error.partial = response
            run.outcome = error
            if earlier is None:
                again = partial(self._settings.ask_again, run.prompt, response, error)
                return partial(self._begin, run, again, earlier=response)
        return None

    def _ended(self, run: _PromptRun[P]) -> None:
        """Move an ended run from the running to the answered ones."""
        with self._changed:
            if self._closed:
                return
            del self._running[run.index]
            self._changed.notify_all()
            self._answered[run.index] = run
            if self._settings.raises and isinstance(run.outcome, Exception):
                self._error = run.outcome
        self._pump()
