"""What binds a stream to a widget, whatever the toolkit: the frame, the pace, the end, and who is told.

All that a widget sees comes on the UI thread, at most once a frame; and no faster than the widget can take it:
where showing takes long (a paragraph of a megabyte is laid out anew for each word), what comes meanwhile is gathered,
so that most of the UI thread's time stays free.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Generic, Protocol, TypeAlias, TypeVar, cast

from reactivex import Observable, Observer, abc
from reactivex import operators as rx
from reactivex.disposable import SingleAssignmentDisposable
from reactivex.subject import ReplaySubject, Subject

from ..events import StreamReset, TextDelta, TokenEvent
from ..operators.pacing.pace import observe_on_ui
from ..operators.text.markdown import MarkdownBlock, markdown_blocks
from ._chunk_size import Pieces
from ._pump import PumpScheduler

T = TypeVar("T")

Streamed: TypeAlias = Observable[TokenEvent | str]
"""What can be shown: a model's events, or text that was made of them."""

ERROR_COLOR = "#c0392b"

_FLUENT_SECONDS = 0.005
_SHARE = 3
"""For each second of showing, the seconds of rest."""


class Binding(abc.DisposableBase):
    """A stream that is being shown. Disposing it, from any thread, closes the stream's connection."""

    def __init__(self, scheduler: PumpScheduler) -> None:
        self._scheduler = scheduler
        self._running = ReplaySubject[bool](1)
        self.subscription = SingleAssignmentDisposable()
        self.stopped = False
        """Nothing more is to be shown."""
        self._running.on_next(True)
        scheduler.streams.add(self)

    @property
    def running(self) -> Observable[bool]:
        """True, then False when the stream has ended or was disposed, and complete; on the UI thread."""
        return self._running

    @property
    def idle(self) -> Observable[bool]:
        """The opposite of `running`: for the button that sends."""
        return self.running.pipe(rx.map(_negated))

    def dispose(self) -> None:
        """Stop the stream; what is shown stays."""
        if not self.stopped:
            self.stopped = True
            self.subscription.dispose()
            self._scheduler.schedule(self._tell)

    def end(self) -> None:
        """On the UI thread: the stream has ended by itself."""
        if not self.stopped:
            self.stopped = True
            self._tell()

    def _tell(self, *_: object) -> None:
        self._scheduler.streams.remove(self)
        self._running.on_next(False)
        self._running.on_completed()


def bind(
    source: Observable[T],
    scheduler: PumpScheduler,
    observer: abc.ObserverBase[T],
    settle: Callable[[Callable[[], None]], object] = lambda done: done(),
    *,
    frame: float = 1 / 60,
) -> Binding:
    """Have `observer`, on the UI thread, see what `source` emits.

    `settle` calls what it is given once the toolkit is through with what was shown.
    """
    binding = Binding(scheduler)
    feed = _Feed(binding, scheduler, observer, settle)
    binding.subscription.disposable = source.pipe(observe_on_ui(scheduler, frame=frame)).subscribe(
        feed.on_next, feed.on_error, feed.on_completed
    )
    return binding


def bind_state(when: Observable[bool], scheduler: PumpScheduler, show: Callable[[bool], object]) -> Binding:
    """Have `show`, on the UI thread, see the latest of `when`; False once that has failed. Made on the UI thread.

    What is emitted on the UI thread is shown at once: a button that was clicked cannot be clicked again in between.
    """
    binding = Binding(scheduler)
    state = _State(binding, scheduler, show)
    binding.subscription.disposable = when.subscribe(state.on_next, state.on_error, state.on_completed)
    return binding


class TextView(Protocol):
    """A widget's part in showing text; all on the UI thread."""

    def add(self, text: str, /) -> None:
        """Append."""

    def reset(self) -> None:
        """Take back all that was added."""

    def fail(self, error: Exception, /) -> None:
        """Say what went wrong."""


def as_text(view: TextView) -> abc.ObserverBase[TokenEvent]:
    """The observer that has `view` show the visible text of a stream."""

    def show(event: TokenEvent) -> None:
        if type(event) is TextDelta:
            view.add(event.text)
        elif type(event) is StreamReset:
            view.reset()

    return Observer(show, view.fail)


class MarkdownView(Protocol):
    """A widget's part in showing Markdown; all on the UI thread."""

    def show(self, block: MarkdownBlock, /) -> None:
        """Show the block in place of the one with its index, and of those after that."""

    def fail(self, error: Exception, /) -> None:
        """Say what went wrong."""


def as_markdown(view: MarkdownView) -> abc.ObserverBase[TokenEvent]:
    """The observer that has `view` show the visible text of a stream as Markdown."""
    events: Subject[TokenEvent] = Subject()
    events.pipe(markdown_blocks()).subscribe(view.show, view.fail)
    return events


def as_each(show: Callable[[T], object]) -> abc.ObserverBase[T]:
    """The observer that calls `show` with each item, and leaves errors to others."""

    def on_next(item: T) -> None:
        show(item)

    return Observer(on_next, lambda error: None)


def as_events(stream: Streamed) -> Observable[TokenEvent]:
    """`stream` with its strings, if it has such, as text deltas: those are joined on their way to the UI."""
    return stream.pipe(rx.map(_event_of))


class _State:
    """A state on its way to the UI thread: not its history, only the latest."""

    def __init__(self, binding: Binding, scheduler: PumpScheduler, show: Callable[[bool], object]) -> None:
        self._binding = binding
        self._scheduler = scheduler
        self._show = show
        self._thread = threading.get_ident()
        self._latest = False
        self._over = False

    def on_next(self, value: bool) -> None:
        self._latest = value
        if threading.get_ident() == self._thread:
            self._apply()
        else:
            self._scheduler.schedule(self._apply)

    def on_error(self, error: Exception) -> None:
        self._over = True
        self.on_next(False)

    def on_completed(self) -> None:
        self._over = True
        self.on_next(self._latest)

    def _apply(self, *_: object) -> None:
        if not self._binding.stopped:
            self._show(self._latest)
            if self._over:
                self._binding.end()


def error_line(error: Exception) -> str:
    """What the user reads of an error.

    >>> error_line(ValueError("no such model"))
    '⚠ no such model'
    """
    return f"⚠ {str(error) or type(error).__name__}"


class _Feed(Generic[T]):
    """Between the frames and the widget: shows for a few milliseconds in a row, and then rests three times as long."""

    def __init__(
        self,
        binding: Binding,
        scheduler: PumpScheduler,
        observer: abc.ObserverBase[T],
        settle: Callable[[Callable[[], None]], object],
    ) -> None:
        self._binding = binding
        self._scheduler = scheduler
        self._observer = observer
        self._settle = settle
        self._waiting: deque[T] = deque()
        self._end: Callable[[], None] | None = None
        self._resting = False
        self._began = 0.0
        self._pieces = Pieces(_FLUENT_SECONDS)
        self._shown = 0
        """Characters shown in this turn."""
        self._worked = 0.0
        """The time that this thread had worked when the turn began."""

    def on_next(self, item: T) -> None:
        self._waiting.append(item)
        if not self._resting:
            self._show()

    def on_error(self, error: Exception) -> None:
        self._end_with(partial(self._observer.on_error, error))

    def on_completed(self) -> None:
        self._end_with(self._observer.on_completed)

    def _end_with(self, end: Callable[[], None]) -> None:
        self._end = end
        if not self._resting:
            self._show()

    def _show(self) -> None:
        self._resting = True
        self._shown = 0
        self._began, self._worked = time.monotonic(), time.thread_time()
        try:
            self._show_in_turn()
        except BaseException:
            self._binding.dispose()
            raise
        self._settle(self._settled)

    def _show_in_turn(self) -> None:
        size = self._pieces.size
        while self._waiting and self._shown < size and time.monotonic() - self._began < _FLUENT_SECONDS:
            self._observer.on_next(self._next_piece(size - self._shown))
        if not self._waiting and self._end is not None:
            self._binding.end()
            self._end()

    def _next_piece(self, most: int) -> T:
        """What waits longest; of text so many characters at most, and as many if they are there."""
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

    def _settled(self) -> None:
        took = time.monotonic() - self._began
        self._pieces.learn(self._shown, time.thread_time() - self._worked)
        if took < _FLUENT_SECONDS and not self._has_more():
            self._rested()
        else:
            self._scheduler.schedule_relative(_SHARE * took, self._rested)

    def _rested(self, *_: object) -> None:
        self._resting = False
        if self._has_more() and not self._binding.stopped:
            self._show()

    def _has_more(self) -> bool:
        return bool(self._waiting) or self._end is not None


def _event_of(item: TokenEvent | str) -> TokenEvent:
    return TextDelta(item) if isinstance(item, str) else item


def _negated(value: bool) -> bool:
    return not value
