"""Streams in a notebook, of Jupyter or marimo: Markdown that is written in place while the cell runs.

::

    answer = live(model.stream("Explain AI"))
    display(answer)                                  # or `answer` on the cell's last line
    answer.response.usage
    live(one.stream(prompt), other.stream(prompt))   # side by side

Displaying asks the model and blocks, as any cell does; interrupting the kernel stops the stream, closes its connection
and keeps what has been shown. The Markdown is shown as HTML that loads nothing: images are links. For streams that go
on while other cells run see `rxllm.shared_stream`.
"""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from importlib import import_module
from typing import Any, overload

from IPython.display import DisplayHandle  # pyright: ignore[reportUnknownVariableType] - IPython is not typed
from reactivex import Observer

from .._text_without_controls import inert_text
from ..events import Response, StreamEnd, StreamReset, TextDelta, TokenEvent
from ._binding import Binding, StreamBinding, Streamed, as_events, error_line
from ._loop_scheduler import LoopScheduler
from ._markdown import MarkdownParser, Paragraph, Run

__all__ = ["CellScheduler", "Live", "LiveRow", "live"]

_FRAME_SECONDS = 1 / 15
_CHARACTERS_PER_SECOND = 1_000_000
"""Each update carries the whole text; a long one comes less often."""

_LOOK_SECONDS = 1.0
"""How long an interrupt may go unseen if the system cannot interrupt a wait (Windows)."""


_TAGS = {"bold": "b", "italic": "i", "strike": "s", "code": "code"}

_FORMS = {
    "heading": "<h{level}>{text}</h{level}>",
    "item": '<div style="margin-left:{indent}em">{marker} {text}</div>',
    "quote": "<blockquote>{text}</blockquote>",
    "code": '<pre style="margin:{gap}em 0 0">{text}</pre>',
    "rule": "<hr>",
}


class _Displayed(ABC):
    """What a notebook displays: it calls the methods with an underscore."""

    answers: tuple[Live, ...]

    @abstractmethod
    def html(self) -> str:
        """Return what has come so far."""

    def _ipython_display_(self) -> None:
        """Display in Jupyter, and stream until all have ended, if that has not been done."""
        handle: Any = DisplayHandle()  # type: ignore[no-untyped-call] # IPython is not typed
        shown: Mapping[str, str] = {}

        def put() -> None:
            nonlocal shown
            plain = "\n\n".join(answer.markdown for answer in self.answers)
            bundle = {"text/html": self.html(), "text/plain": plain}
            if bundle != shown:
                (handle.update if shown else handle.display)(bundle, raw=True)
                shown = bundle

        self._run(put)

    def _mime_(self) -> tuple[str, str]:
        """Display in marimo."""
        marimo = import_module("marimo")
        self._run(lambda: marimo.output.replace(marimo.Html(self.html())))
        return "text/html", self.html()

    def _run(self, show: Callable[[], object]) -> None:
        """Subscribe to the streams that have not started, and show them until all have ended."""
        show()
        fresh = [answer for answer in self.answers if not answer.asked]
        loop = CellScheduler()
        bindings = [answer.start(loop, show) for answer in fresh]
        try:
            loop.run_until_ended(*bindings)
        except KeyboardInterrupt:
            for answer, binding in zip(fresh, bindings, strict=True):
                answer.stop(binding)
            raise
        finally:
            show()


class Live(_Displayed):
    """A stream to display, once; displayed again, it shows what has come of it.

    Args:
        stream: A model's events, or strings. Subscribed to when it is displayed.
    """

    def __init__(self, stream: Streamed) -> None:
        """Keep the stream; it is subscribed to when it is displayed."""
        self.answers = (self,)
        self.response: Response | None = None
        """The whole answer, once it is complete; of token events only."""
        self.error: Exception | None = None
        """What the stream has failed with."""
        self.asked = False
        """True once the stream has been subscribed to."""
        self._stream = stream
        self._stopped = False
        self.text = ""
        """The visible text so far."""

    @property
    def markdown(self) -> str:
        """The text so far, with what it has ended with."""
        if self.error is not None:
            return f"{self.text}\n\n> {error_line(self.error)}"
        return f"{self.text}\n\n> ■ stopped" if self._stopped else self.text

    def __repr__(self) -> str:
        return self.text

    def html(self) -> str:
        """Return what has come so far, as HTML that loads nothing."""
        parser = MarkdownParser(table_lines=math.inf, longest=math.inf)
        parser.feed(inert_text(self.markdown) + "\n")
        return _to_html(parser.paragraphs)

    def start(self, scheduler: CellScheduler, show: Callable[[], object]) -> Binding:
        """Subscribe to the stream.

        Args:
            scheduler: Of the cell.
            show: Called after each change.

        Returns:
            The binding.
        """
        self.asked = True

        def settle(done: Callable[..., None]) -> None:
            show()
            scheduler.schedule_relative(len(self.text) / _CHARACTERS_PER_SECOND, done)

        observer = Observer(self._take, self._fail)
        return StreamBinding(as_events(self._stream), scheduler, observer, settle, frame=_FRAME_SECONDS)

    def stop(self, binding: Binding) -> None:
        """Stop the stream, if it runs.

        Args:
            binding: What `start` has returned.
        """
        self._stopped = not binding.stopped
        binding.dispose()

    def _take(self, event: TokenEvent) -> None:
        if type(event) is TextDelta:
            self.text += event.text
        elif type(event) is StreamReset:
            self.text = ""
        elif type(event) is StreamEnd:
            self.response = event.response

    def _fail(self, error: Exception) -> None:
        self.error = error


class LiveRow(_Displayed):
    """Streams to display side by side, at the same time.

    Args:
        answers: The streams.
    """

    def __init__(self, answers: tuple[Live, ...]) -> None:
        self.answers = answers

    def html(self) -> str:
        """Return what has come so far, in columns."""
        columns = (f'<div style="flex:1;min-width:0">{answer.html()}</div>' for answer in self.answers)
        return f'<div style="display:flex;gap:1.5em">{"".join(columns)}</div>'


@overload
def live(stream: Streamed, /) -> Live: ...
@overload
def live(stream: Streamed, second: Streamed, /, *more: Streamed) -> LiveRow: ...
def live(*streams: Streamed) -> Live | LiveRow:
    """Return what to display of a stream, or of several side by side.

    Args:
        streams: A model's events, or strings.

    Returns:
        A `Live`, or for several streams a `LiveRow`, whose `answers` are one `Live` each.
    """
    answers = tuple(map(Live, streams))
    return answers[0] if len(answers) == 1 else LiveRow(answers)


class CellScheduler(LoopScheduler):
    """Runs actions on the thread that runs a cell, in `run_until_ended`."""

    def __init__(self) -> None:
        self._woken = threading.Event()
        super().__init__(lambda _: self._woken.set())

    def run_until_ended(self, *bindings: Binding) -> None:
        """Run what is scheduled until all bindings have ended.

        Args:
            bindings: Made on this scheduler.
        """
        while not all(binding.stopped for binding in bindings):
            if self._woken.wait(_LOOK_SECONDS):
                self._woken.clear()
                self._drain()


def _to_html(paragraphs: Iterable[Paragraph]) -> str:
    """Return paragraphs as HTML.

    >>> _to_html([Paragraph("text", (Run("<b>", ("bold",)), Run("x", (), "https://a.b/?c&d")))])
    '<p><b>&lt;b&gt;</b><a href="https://a.b/?c&amp;d" rel="noopener noreferrer">x</a></p>'
    """
    return "".join(map(_paragraph, paragraphs))


def _paragraph(paragraph: Paragraph) -> str:
    """Return one paragraph as HTML."""
    if paragraph.kind == "table":
        rows = ("".join(f"<td>{_runs(cell)}</td>" for cell in row) for row in paragraph.rows)
        return f"<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"
    level, marker = paragraph.level, escape(paragraph.marker)
    form = _FORMS.get(paragraph.kind, "<p>{text}</p>")
    gap = 0 if level else 0.5  # above the first line of code
    return form.format(level=level, marker=marker, indent=1.5 * level + 1, gap=gap, text=_runs(paragraph.runs) or " ")


def _runs(runs: Sequence[Run]) -> str:
    return "".join(map(_run, runs))


def _run(run: Run) -> str:
    """Return one run as HTML: its styles as tags, its link as an anchor."""
    text = escape(run.text).replace("\n", "<br>")
    for style in run.styles:
        if tag := _TAGS.get(style):
            text = f"<{tag}>{text}</{tag}>"
    if run.link:
        text = f'<a href="{escape(run.link)}" rel="noopener noreferrer">{text}</a>'
    return text
