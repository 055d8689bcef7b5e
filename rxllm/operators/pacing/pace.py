"""The pace of a stream, and where it is delivered. These change when events come, never what they say.

Whatever came before an error is delivered before the error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

from reactivex import Observable, abc

from .._operator import Operator
from .buffering import Batches, TimedBatches
from .overflow import OVERFLOWS, Overflow, hop_with
from .ui_frames import EvenFrames, Frames

T = TypeVar("T")


def bounded(scheduler: abc.SchedulerBase, size: int = 64, *, overflow: Overflow = "block") -> Operator[T, T]:
    """Deliver on `scheduler`, with at most `size` events waiting there.

    When so many wait, `overflow` says what gives way:

    - "block": the producer, until there is room, and with it the socket;
    - "coalesce": the newest event takes in the deltas that follow it: nothing is lost;
    - "drop_oldest": the oldest piece of text or reasoning, or item that is no token event;
    - "error": the stream, which ends with a `StreamError` after what waits.

    Tool calls, usage, vendor events, resets and ends are never dropped nor merged, but for the
    pieces of one tool call's arguments, which "coalesce" joins; where only such events wait, more
    than `size` do. A producer on the scheduler's own thread cannot wait for itself: it delivers
    what waits and goes on. Until the scheduler has run for the first time, its thread is not
    known, and "block" coalesces. The scheduler must have a thread to spare for as long as the
    producer waits; disposing lets the producer go.

    ::

        --a-b-c-d-e-f--|
        [ bounded(ui, 2) ]   on a slow ui
        --a----b----c----d----e----f|
    """
    if size < 1:
        raise ValueError(f"bounded() holds at least 1 event; got size={size!r}")
    if overflow not in OVERFLOWS:
        raise ValueError(f"overflow is one of {', '.join(map(repr, OVERFLOWS))}; got {overflow!r}")
    return _subscribing(
        lambda observer, source, given: hop_with(overflow, observer, scheduler, size).start(source, given)
    )


def observe_on_ui(scheduler: abc.SchedulerBase, *, frame: float = 1 / 60) -> Operator[T, T]:
    """Deliver on `scheduler`, a user interface's, at most once a `frame` (seconds).

    Each delivery brings all that has come since the last, in order, with neighbouring deltas of
    one kind joined into one; nothing else is merged, nothing is dropped. The first event comes at
    once, and so do completion and errors, with what is before them. The producer never waits: it
    pays for an append, and for one wake-up of the scheduler a frame. What waits for a user
    interface that hangs is joined too, so memory holds little but the text.

    Put it before `text()`: deltas are joined, plain strings are not. Any reactivex scheduler will
    do whose `schedule` and `schedule_relative` may be called from any thread (see `rxllm.ui`).

    ::

        --a-b-c-----d-e-|
        [ observe_on_ui(ui, frame=4) ]
        --a---bc----d---e|
    """
    if not frame > 0:
        raise ValueError(f"a frame takes more than 0 seconds; got frame={frame!r}")
    return _subscribing(lambda observer, source, given: Frames(observer, scheduler, frame).start(source, given))


def buffer(
    count: int | None = None,
    *,
    seconds: float | None = None,
    chars: int | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Operator[T, list[T]]:
    """Gather items into lists: of `count` items, of `chars` characters or more, or of what comes in `seconds`.

    Whichever limit is reached first closes the list; at least one is to be given. `seconds` runs
    from the first item of a list, on `scheduler` (else the subscriber's, else a thread of its
    own). An empty list is never emitted. Characters are those of text, of reasoning and of tool
    calls' arguments. An end, good or bad, is preceded by what has gathered.

    ::

        --a-b-c-d-e--|
        [ buffer(2) ]
        ----ab--cd---(e)|
    """
    limits = {"count": count, "seconds": seconds, "chars": chars}
    if all(limit is None for limit in limits.values()):
        raise ValueError("buffer() needs count=, seconds= or chars=")
    for name, limit in limits.items():
        if limit is not None and not limit > 0:
            raise ValueError(f"buffer({name}=...) takes a number above 0; got {limit!r}")
    most, longest = count or math.inf, chars or math.inf

    def start(
        observer: abc.ObserverBase[list[T]], source: Observable[T], given: abc.SchedulerBase | None
    ) -> abc.DisposableBase:
        if seconds is None:
            return Batches(observer, most, longest).start(source, given)
        return TimedBatches(observer, most, longest, seconds, scheduler or given).start(source, given)

    return _subscribing(start)


def smooth(
    chars_per_second: float | None = None,
    *,
    frame: float = 1 / 30,
    catch_up: float = 0.5,
    scheduler: abc.SchedulerBase | None = None,
) -> Operator[T, T]:
    """Even out bursts: text and reasoning come a little each `frame` (seconds), cut anew.

    The pace is `chars_per_second`, but no less than would show all that waits within `catch_up`
    seconds; without `chars_per_second` only the latter. Other events keep their place in the
    order and take no time. The end flushes: nobody waits for text that is there.

    Works on token events and on strings. Delivers on `scheduler` (else the subscriber's, else a thread of its
    own). A character of several code points may be cut: follow it with
    `grapheme_safe()` where that matters.

    ::

        --abcdef------g-|
        [ smooth(...) ]
        --ab-cd-ef----g-|
    """
    for name, value in {"chars_per_second": chars_per_second, "frame": frame, "catch_up": catch_up}.items():
        if value is not None and not value > 0:
            raise ValueError(f"smooth({name}=...) takes a number above 0; got {value!r}")
    return _subscribing(
        lambda observer, source, given: EvenFrames(
            observer, scheduler or given, frame, chars_per_second or 0.0, catch_up
        ).start(source, given)
    )


A = TypeVar("A")
B = TypeVar("B")


def _subscribing(
    start: Callable[[abc.ObserverBase[B], Observable[A], abc.SchedulerBase | None], abc.DisposableBase],
) -> Operator[A, B]:
    """The operator whose subscriptions `start` begins, with the scheduler given to subscribe()."""

    def operator(source: Observable[A]) -> Observable[B]:
        def subscribe(observer: abc.ObserverBase[B], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            return start(observer, source, scheduler)

        return Observable(subscribe)

    return operator
