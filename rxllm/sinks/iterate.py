"""A stream as a plain generator, for a `for` loop, Streamlit, Gradio, NiceGUI, Panel or Flask.

The first `next` makes the request. Leaving the loop, closing the generator or interrupting it disposes the stream,
which closes the connection. A slow loop slows the stream: at most `buffer` events wait.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import TypeVar, cast

from reactivex import Observable

from ..events import TextDelta, TokenEvent
from ._handoff import Handoff, Nothing

__all__ = ["iter_events", "iter_text"]

T = TypeVar("T")

_LOOK_SECONDS = 1.0
"""Seconds that Ctrl-C may take if the system cannot interrupt a wait (Windows)."""


def iter_events(source: Observable[T], *, buffer: int = 256) -> Generator[T, None, None]:
    """Yield the items of `source`, and raise its error.

    Args:
        source: Any Observable.
        buffer: Items that may wait for the loop; a full buffer blocks the producing thread.

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


def iter_text(source: Observable[TokenEvent] | Observable[str], *, buffer: int = 256) -> Generator[str, None, None]:
    """Yield the pieces of the visible text, and raise the stream's error.

    Args:
        source: A stream of events, or of strings (for example after `rxllm.operators.text`).
        buffer: Items that may wait for the loop; a full buffer blocks the producing thread.

    >>> import reactivex
    >>> "".join(iter_text(reactivex.of(TextDelta("Hel"), TextDelta("lo"))))
    'Hello'
    """
    for event in iter_events(cast("Observable[TokenEvent | str]", source), buffer=buffer):
        text = event if isinstance(event, str) else event.text if type(event) is TextDelta else ""
        if text:
            yield text
