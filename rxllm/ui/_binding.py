"""A binding connects a stream to a widget: it decides when the widget sees what, on the UI thread.

A widget gets at most one update per frame, and no larger one than it can show in time. If an update takes long (a
label draws all of its text again for each word), the deltas that arrive during it are collected, so that most
of the UI thread's time stays free.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from operator import not_
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, cast

from reactivex import Observable, Observer, abc
from reactivex import operators as rx
from reactivex.disposable import CompositeDisposable, SingleAssignmentDisposable
from reactivex.subject import ReplaySubject

from .._text_without_controls import inert_text
from ..events import StreamReset, TextDelta, TokenEvent
from ..operators.pacing.pace import observe_on_ui
from ._chunk_size import ChunkSize
from ._loop_scheduler import LoopScheduler

T = TypeVar("T")

Streamed: TypeAlias = Observable[TokenEvent | str]
"""What can be shown: a model's events, or text that operators made of them."""

Settle: TypeAlias = Callable[[Callable[..., None]], object]
"""Calls its argument once the toolkit has painted an update."""

UPDATE_SECONDS = 0.004
"""The longest update that is not noticed."""

REST_FACTOR = 3
"""Seconds of rest for each second of updating."""


class Binding(abc.DisposableBase):
    """A stream that is being shown. Disposing it, from any thread, closes the stream's connection."""

    def __init__(self, scheduler: LoopScheduler) -> None:
        """Begin to run: the source is set in `subscription` after that."""
        self._scheduler = scheduler
        self._running = ReplaySubject[bool](1)
        self.subscription = SingleAssignmentDisposable()
        self.stopped = False
        """True once nothing more will be shown."""
        self._groups: list[CompositeDisposable] = []
        self._running.on_next(True)
        self.end_with(scheduler.streams)

    @property
    def running(self) -> Observable[bool]:
        """True, then False when the stream has ended or was disposed, then completion; on the UI thread."""
        return self._running

    @property
    def idle(self) -> Observable[bool]:
        """The opposite of `running`: for the button that sends."""
        return self.running.pipe(rx.map(not_))

    def end_with(self, group: CompositeDisposable) -> None:
        """Make `group` dispose this binding, as long as it runs; called on the UI thread."""
        if not self.stopped:
            self._groups.append(group)
            group.add(self)

    def dispose(self) -> None:
        """Stop the stream; what is shown stays. Thread-safe."""
        if not self.stopped:
            self.stopped = True
            self.subscription.dispose()
            self._scheduler.schedule(self._announce_end)

    def end(self) -> None:
        """Note, on the UI thread, that the stream has ended by itself."""
        if not self.stopped:
            self.stopped = True
            self._announce_end()

    def _announce_end(self, *_: object) -> None:
        for group in self._groups:
            group.remove(self)
        self._running.on_next(False)
        self._running.on_completed()


def bind_each(
    scheduler: LoopScheduler,
    show: Callable[[T], Any],
    stream: Observable[T],
    *,
    on_error: Callable[[Exception], Any] | None = None,
    latest: bool = False,
) -> Binding:
    """Call a function on the UI thread with each item of a stream, at most once per frame.

    Args:
        scheduler: The UI thread's.
        show: Called with each item.
        stream: Subscribed to at once.
        on_error: Called on the UI thread with the error that ends the stream. By default the error is left to the
            binding that shows the answer.
        latest: True shows only the newest of the items that wait: for a value that replaces the one before
            (`ops.accumulate()`, a progress bar), so that a slow widget is never behind.

    Returns:
        The binding. It ends when the stream ends, when it is disposed or when the UI is gone.

    Example:
        ``bind_each(LoopScheduler(GLib.idle_add), label.set_text, stream.pipe(ops.accumulate()), latest=True)``
    """
    return StreamBinding(stream, scheduler, as_each(show, on_error), latest=latest)


def bind_enabled(scheduler: LoopScheduler, set_enabled: Callable[[bool], object], when: Observable[bool]) -> Binding:
    """Call a function on the UI thread with the latest value of an Observable of bool; False once that has failed.

    A value that is emitted on the UI thread is passed on immediately: a button that was clicked cannot be clicked again
    in between. Must be called on the UI thread.

    Args:
        scheduler: The UI thread's.
        set_enabled: Enables or disables a widget.
        when: For example a binding's `running` or `idle`.

    Returns:
        The binding. It ends when the Observable ends, when it is disposed or when the UI is gone.
    """
    binding = Binding(scheduler)
    thread = threading.get_ident()
    latest = ended = False

    def apply(*_: object) -> None:
        if not binding.stopped:
            set_enabled(latest)
            if ended:
                binding.end()

    def change(value: bool, *, end: bool = False) -> None:
        nonlocal latest, ended
        latest, ended = value, end
        if threading.get_ident() == thread:
            apply()
        else:
            scheduler.schedule(apply)

    binding.subscription.disposable = when.subscribe(
        change, lambda _: change(False, end=True), lambda: change(latest, end=True)
    )
    return binding


class TextView(Protocol):
    """A widget's part in showing text; called on the UI thread only."""

    def add(self, text: str, /) -> None:
        """Append text."""

    def reset(self) -> None:
        """Remove all that was added."""

    def fail(self, error: Exception, /) -> None:
        """Show an error below the text."""


def as_text(view: TextView, finish: Callable[[], None] | None = None) -> abc.ObserverBase[TokenEvent]:
    """Return the observer that has `view` show the visible text of a stream, made inert; `finish` follows its end."""

    def show(event: TokenEvent) -> None:
        if type(event) is TextDelta:
            view.add(inert_text(event.text))
        elif type(event) is StreamReset:
            view.reset()

    return Observer(show, view.fail, finish)


def as_each(show: Callable[[T], Any], on_error: Callable[[Exception], Any] | None = None) -> abc.ObserverBase[T]:
    """Return the observer that calls `show` with each item."""
    return Observer(show, on_error or (lambda _: None))


def as_events(stream: Streamed) -> Observable[TokenEvent]:
    """Return `stream` with its strings as text deltas: those are joined on their way to the UI."""
    return stream.pipe(rx.map(lambda item: TextDelta(item) if isinstance(item, str) else item))


def error_line(error: Exception) -> str:
    """Return what the user reads of an error.

    >>> error_line(ValueError("no such model"))
    '⚠ no such model'
    """
    return f"⚠ {inert_text(str(error)) or type(error).__name__}"


class StreamBinding(Binding, Generic[T]):
    """Delivers the items of a stream to an observer: an update of some milliseconds per frame, then a longer rest."""

    def __init__(
        self,
        source: Observable[T],
        scheduler: LoopScheduler,
        observer: abc.ObserverBase[T],
        settle: Settle = lambda done: done(),
        *,
        frame: float = 1 / 60,
        latest: bool = False,
    ) -> None:
        """Subscribe to the source.

        `settle` calls its argument once the toolkit has painted the update, and before the first one when the widget
        can show any. With `latest`, of the items that wait only the last is shown. `frame` is in seconds.
        """
        super().__init__(scheduler)
        self._observer = observer
        self._settle = settle
        self._frame = frame
        self._latest = latest
        self._waiting: deque[T] = deque()
        self._end: Callable[[], None] | None = None
        """Delivers the end of the stream; called once nothing waits."""
        self._resting = True
        """Items only wait: during an update, until the toolkit has painted it, in the rest after it, and at first until
        the widget can show any."""
        self._began_at = 0.0
        """`time.monotonic()` when the update began: the rest depends on how long it blocked the UI thread."""
        self._chunk = ChunkSize(UPDATE_SECONDS)
        self._shown = 0
        """Characters shown in this update."""
        self._cpu_began_at = 0.0
        """`time.thread_time()` when the update began: the next chunk's size depends on the CPU time that it took."""
        settle(self._rested)
        self.subscription.disposable = source.pipe(observe_on_ui(scheduler, frame=frame)).subscribe(
            self._take,
            lambda error: self._end_with(partial(observer.on_error, error)),
            lambda: self._end_with(observer.on_completed),
        )

    def _take(self, item: T) -> None:
        if self._latest:
            self._waiting.clear()
        self._waiting.append(item)
        if not self._resting:
            self._update()

    def _end_with(self, end: Callable[[], None]) -> None:
        self._end = end
        if not self._resting:
            self._update()

    def _update(self) -> None:
        """Show what waits, as one UI frame; dispose the binding if the widget raises."""
        self._resting = True
        self._shown = 0
        self._began_at, self._cpu_began_at = time.monotonic(), time.thread_time()
        try:
            self._show_waiting()
        except BaseException:
            self.dispose()
            raise
        self._settle(self._settled)

    def _show_waiting(self) -> None:
        """Show waiting items until the chunk is full or the time is used up; then the end, if all are shown."""
        size = self._chunk.size
        while self._waiting and self._shown < size and time.monotonic() - self._began_at < UPDATE_SECONDS:
            self._observer.on_next(self._next_chunk(size - self._shown))
            if self.stopped:  # the widget's own code has disposed it
                return
        if not self._waiting and self._end is not None:
            self.end()
            self._end()

    def _next_chunk(self, most: int) -> T:
        """Take the item that waits longest; text deltas are joined to `most` characters, or cut there."""
        item = self._waiting.popleft()
        if not isinstance(item, TextDelta):
            return item
        texts, length = [item.text], len(item.text)
        while length < most and self._waiting and isinstance(more := self._waiting[0], TextDelta):
            texts.append(more.text)
            length += len(more.text)
            self._waiting.popleft()
        text = "".join(texts)
        if length > most:
            self._waiting.appendleft(cast(T, TextDelta(text[most:])))
        self._shown += min(length, most)
        return cast(T, TextDelta(text[:most]))

    def _settled(self, *_: object) -> None:
        took = time.monotonic() - self._began_at
        self._chunk.learn(self._shown, time.thread_time() - self._cpu_began_at)
        if took < UPDATE_SECONDS and not self._has_more():
            self._rested()
        else:
            self._scheduler.schedule_relative(max(REST_FACTOR * took, self._frame - took), self._rested)

    def _rested(self, *_: object) -> None:
        self._resting = False
        if self._has_more() and not self.stopped:
            self._update()

    def _has_more(self) -> bool:
        return bool(self._waiting) or self._end is not None
