"""The pace of a stream, and the scheduler on which it is delivered.

These operators change when events come, not what they say. Events that came before an error are delivered before it.
"""

from __future__ import annotations

import math
from typing import TypeVar

from reactivex import abc

from ..._core.scheduling import timer_scheduler
from ...errors import ConfigurationError
from .._operator import Operator, check_number, subscribing
from .bounded_queues import QUEUES, Overflow
from .list_buffer import ListBuffer
from .ui_frames import SmoothFrames, UiFrames

T = TypeVar("T")


def bounded(scheduler: abc.SchedulerBase, size: int = 64, *, overflow: Overflow = "block") -> Operator[T, T]:
    """Deliver on `scheduler`, with at most `size` events waiting there.

    Tool calls, usage, vendor events, resets and the end are never dropped. "coalesce" merges no events but the deltas
    of text, of reasoning, and of one tool call's arguments. If only events wait that may be neither dropped nor
    merged, more than `size` of them wait.

    A producer that runs on the scheduler's own thread cannot wait for itself: it delivers the waiting events and
    continues. Until the scheduler has run for the first time, its thread is not known, and "block" coalesces.

    Args:
        scheduler: Runs on_next, on_error and on_completed. "block" needs a scheduler whose thread is free while the
            producer waits.
        size: Events that may wait, 1 or more.
        overflow: What happens when `size` events wait. "block": the producer blocks until there is room, and with it
            the socket; disposing unblocks it. "coalesce": deltas are merged into the newest event, nothing is lost.
            "drop_oldest": the oldest text or reasoning delta, or the oldest item that is not a token event, is dropped.

    Raises:
        ConfigurationError: `size` is below 1, or `overflow` is none of the three.

    ::

        --a-b-c-d-e-f--|
        [ bounded(ui, 2) ]   on a slow ui
        --a----b----c----d----e----f|
    """
    check_number("bounded(size=...)", size, 1)
    queue = QUEUES[overflow]
    return subscribing(lambda observer, source, given: queue(observer, scheduler, size).start(source, given))


def observe_on_ui(scheduler: abc.SchedulerBase, *, frame: float = 1 / 60) -> Operator[T, T]:
    """Deliver on the scheduler of a user interface, at most once per frame.

    Each delivery brings everything since the last one, in order, with adjacent deltas of one kind merged; nothing
    else is merged and nothing is dropped. The first event, completion and errors are delivered at once, after the
    events before them. The producer never waits: per event it pays for an append, and per frame for one wake-up.
    Events that wait for a frozen user interface are merged too, so memory holds little more than the text.

    Put it before `text()`: deltas are merged, strings are not.

    Args:
        scheduler: Any reactivex scheduler whose `schedule` and `schedule_relative` are thread-safe (see `rxllm.ui`).
        frame: Seconds between two deliveries, above 0.

    Raises:
        ConfigurationError: `frame` is not above 0.

    ::

        --a-b-c-----d-e-|
        [ observe_on_ui(ui, frame=4) ]
        --a---bc----d---e|
    """
    check_number("observe_on_ui(frame=...)", frame)
    return subscribing(lambda observer, source, given: UiFrames(observer, scheduler, frame).start(source, given))


def buffer(
    count: int | None = None,
    *,
    seconds: float | None = None,
    chars: int | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Operator[T, list[T]]:
    """Collect items into lists. The limit that is reached first closes a list.

    An empty list is never emitted. When the stream completes or fails, the open list is emitted before.

    Args:
        count: Items in a list.
        seconds: Seconds from a list's first item to its emission. The system clock may be set meanwhile.
        chars: Characters of text, reasoning and tool call arguments that close a list. A list may hold more, as items
            are not cut.
        scheduler: Runs the timer of `seconds`; default: the scheduler given to subscribe(), else a thread for all
            delays.

    Raises:
        ConfigurationError: No limit is given, or one is not above 0.

    ::

        --a-b-c-d-e--|
        [ buffer(2) ]
        ----ab--cd---(e)|
    """
    limits = {"count": count, "seconds": seconds, "chars": chars}
    if all(limit is None for limit in limits.values()):
        raise ConfigurationError("buffer() needs count=, seconds= or chars=")
    for name, limit in limits.items():
        check_number(f"buffer({name}=...)", limit)
    max_count, max_chars = count or math.inf, chars or math.inf

    return subscribing(
        lambda observer, source, given: ListBuffer(
            observer, max_count, max_chars, seconds, timer_scheduler(scheduler, given)
        ).start(source, given)
    )


def smooth(
    chars_per_second: float | None = None,
    *,
    frame: float = 1 / 30,
    catch_up: float = 0.5,
    scheduler: abc.SchedulerBase | None = None,
) -> Operator[T, T]:
    """Deliver a few characters of text and reasoning per frame, in new deltas: bursts are evened out.

    Other events keep their place in the order and take no time. When the answer ends, everything that waits is
    delivered at once. Takes token events or strings. A character of several code points may be cut: put
    `grapheme_safe()` after it if that matters.

    Args:
        chars_per_second: The pace; None: only `catch_up` determines it.
        frame: Seconds between two deliveries.
        catch_up: Seconds within which all waiting characters are delivered, if `chars_per_second` is slower.
        scheduler: Runs on_next; default: the scheduler given to subscribe(), else the threads of all delays.

    Raises:
        ConfigurationError: A number is not above 0.

    ::

        --abcdef------g-|
        [ smooth(...) ]
        --ab-cd-ef----g-|
    """
    for name, value in {"chars_per_second": chars_per_second, "frame": frame, "catch_up": catch_up}.items():
        check_number(f"smooth({name}=...)", value)
    return subscribing(
        lambda observer, source, given: SmoothFrames(
            observer, timer_scheduler(scheduler, given), frame, chars_per_second or 0.0, catch_up
        ).start(source, given)
    )
