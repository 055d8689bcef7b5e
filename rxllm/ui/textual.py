"""Streams in a Textual app: the scheduler and the bindings.

::

    answer = bind_text(self.query_one(Markdown), model.stream(prompt))    # shows the answer as it comes
    bind_enabled(self.query_one(Input), answer.idle)
    self.query_one(StopButton).connect_to(answer)

The bindings are made in the app: in handlers and actions. Each ends, and the connection closes, when it is disposed,
its widget is removed, or the app exits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

import reactivex
from reactivex import Observable, abc

from .._lazy_imports import needed

needed("textual", "rxllm.ui.textual", "rxllm[textual]")  # before the imports below

from textual.app import App
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button, Input, Log, Markdown, Static, TextArea
from textual.worker import Worker

from .._text_without_controls import inert_text
from ._binding import Binding, Settle, StreamBinding, Streamed, as_each, as_events, as_text
from ._binding import bind_enabled as bind_enabled_on
from ._stop_button import StopBinding
from ._textual_chat import ChatView
from ._textual_text import MarkdownText, log_text, static_text, text_area_text
from .asyncio import AsyncIOScheduler

__all__ = ["ChatView", "StopButton", "TextualScheduler", "bind_each", "bind_enabled", "bind_text"]

R = TypeVar("R")
T = TypeVar("T")


class TextualScheduler(AsyncIOScheduler):
    """Runs actions in an app; make it there, use it from any thread. The error of an action ends the app.

    Args:
        app: The running app.
    """

    def __init__(self, app: App[R]) -> None:
        super().__init__()
        self._call_later = app.call_later

    def _report(self, error: Exception) -> None:
        def fail() -> None:
            raise error

        self._call_later(fail)


def bind_text(widget: Markdown | Log | TextArea | Static, stream: Streamed) -> Binding:
    """Append the visible text of a stream to a widget, at most once per frame, and the error that it ends with.

    Control characters are made visible: an answer can send nothing to the terminal.

    Args:
        widget: A Markdown renders the text as it comes. The view follows the end while the end is in view. A
            Static or Label is for short texts: all of it is drawn each time.
        stream: A model's events, or strings. Subscribed to at once, which makes the request.

    Returns:
        The binding; disposing it stops the stream.

    Raises:
        TypeError: The widget is of another class.
    """
    match widget:
        case Markdown():
            markdown = MarkdownText(widget)
            return _bind(widget, as_events(stream), as_text(markdown), markdown.settle)
        case Log():
            view = log_text(widget)
        case TextArea():
            view = text_area_text(widget)
        case Static():
            view = static_text(widget)
        case _:
            raise TypeError(f"bind_text needs a Markdown, Log, TextArea or Static; got {type(widget).__name__}")
    return _bind(widget, as_events(stream), as_text(view), widget.call_after_refresh)


def bind_enabled(widget: Widget, when: Observable[bool]) -> Binding:
    """Enable and disable a widget; it gets the keyboard focus back that it loses when it is disabled.

    Args:
        widget: Any widget.
        when: For example a binding's `running` or `idle`. When it fails, the widget is disabled.

    Returns:
        The binding; it ends with `when` or with the widget.
    """
    lost_focus = False

    def enable(value: bool) -> None:
        """Enable or disable the widget, and give back the focus that it has lost."""
        nonlocal lost_focus
        if not value:
            lost_focus = lost_focus or widget.has_focus
        widget.disabled = not value
        if value and lost_focus:
            lost_focus = False
            if not isinstance(_app_of(widget).focused, Input | TextArea):  # the user types elsewhere
                widget.focus()

    return _until_removed(widget, bind_enabled_on(TextualScheduler(_app_of(widget)), enable, when))


def bind_each(widget: Widget, show: Callable[[T], Any], stream: Observable[T], *, latest: bool = False) -> Binding:
    """Call a function in the app with each item of a stream, until a widget is removed.

    Args:
        widget: The binding ends with it.
        show: Called at most once per frame. A string that goes to the ``update`` of this widget is shown as plain
            text, not as Textual's markup.
        stream: Subscribed to at once. Its error is left to the binding that shows the answer.
        latest: True shows only the newest of the items that wait: for a value that replaces the one before.

    Returns:
        The binding.

    Example:
        ``bind_each(label, label.update, events.pipe(ops.accumulate()), latest=True)``
    """
    if isinstance(widget, Static) and show == widget.update:
        show = partial(_update, widget)
    return _bind(widget, stream, as_each(show), latest=latest)


class StopButton(Button):
    """A button that stops the stream that it is connected to, and is enabled while that runs.

    Args:
        label: The caption.
        id: The widget's id.
    """

    def __init__(self, label: str = "Stop", *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(label, variant="error", id=id, disabled=True)
        self._binding = StopBinding(partial(bind_enabled, self))

    def connect_to(self, stream: Binding) -> None:
        """Connect the button to a stream, in place of the one before.

        Args:
            stream: What a press disposes.
        """
        self._binding.connect(stream)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Stop the stream.

        Args:
            event: Textual's.
        """
        event.stop()
        self._binding.stop()


def _bind(
    widget: Widget,
    source: Observable[T],
    observer: abc.ObserverBase[T],
    settle: Settle = lambda done: done(),
    *,
    latest: bool = False,
) -> Binding:
    """Bind an observer until the widget is removed."""
    if _removed(widget):
        source = reactivex.never()  # no request
    return _until_removed(
        widget, StreamBinding(source, TextualScheduler(_app_of(widget)), observer, settle, latest=latest)
    )


def _until_removed(widget: Widget, binding: Binding) -> Binding:
    """End the binding when its widget is removed: Textual then cancels the widget's workers."""
    if _removed(widget):
        binding.dispose()
    ended = asyncio.Event()
    binding.running.subscribe(on_completed=ended.set)
    worker: Worker[bool] = widget.run_worker(ended.wait, group="rxllm", exit_on_error=False)
    asyncio.ensure_future(worker.wait()).add_done_callback(partial(_dispose, binding))
    return binding


def _dispose(binding: Binding, waited: asyncio.Task[bool]) -> None:
    """Dispose a binding whose worker has ended or was cancelled, perhaps before it began."""
    if not waited.cancelled():
        waited.exception()  # else asyncio reports an error that was not read
    binding.dispose()


def _removed(widget: Widget) -> bool:
    return widget.is_mounted and not widget.is_attached


def _app_of(widget: Widget) -> App[object]:
    return cast(App[object], widget.app)  # pyright: ignore[reportUnknownMemberType] - Textual leaves it open


def _update(widget: Static, item: object) -> None:
    widget.update(Content(inert_text(item)) if isinstance(item, str) else cast(Content, item))
