"""One pump for all toolkits: actions from any thread, run in order on the UI thread, without starving it.

Whoever schedules pays for an append and, when the pump is at rest, for one wake-up of the UI thread; nobody waits
for it. At most one wake-up is pending at any time. The pump runs for at most a few milliseconds in a row and then
leaves the loop a breath for painting, input and timers, for as long as there is something to run.

A toolkit gives two things: `_wake` (from any thread: call `_drain` soon) and `_arm` (on the UI thread: call `_drain`
after so many seconds, in place of what was armed before).
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from abc import abstractmethod
from collections import deque
from typing import Any, Generic, TypeVar

from reactivex import abc, typing
from reactivex.disposable import CompositeDisposable
from reactivex.scheduler.periodicscheduler import PeriodicScheduler

S = TypeVar("S")

_TURN_SECONDS = 0.006
"""How long the pump runs in a row: under half a frame at 60 Hz."""

_BREATH_SECONDS = 0.002
"""How long it then leaves the loop to itself."""

_COMPACT_AT = 64


class PumpScheduler(PeriodicScheduler):
    """A scheduler whose actions run on a UI thread; immediate and timed, from any thread.

    When the UI is gone, what is pending is dropped, `streams` is disposed, and scheduling does nothing.
    An action that raises does not stop the others; the toolkit reports it as it reports its own callbacks' errors.
    """

    def __init__(self) -> None:
        super().__init__()
        self.streams = CompositeDisposable()
        """What is disposed when the UI is gone."""
        # Reentrant: a finalizer or a signal handler that schedules may run while this thread holds it.
        self._lock = threading.RLock()
        self._inbox: deque[_Action[Any]] = deque()
        self._timed: list[tuple[float, int, _Action[Any]]] = []
        self._compact_at = _COMPACT_AT
        self._numbers = itertools.count()
        self._awake = False
        self._closed = False

    def schedule(self, action: typing.ScheduledAction[S], state: S | None = None) -> abc.DisposableBase:
        """Run `action` on the UI thread soon, after what was scheduled before it."""
        return self._put(_Action(self, action, state, -math.inf))

    def schedule_relative(
        self, duetime: typing.RelativeTime, action: typing.ScheduledAction[S], state: S | None = None
    ) -> abc.DisposableBase:
        """Run `action` on the UI thread after `duetime` (seconds or a timedelta)."""
        seconds = self.to_seconds(duetime)
        if seconds <= 0:
            return self.schedule(action, state)
        return self._put(_Action(self, action, state, time.monotonic() + seconds))

    def schedule_absolute(
        self, duetime: typing.AbsoluteTime, action: typing.ScheduledAction[S], state: S | None = None
    ) -> abc.DisposableBase:
        """Run `action` on the UI thread at `duetime` (a datetime, or seconds since the epoch)."""
        return self.schedule_relative(self.to_datetime(duetime) - self.now, action, state)

    @abstractmethod
    def _wake(self) -> None:
        """Have the UI thread call `_drain` soon. From any thread, with the lock held; must not block or raise."""

    @abstractmethod
    def _arm(self, seconds: float | None) -> None:
        """Have the UI thread call `_drain` once after `seconds`, and not when it was to before; None: not at all."""

    def _report(self, error: Exception) -> None:
        """On the UI thread: an action raised `error`."""
        raise error

    def _close(self) -> None:
        """On the UI thread: the UI is gone, or about to go. Idempotent."""
        with self._lock:
            self._closed = True
            self._inbox.clear()
            self._timed.clear()
        self.streams.dispose()

    def _put(self, action: _Action[Any]) -> abc.DisposableBase:
        with self._lock:
            if self._closed:
                action.dispose()
                return action
            self._inbox.append(action)
            if not self._awake:
                self._awake = True
                self._wake()
        return action

    def _drain(self) -> None:
        """On the UI thread: run what is due, for one turn."""
        if self._closed:
            return
        # Armed first: an action that runs a loop of its own (a modal dialog) does not stop the pump.
        self._arm(_BREATH_SECONDS)
        if not self._run_one_turn() and not self._closed:
            self._rest()

    def _run_one_turn(self) -> bool:
        """Run due actions for one turn; False when there were none."""
        now = time.monotonic()
        until = now + _TURN_SECONDS
        inbox, timed = self._inbox, self._timed
        ran = False
        while now < until:
            if timed and timed[0][0] <= now:
                action = heapq.heappop(timed)[2]
            elif inbox:
                action = inbox.popleft()
                if action.due > now:
                    self._set_aside(action)
                    continue
            else:
                break
            ran = True
            try:
                action.run()
            except Exception as error:
                self._report(error)
            now = time.monotonic()
        return ran

    def _set_aside(self, action: _Action[Any]) -> None:
        if len(self._timed) >= self._compact_at:
            self._timed[:] = [entry for entry in self._timed if not entry[2].disposed]
            heapq.heapify(self._timed)
            self._compact_at = max(_COMPACT_AT, 2 * len(self._timed))
        heapq.heappush(self._timed, (action.due, next(self._numbers), action))

    def _rest(self) -> None:
        with self._lock:
            if self._inbox:
                return
            self._awake = False
        self._arm(max(0.0, self._timed[0][0] - time.monotonic()) if self._timed else None)


class _Action(abc.DisposableBase, Generic[S]):
    """One scheduled action; disposing it before its turn drops it, later it disposes what it returned."""

    __slots__ = ("_action", "_inner", "_scheduler", "_state", "due")

    def __init__(
        self, scheduler: PumpScheduler, action: typing.ScheduledAction[S], state: S | None, due: float
    ) -> None:
        self._scheduler = scheduler
        self._action: typing.ScheduledAction[S] | None = action
        self._state = state
        self._inner: abc.DisposableBase | None = None
        self.due = due

    @property
    def disposed(self) -> bool:
        return self._action is None

    def run(self) -> None:
        action = self._action
        if action is None:
            return
        inner = action(self._scheduler, self._state)
        if isinstance(inner, abc.DisposableBase):
            self._inner = inner
            if self.disposed:
                inner.dispose()

    def dispose(self) -> None:
        self._action = self._state = None
        if self._inner is not None:
            self._inner.dispose()
