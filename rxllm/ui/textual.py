"""Streams in a Textual app: the scheduler and the bindings.

::

    answer = bind_text(self.query_one(Markdown), model.stream(prompt))    # shows the answer as it comes
    bind_enabled(self.query_one(Input), answer.idle)
    self.query_one(StopButton).wire(answer)

The bindings are made in the app: in handlers and actions. Each ends, and the connection closes, when it is disposed,
its widget is removed, or the app exits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar, cast
from weakref import WeakKeyDictionary

from reactivex import Observable, abc
from textual.app import App
from textual.widget import Widget
from textual.widgets import Button, Log, Markdown, Static, TextArea

from ._bind import Binding, Streamed, as_each, as_events, as_text, bind, bind_state
from ._stop_binding import Wire
from ._textual_text import LogText, MarkdownText, SettlingView, StaticText, TextAreaText
from .asyncio import AsyncIOScheduler

R = TypeVar("R")
T = TypeVar("T")


class TextualScheduler(AsyncIOScheduler):
    """Runs actions in `app`; make it there, use it from any thread. What an action raises is the app's to report."""

    def __init__(self, app: App[R]) -> None:
        super().__init__()
        self._call_later = app.call_later

    def _report(self, error: Exception) -> None:
        def fail() -> None:
            raise error

        self._call_later(fail)


def bind_text(widget: Markdown | Log | TextArea | Static, stream: Streamed) -> Binding:
    """Append the visible text of `stream` to `widget`, a frame at a time, and the error it ends with.

    A Markdown renders it as it comes; a Static, or Label, is for short texts. The view follows the end only if it was
    at the end.
    """
    view = _view_of(widget)
    return _bind(widget, as_events(stream), as_text(view), view.settle)


def bind_enabled(widget: Widget, when: Observable[bool]) -> Binding:
    """Enable and disable `widget` as `when` says, a binding's `running` or `idle` for example."""

    def enable(value: bool) -> None:
        widget.disabled = not value

    return _until_removed(widget, bind_state(when, _scheduler_of(widget), enable))


def bind_each(widget: Widget, show: Callable[[T], object], stream: Observable[T]) -> Binding:
    """Call `show` in the app with each item of `stream`, a frame at a time, until `widget` is removed.

    ``bind_each(label, label.update, texts)`` for example. An error is left to who shows the answer.
    """
    return _bind(widget, stream, as_each(show))


class StopButton(Button):
    """A button that disposes what it is wired to when it is pressed, and is enabled while that runs."""

    def __init__(self, label: str = "Stop", *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(label, variant="error", id=id, disabled=True)
        self._wire = Wire(partial(bind_enabled, self))

    def wire(self, stream: Binding) -> None:
        """Be the button of `stream`, and no more of the one before."""
        self._wire.lead_to(stream)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Stop what it is wired to."""
        event.stop()
        self._wire.stop()


_schedulers: WeakKeyDictionary[App[object], TextualScheduler] = WeakKeyDictionary()
"""The bindings' schedulers, one for each app."""


def _bind(
    widget: Widget,
    source: Observable[T],
    observer: abc.ObserverBase[T],
    settle: Callable[[Callable[[], None]], object] = lambda done: done(),
) -> Binding:
    return _until_removed(widget, bind(source, _scheduler_of(widget), observer, settle))


def _until_removed(widget: Widget, binding: Binding) -> Binding:
    """Have the binding end with its widget: Textual then cancels its workers."""
    widget.run_worker(_hold(binding), group="rxllm", exit_on_error=False)
    return binding


def _scheduler_of(widget: Widget) -> TextualScheduler:
    app = cast(App[object], widget.app)  # pyright: ignore[reportUnknownMemberType] - Textual leaves it open
    if app not in _schedulers:
        _schedulers[app] = TextualScheduler(app)
    return _schedulers[app]


async def _hold(binding: Binding) -> None:
    """Wait for the binding's end, and see to it."""
    over = asyncio.Event()
    binding.running.subscribe(on_completed=over.set)
    try:
        await over.wait()
    finally:
        binding.dispose()


def _view_of(widget: Markdown | Log | TextArea | Static) -> SettlingView:
    match widget:
        case Markdown():
            return MarkdownText(widget)
        case Log():
            return LogText(widget)
        case TextArea():
            return TextAreaText(widget)
        case _:
            return StaticText(widget)
