"""One scheduler for all toolkits: actions from any thread run in order on the UI thread, without starving its loop.

Scheduling costs an append and, when the scheduler is at rest, one wake-up of the UI thread; it never waits for that
thread. At most one wake-up is pending at any time. The scheduler runs actions for at most a few milliseconds in a row
and then leaves the loop a short time for painting, input and timers, for as long as there is something to run.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TypeAlias, TypeVar

from reactivex import abc, typing
from reactivex.disposable import CompositeDisposable, SingleAssignmentDisposable
from reactivex.scheduler.periodicscheduler import PeriodicScheduler

from .._runtime.deadlines import Watch, watchdog

S = TypeVar("S")

_Entry: TypeAlias = tuple[float, int, Callable[[], abc.DisposableBase], SingleAssignmentDisposable]
"""When an action is due, its number, what runs it, and what disposes it."""

log = logging.getLogger("rxllm")

_TURN_SECONDS = 0.006
"""How long actions run in a row: under half a frame at 60 Hz."""

_BREATH_SECONDS = 0.002
"""How long the loop then has for itself."""

_COMPACT_AT = 64
"""Timed actions from which on disposed ones are dropped: a debounce leaves one for each item."""


class LoopScheduler(PeriodicScheduler):
    """Run actions on the UI thread of any toolkit: immediate and timed ones, scheduled from any thread.

    It stands on the one function that each toolkit has, "call this on the UI thread soon". When that function raises,
    or after `close`, the loop is gone: what is pending is dropped, `streams` is disposed, and scheduling does nothing.
    An action that raises does not stop the others; its error goes to `sys.excepthook`.

    Args:
        post: Calls the function that it is given once, soon, on the UI thread. Must be thread-safe and must not block.
            ``GLib.idle_add``, ``wx.CallAfter``, ``loop.call_soon_threadsafe`` do as they are; others need a lambda.
        now: The clock of timed actions, in seconds; `time.monotonic` by default.

    Example:
        >>> posted = []
        >>> scheduler = LoopScheduler(posted.append)
        >>> disposable = scheduler.schedule(lambda *_: print("on the UI thread"))
        >>> posted.pop()()      # the toolkit's loop does this
        on the UI thread
    """

    def __init__(
        self, post: Callable[[Callable[..., None]], object], now: Callable[[], float] = time.monotonic
    ) -> None:
        """Create a scheduler at rest."""
        super().__init__()
        self.streams = CompositeDisposable()
        """Disposed when the loop is gone."""
        self._post = post
        self._clock = now
        # Reentrant: a finalizer or a signal handler that schedules may run while this thread holds it.
        self._lock = threading.RLock()
        self._inbox: deque[_Entry] = deque()
        self._timed: list[_Entry] = []
        self._compact_at = _COMPACT_AT
        self._numbers = itertools.count()
        self._awake = False
        self._posted = False
        self._closed = False
        self._timer: Watch | None = None

    @property
    def closed(self) -> bool:
        """True once the loop is gone."""
        return self._closed

    def schedule(self, action: typing.ScheduledAction[S], state: S | None = None) -> abc.DisposableBase:
        """Run an action on the UI thread soon, after the actions that were scheduled before it. Thread-safe.

        Args:
            action: Called with this scheduler and `state`.
            state: Passed to `action`.

        Returns:
            What cancels the action; afterwards it disposes what the action returned.
        """
        return self._put(-math.inf, partial(self.invoke_action, action, state))

    def schedule_relative(
        self, duetime: typing.RelativeTime, action: typing.ScheduledAction[S], state: S | None = None
    ) -> abc.DisposableBase:
        """Run an action on the UI thread after a time. Thread-safe.

        Args:
            duetime: Seconds, or a timedelta.
            action: Called with this scheduler and `state`.
            state: Passed to `action`.

        Returns:
            What cancels the action; afterwards it disposes what the action returned.
        """
        seconds = self.to_seconds(duetime)
        if seconds <= 0:
            return self.schedule(action, state)
        return self._put(self._clock() + seconds, partial(self.invoke_action, action, state))

    def schedule_absolute(
        self, duetime: typing.AbsoluteTime, action: typing.ScheduledAction[S], state: S | None = None
    ) -> abc.DisposableBase:
        """Run an action on the UI thread at a time. Thread-safe.

        Args:
            duetime: A datetime, or seconds since the epoch.
            action: Called with this scheduler and `state`.
            state: Passed to `action`.

        Returns:
            What cancels the action; afterwards it disposes what the action returned.
        """
        return self.schedule_relative(self.to_datetime(duetime) - self.now, action, state)

    def close(self) -> None:
        """Drop what is pending and dispose `streams`: the UI is gone, or about to go. Idempotent."""
        with self._lock:
            self._closed = True
            self._inbox.clear()
            self._timed.clear()
        self.streams.dispose()

    def _arm(self, seconds: float | None) -> None:
        """Schedule `_drain` on the UI thread after `seconds`, instead of the time set before; None: not at all.

        Called on the UI thread. Toolkits with a timer of their own override this.
        """
        if self._timer is not None:
            watchdog.stop(self._timer)
            self._timer = None
        if seconds is not None:
            self._timer = Watch(time.monotonic() + seconds, math.inf, self._wake)
            watchdog.add(self._timer)

    def _report(self, error: Exception) -> None:
        """Report the error of an action, on the UI thread, as the toolkit reports those of its own callbacks."""
        sys.excepthook(type(error), error, error.__traceback__)

    def _wake(self) -> None:
        """Make the UI thread call `_drain` soon."""
        try:
            self._post(self._drain)
        except Exception:
            # A `post` that has never worked may be a mistake; later, the loop has ended.
            log.log(logging.DEBUG if self._posted else logging.WARNING, "the UI loop takes no calls", exc_info=True)
            self.close()
        self._posted = True

    def _put(self, due: float, run: Callable[[], abc.DisposableBase]) -> abc.DisposableBase:
        """Queue an action, and wake the loop unless it is awake; after `close`, dispose it."""
        result = SingleAssignmentDisposable()
        with self._lock:
            if self._closed:
                result.dispose()
                return result
            self._inbox.append((due, next(self._numbers), run, result))
            if not self._awake:
                self._awake = True
                self._wake()
        return result

    def _drain(self, *_: object) -> None:
        """Run what is due, for one turn, on the UI thread."""
        if self._closed:
            return
        # Armed first: an action that runs a loop of its own (a modal dialog) does not stop the others.
        self._arm(_BREATH_SECONDS)
        if not self._run_one_turn() and not self._closed:
            self._rest()

    def _run_one_turn(self) -> bool:
        """Run due actions for one turn; return False when there were none."""
        now, began = self._clock(), time.monotonic()
        inbox, timed = self._inbox, self._timed
        ran = False
        while time.monotonic() < began + _TURN_SECONDS:
            if timed and timed[0][0] <= now:
                _, _, run, result = heapq.heappop(timed)
            elif inbox and inbox[0][0] > now:
                self._set_aside(inbox.popleft())
                continue
            elif inbox:
                _, _, run, result = inbox.popleft()
            else:
                break
            ran = True
            try:
                if not result.is_disposed:
                    result.disposable = run()
            except Exception as error:
                self._report(error)
            now = self._clock()
        return ran

    def _set_aside(self, entry: _Entry) -> None:
        """Keep an entry until it is due; drop disposed ones when there are many."""
        if len(self._timed) >= self._compact_at:
            self._timed[:] = [each for each in self._timed if not each[3].is_disposed]
            heapq.heapify(self._timed)
            self._compact_at = max(_COMPACT_AT, 2 * len(self._timed))
        heapq.heappush(self._timed, entry)

    def _rest(self) -> None:
        with self._lock:
            if self._inbox:
                return
            self._awake = False
        self._arm(max(0.0, self._timed[0][0] - self._clock()) if self._timed else None)
