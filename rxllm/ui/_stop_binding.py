"""The wire between a stop button, of whatever toolkit, and the stream that it stops."""

from __future__ import annotations

from collections.abc import Callable

from reactivex import Observable
from reactivex.disposable import SerialDisposable

from ._bind import Binding


class Wire:
    """Leads to one stream at a time; `bind_enabled` has the button be enabled while that runs."""

    def __init__(self, bind_enabled: Callable[[Observable[bool]], Binding]) -> None:
        self._bind_enabled = bind_enabled
        self._enabled = SerialDisposable()
        self._stream: Binding | None = None

    def lead_to(self, stream: Binding) -> None:
        """Lead to this stream, and no more to the one before."""
        self._stream = stream
        self._enabled.disposable = self._bind_enabled(stream.running)

    def stop(self, *_: object) -> None:
        """The button was clicked: dispose the stream."""
        if self._stream is not None:
            self._stream.dispose()
