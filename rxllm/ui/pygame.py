"""Streams in a pygame (or pygame-ce) program: the scheduler, a pane of text, and the bindings.

::

    pane = TextPane(pygame.font.Font(None, 24), width=600, height=400)
    answer = bind_text(pane, model.stream(prompt))
    while running:
        for event in pygame.event.get(): ...                # answer.dispose() where the user wants it to stop
        update()                                            # brings the text
        pane.draw(screen, (20, 20))
        pygame.display.flip()

pygame has no loop of its own: what has come is delivered in `update`, which the program calls each time round. A loop
that sleeps in `pygame.event.wait()` is woken by an event when there is something to deliver. Everything but the
scheduler's scheduling belongs to the thread of that loop. When pygame quits, all streams are disposed.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

from reactivex import Observable

from ..errors import ConfigurationError
from ._bind import Binding, Streamed, as_each, as_events, as_text, bind
from ._pump import PumpScheduler
from ._pygame_text import GrowingPane, TextPane

__all__ = ["PygameScheduler", "TextPane", "bind_each", "bind_text", "update"]

T = TypeVar("T")


class PygameScheduler(PumpScheduler):
    """Runs actions in `update`; make it after `pygame.init()`, use it from any thread.

    There is one until pygame quits: each call gives the same. Then its streams are disposed, and scheduling does
    nothing. Raises `ConfigurationError` where pygame has no display. What an action raises goes to `sys.excepthook`.
    """

    _current: PygameScheduler | None = None

    def __new__(cls) -> PygameScheduler:
        """The scheduler of this run of pygame."""
        if cls._current is None or cls._current._closed:
            made = super().__new__(cls)
            made._set_up()
            cls._current = made
        return cls._current

    def __init__(self) -> None:
        """Everything is done in `__new__`: there is one scheduler."""

    def _set_up(self) -> None:
        self._pygame = game = _pygame()
        if not game.display.get_init():
            raise ConfigurationError("PygameScheduler needs a display; call pygame.init() first")
        super().__init__()
        self._event = game.event.Event(game.event.custom_type())
        self._rung = False
        self._due = math.inf
        game.register_quit(self._close)

    def update(self) -> None:
        """On the thread of the program's loop, each time round: run what is due, for a few milliseconds at most."""
        if self._rung or time.monotonic() >= self._due:
            self._rung = False
            self._drain()

    def _wake(self) -> None:
        self._rung = True
        try:
            self._pygame.event.post(self._event)
        except self._pygame.error:  # the queue is full, so nobody sleeps; or pygame has quit, which was heard of
            return

    def _arm(self, seconds: float | None) -> None:
        self._due = math.inf if seconds is None else time.monotonic() + seconds
        # For a loop that waits. One more, as SDL counts whole milliseconds, and `update` must not come too early.
        milliseconds = 0 if seconds is None else min(math.ceil(seconds * 1000) + 1, 0x7FFFFFFF)
        self._pygame.time.set_timer(self._event, milliseconds, 1)

    def _report(self, error: Exception) -> None:
        sys.excepthook(type(error), error, error.__traceback__)


def update() -> None:
    """Deliver what has come; to be called each time round the program's loop."""
    PygameScheduler().update()


def bind_text(pane: TextPane, stream: Streamed) -> Binding:
    """Append the visible text of `stream` to `pane`, a frame at a time, and the error it ends with."""
    return bind(as_events(stream), PygameScheduler(), as_text(GrowingPane(pane)))


def bind_each(show: Callable[[T], object], stream: Observable[T]) -> Binding:
    """Call `show` in `update` with each item of `stream`, at most once a frame; an error is left to others."""
    return bind(stream, PygameScheduler(), as_each(show))


def _pygame() -> Any:
    try:
        return import_module("pygame")
    except ImportError as error:
        raise ConfigurationError("pygame is missing; pip install pygame-ce (or pygame)") from error
