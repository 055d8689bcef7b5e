"""The stop button: which stream it stops, and when it is enabled. Each toolkit has a `StopButton` that uses this."""

from __future__ import annotations

from collections.abc import Callable

from reactivex import Observable
from reactivex.disposable import SerialDisposable

from ._binding import Binding


class StopBinding:
    """What a stop button is connected to: one stream at a time; `bind_enabled` enables the button while that runs."""

    def __init__(self, bind_enabled: Callable[[Observable[bool]], Binding]) -> None:
        self._bind_enabled = bind_enabled
        self._enabled = SerialDisposable()
        self._stream: Binding | None = None

    def connect(self, stream: Binding) -> None:
        """Connect the button to this stream in place of the one before."""
        self._stream = stream
        self._enabled.disposable = self._bind_enabled(stream.running)

    def stop(self, *_: object) -> None:
        """Dispose the stream; called when the button is clicked."""
        if self._stream is not None:
            self._stream.dispose()
