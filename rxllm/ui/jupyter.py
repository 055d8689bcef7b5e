"""A stream in a notebook: Markdown that is written in place while the cell runs.

::

    answer = live(model.stream("Explain AI"))
    display(answer)        # or `answer` on the cell's last line
    answer.response.usage

Displaying asks the model and blocks, as any cell does; interrupting the kernel stops the stream, closes its connection
and keeps what has been shown. Streams that should go on while other cells run are named: `rxllm.shared_stream`.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from itertools import count

from IPython.display import display  # pyright: ignore[reportUnknownVariableType] - IPython is not typed
from reactivex import Observer

from ..events import Response, StreamEnd, StreamReset, TextDelta, TokenEvent
from ._binding import Binding, Streamed, as_events, bind, error_line
from ._loop_scheduler import LoopScheduler

_FRAME_SECONDS = 1 / 15
_CHARACTERS_PER_SECOND = 1_000_000
"""Each update carries the whole text; a long one comes less often."""

_LOOK_SECONDS = 1.0
"""How long an interrupt may go unseen where the system cannot interrupt a wait (Windows)."""

_ids = count(1)


class Live:
    """A stream to display, once; displayed again, it shows what has come of it.

    `text` is what has come so far, `response` the whole answer once it is complete (of token events), `error` what the
    stream ended with, if it failed.
    """

    def __init__(self, stream: Streamed) -> None:
        self.response: Response | None = None
        self.error: Exception | None = None
        self._stream = stream
        self._asked = False
        self._stopped = False
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        """The visible text so far."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    def __repr__(self) -> str:
        return self.text

    def _ipython_display_(self) -> None:
        """Display, and stream until the end if that has not been done."""
        shown = _Shown()
        shown.show(self._markdown())
        if self._asked:
            return
        self._asked = True
        loop = CellScheduler()

        def settle(done: Callable[[], None]) -> None:
            def rested(*_: object) -> None:
                done()

            shown.show(self._markdown())
            loop.schedule_relative(len(self.text) / _CHARACTERS_PER_SECOND, rested)

        observer = Observer(self._take, self._fail)
        binding = bind(as_events(self._stream), loop, observer, settle, frame=_FRAME_SECONDS)
        try:
            loop.run_until_ended(binding)
        except KeyboardInterrupt:
            binding.dispose()
            self._stopped = True
            shown.show(self._markdown())
            raise

    def _take(self, event: TokenEvent) -> None:
        if type(event) is TextDelta:
            self._pieces.append(event.text)
        elif type(event) is StreamReset:
            self._pieces.clear()
        elif type(event) is StreamEnd:
            self.response = event.response

    def _fail(self, error: Exception) -> None:
        self.error = error

    def _markdown(self) -> str:
        if self.error is not None:
            return f"{self.text}\n\n> {error_line(self.error)}"
        return f"{self.text}\n\n> ■ stopped" if self._stopped else self.text


def live(stream: Streamed) -> Live:
    """What to `display`: a model's events, or text that was made of them."""
    return Live(stream)


class CellScheduler(LoopScheduler):
    """Runs actions on the thread that runs a cell, in `run_until_ended`."""

    def __init__(self) -> None:
        self._woken = threading.Event()
        self._due = math.inf
        super().__init__(lambda _: self._woken.set())

    def run_until_ended(self, binding: Binding) -> None:
        """Run what is scheduled until the binding has ended.

        Args:
            binding: Made on this scheduler.
        """
        while not binding.stopped:
            self._woken.wait(min(max(0.0, self._due - time.monotonic()), _LOOK_SECONDS))
            if self._woken.is_set() or time.monotonic() >= self._due:
                self._woken.clear()
                self._drain()

    def _arm(self, seconds: float | None) -> None:
        self._due = math.inf if seconds is None else time.monotonic() + seconds


class _Shown:
    """One place in the notebook."""

    def __init__(self) -> None:
        self._id = f"rxllm-{next(_ids)}-{time.time_ns()}"
        self._latest: str | None = None

    def show(self, markdown: str) -> None:
        if markdown == self._latest:
            return
        bundle = {"text/markdown": markdown, "text/plain": markdown}
        known = {"update": True} if self._latest is not None else {}
        display(bundle, raw=True, display_id=self._id, **known)  # type: ignore[no-untyped-call] # IPython is not typed
        self._latest = markdown
