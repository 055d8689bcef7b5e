"""A stream as a plain generator: what a `for` loop, Streamlit, Gradio, NiceGUI, Panel or Flask take as they are.

The request is made when the first item is asked for. Leaving the loop, closing the generator or interrupting it
disposes the stream, which closes the connection. A loop that is slow slows the stream: at most `buffer` events wait.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import TypeVar

from reactivex import Observable

from ..events import TextDelta, TokenEvent
from ._handoff import Handoff, Nothing

T = TypeVar("T")

_LOOK_SECONDS = 1.0
"""How long Ctrl-C may go unseen where the system cannot interrupt a wait (Windows)."""


def iter_events(source: Observable[T], *, buffer: int = 256) -> Generator[T, None, None]:
    """Yield what `source` emits, and raise its error.

    >>> import reactivex
    >>> list(iter_events(reactivex.of(1, 2, 3)))
    [1, 2, 3]
    """
    ready = threading.Event()

    def wake() -> bool:
        ready.set()
        return True

    handoff: Handoff[T] = Handoff(buffer, wake)
    try:
        handoff.start(source)
        while True:
            item = handoff.take()
            if item is Nothing.MORE:
                return
            if item is not Nothing.YET:
                yield item
                continue
            ready.clear()
            if handoff.sleep():
                while not ready.wait(_LOOK_SECONDS):
                    pass
    finally:
        handoff.close()


def iter_text(source: Observable[TokenEvent], *, buffer: int = 256) -> Generator[str, None, None]:
    """Yield the pieces of the visible text, and raise the stream's error.

    >>> import reactivex
    >>> "".join(iter_text(reactivex.of(TextDelta("Hel"), TextDelta("lo"))))
    'Hello'
    """
    events = iter_events(source, buffer=buffer)
    try:
        for event in events:
            if type(event) is TextDelta and event.text:
                yield event.text
    finally:
        events.close()
