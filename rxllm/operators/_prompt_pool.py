"""The machinery of `map_prompts`: so many streams at a time, results one at a time.

Whichever thread has news (a prompt, an answer) pumps: it delivers what is due, starts what may
start, and looks again until nothing is left to do. While one thread pumps, the others leave
their news and go. So on_next is called by one thread at a time, and while a subscriber is busy
nothing new is asked.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

import msgspec
from reactivex import Observable, abc
from reactivex.disposable import SingleAssignmentDisposable

from .._core.attempts import capture_context
from ..errors import StreamInterruptedError
from ..events import Response, StreamEnd, TokenEvent

P = TypeVar("P")
P_co = TypeVar("P_co", covariant=True)

_AHEAD = 16
"""In order, prompts are asked this many times `max_concurrent` ahead of the answer that is due next."""


class Progress(msgspec.Struct, frozen=True):
    """How far a run of prompts is; `total` is None until the last prompt has come."""

    done: int
    """Answered or failed, this one included."""
    failed: int
    running: int
    waiting: int
    total: int | None


class PromptAnswer(msgspec.Struct, Generic[P_co], frozen=True, tag="answer"):
    """The answer to the prompt number `index`, from 0."""

    index: int
    prompt: P_co
    response: Response
    progress: Progress


class PromptFailure(msgspec.Struct, Generic[P_co], frozen=True, tag="failure"):
    """What became of the prompt number `index` instead of an answer."""

    index: int
    prompt: P_co
    error: Exception
    progress: Progress


class _PromptRun(Generic[P]):
    """One prompt on its way."""

    __slots__ = ("index", "outcome", "prompt", "stream")

    def __init__(self, index: int, prompt: P) -> None:
        self.index = index
        self.prompt = prompt
        self.stream = SingleAssignmentDisposable()
        self.outcome: Response | Exception = StreamInterruptedError("the stream ended without an answer")


class PromptPool(abc.DisposableBase, Generic[P]):
    """One run of prompts."""

    def __init__(
        self,
        observer: abc.ObserverBase[PromptAnswer[P] | PromptFailure[P]],
        ask: Callable[[P], Observable[TokenEvent]],
        max_concurrent: int,
        ordered: bool,
        fails: bool,
    ) -> None:
        self._observer = observer
        self._ask = ask
        self._max_concurrent = max_concurrent
        self._ordered = ordered
        self._fails = fails
        self._lock = threading.Lock()
        """Guards all that follows; never held while anybody else's code runs."""
        self._waiting: deque[_PromptRun[P]] = deque()
        self._running: dict[int, _PromptRun[P]] = {}
        self._answered: dict[int, _PromptRun[P]] = {}
        """Ended and not yet delivered."""
        self._come = 0
        self._done = 0
        self._failed = 0
        self._no_more = False
        self._error: Exception | None = None
        self._closed = False
        self._pumping = False
        self._upstream = SingleAssignmentDisposable()
        self._given: abc.SchedulerBase | None = None
        self._in_context: Callable[[Callable[[], None]], None] = capture_context()

    def start(self, source: Observable[P], scheduler: abc.SchedulerBase | None) -> PromptPool[P]:
        """Subscribe to the prompts."""
        self._given = scheduler
        self._upstream.disposable = source.subscribe(
            self._prompt, self._prompts_failed, self._prompts_completed, scheduler=scheduler
        )
        return self

    def dispose(self) -> None:
        """Ask nothing more, and end what runs."""
        with self._lock:
            self._closed = True
            streams = [asked.stream for asked in self._running.values()]
        self._upstream.dispose()
        for stream in streams:
            stream.dispose()

    def _prompt(self, prompt: P) -> None:
        with self._lock:
            self._waiting.append(_PromptRun(self._come, prompt))
            self._come += 1
        self._pump()

    def _prompts_completed(self) -> None:
        with self._lock:
            self._no_more = True
        self._pump()

    def _prompts_failed(self, error: Exception) -> None:
        with self._lock:
            self._error = error
        self._pump()

    def _pump(self) -> None:
        with self._lock:
            if self._pumping:  # whoever pumps looks again before leaving
                return
            self._pumping = True
        try:
            while (work := self._next_work()) is not None:
                work()
        except BaseException:
            self.dispose()
            raise

    def _next_work(self) -> Callable[[], None] | None:
        """What is to be done next; None, and the pumping is over, where there is nothing."""
        with self._lock:
            if not self._closed:
                if self._error is not None:
                    self._closed = True
                    return partial(self._observer.on_error, self._error)
                due = self._answered.pop(self._done if self._ordered else next(iter(self._answered), -1), None)
                if due is not None:
                    return partial(self._observer.on_next, self._result(due))
                if self._may_start():
                    asked = self._waiting.popleft()
                    self._running[asked.index] = asked
                    return partial(self._in_context, partial(self._begin, asked))
                if self._no_more and self._done == self._come:
                    self._closed = True
                    return self._observer.on_completed
            self._pumping = False
            return None

    def _may_start(self) -> bool:
        if not self._waiting or len(self._running) >= self._max_concurrent:
            return False
        return not self._ordered or self._waiting[0].index < self._done + _AHEAD * self._max_concurrent

    def _result(self, asked: _PromptRun[P]) -> PromptAnswer[P] | PromptFailure[P]:
        outcome = asked.outcome
        self._done += 1
        self._failed += isinstance(outcome, Exception)
        total = self._come if self._no_more else None
        progress = Progress(self._done, self._failed, len(self._running), len(self._waiting), total)
        if isinstance(outcome, Exception):
            return PromptFailure(asked.index, asked.prompt, outcome, progress)
        return PromptAnswer(asked.index, asked.prompt, outcome, progress)

    def _begin(self, asked: _PromptRun[P]) -> None:
        def on_next(event: TokenEvent) -> None:
            if type(event) is StreamEnd:
                asked.outcome = event.response

        def on_error(error: Exception) -> None:
            asked.outcome = error
            self._ended(asked)

        try:
            stream = self._ask(asked.prompt)
        except Exception as error:
            on_error(error)
        else:
            ended = partial(self._ended, asked)
            asked.stream.disposable = stream.subscribe(on_next, on_error, ended, scheduler=self._given)

    def _ended(self, asked: _PromptRun[P]) -> None:
        with self._lock:
            del self._running[asked.index]
            self._answered[asked.index] = asked
            if self._fails and isinstance(asked.outcome, Exception):
                self._error = asked.outcome
        self._pump()
