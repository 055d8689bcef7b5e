"""What is Qt's own: two bindings, windows that are hidden or closed, Markdown in a QTextBrowser."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import reactivex
from reactivex import Observable

import rxllm
from rxllm import operators as ops
from rxllm.testing import Gate, LLMServer, Reply
from rxllm.ui import qt
from rxllm.ui._bind import Binding
from rxllm.ui._pyside_refcount_fix import loses_references
from rxllm.ui._qt_text import GrowingMarkdown

from ..extra_python import python_with
from .host_qt import QtHost, QtText
from .hosts import LIMIT_SECONDS, Stop
from .programs.run import run_program

BINDINGS = ("PySide6", "PyQt6")

MARKDOWN = """# Title

Text with **bold**, *italic* and `code`.

1. one
2. two

- item
  - nested

```python
print("hello")
```

| a | b |
|---|---|
| 1 | 2 |

> a quote

The <b>end</b>.
"""


@pytest.fixture
def host(display: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[QtHost]:
    """Qt, with PySide6."""
    host = QtHost(monkeypatch)
    yield host
    host.close()


@pytest.mark.parametrize("name", BINDINGS)
class TestInAProcessOfItsOwn:
    """With either binding of Qt."""

    def test_closing_the_window_ends_the_stream_in_silence(self, name: str, display: str) -> None:
        """The connection is closed, the event loop ends, and nothing is printed."""
        assert self._run("close_qt", name, QT_QPA_PLATFORM="xcb") == ("one True True", "")

    def test_a_flood(self, name: str, display: str) -> None:
        """100,000 actions and as many deltas from a thread: all come, in order, on Qt's thread."""
        assert self._run("flood_qt", name, QT_QPA_PLATFORM="xcb") == ("True True True", "")

    def test_without_an_application(self, name: str) -> None:
        """The scheduler says what is missing."""
        assert self._run("no_app_qt", name) == (
            "QtScheduler needs a QApplication or QCoreApplication; create that first",
            "",
        )

    def _run(self, program: str, name: str, **environment: str) -> tuple[str, str]:
        return run_program(program, name, python=python_with(name, get=f"pip install {name}"), **environment)


def test_qt_is_not_imported_before_it_is_needed() -> None:
    """Nor is any other toolkit, by the front door."""
    assert run_program("imports_qt") == ("[] 4", "")


def test_there_is_one_scheduler_for_the_application(host: QtHost) -> None:
    """Made anywhere, any number of times."""
    assert qt.QtScheduler() is host.scheduler


def test_an_unknown_name_is_an_attribute_error() -> None:
    """Though some names are found late."""
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        qt.Nothing  # type: ignore[attr-defined] # noqa: B018 - that it is not there is the test


def test_references_are_lost_by_one_release_on_one_python() -> None:
    """And by no other that is known."""
    assert loses_references((6, 12, 0), (3, 11, 9))
    assert not loses_references((6, 11, 3), (3, 11, 9))
    assert not loses_references((6, 12, 0), (3, 12, 0))


class TestHidingTheWindow:
    """What cannot be seen is not paid for, unless it is wanted."""

    def test_a_closed_window_ends_its_streams_while_the_program_goes_on(
        self, host: QtHost, llm_server: LLMServer
    ) -> None:
        """With other windows open, or a tray icon."""
        host.app.setQuitOnLastWindowClosed(False)

        def act(binding: Binding, text: QtText, stop: Stop) -> None:
            binding.running.subscribe(on_completed=stop)
            text.window.close()

        self._run(host, llm_server, act)
        assert llm_server.wait_for_request().closed.wait(LIMIT_SECONDS)

    def test_a_hidden_tab_goes_on(self, host: QtHost, llm_server: LLMServer) -> None:
        """The user will come back to it."""
        gate = Gate(1)

        def act(binding: Binding, text: QtText, stop: Stop) -> None:
            binding.running.subscribe(on_completed=stop)
            text.widget.hide()
            gate.open()

        assert self._run(host, llm_server, act, gate) == "one two three"

    def test_a_window_in_the_tray_goes_on_if_wanted(self, host: QtHost, llm_server: LLMServer) -> None:
        """`while_hidden` says so."""
        host.app.setQuitOnLastWindowClosed(False)
        gate = Gate(1)

        def act(binding: Binding, text: QtText, stop: Stop) -> None:
            binding.running.subscribe(on_completed=stop)
            text.window.hide()
            gate.open()

        assert self._run(host, llm_server, act, gate, while_hidden=True) == "one two three"

    def _run(
        self,
        host: QtHost,
        server: LLMServer,
        act: Callable[[Binding, QtText, Stop], object],
        gate: Gate | None = None,
        *,
        while_hidden: bool = False,
    ) -> str:
        server.enqueue(Reply("one two three", gate=gate or Gate(1)))
        model = rxllm.create_streaming_model("openai", model="scripted", base_url=server.base_url())
        text = host.text()

        def body(stop: Stop) -> None:
            binding = qt.bind_text(text.widget, model.stream("Hi"), while_hidden=while_hidden)

            def shown() -> None:
                text.widget.textChanged.disconnect(shown)
                act(binding, text, stop)

            text.widget.textChanged.connect(shown)

        host.run(body)
        return text.content()


class TestMarkdown:
    """It looks as if it had been rendered as a whole, and is rendered block by block."""

    def test_as_it_would_be_rendered_as_a_whole(self, host: QtHost) -> None:
        """Cut anywhere."""
        whole = host.widgets.QTextBrowser()
        whole.document().setMarkdown(MARKDOWN.replace("<b>", r"\<b>").replace("</b>", r"\</b>"))
        expected = self._blocks(whole)
        for size in (1, 3, 1000):
            pieces = [MARKDOWN[at : at + size] for at in range(0, len(MARKDOWN), size)]
            assert self._blocks(self._shown(host, pieces)) == expected

    def test_code_below_a_table(self, host: QtHost) -> None:
        """Its paper is not seen beside the table, where Qt keeps an empty paragraph."""
        source = "| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\ncode\n```\n"
        for size in (1, 1000):
            view = host.widgets.QTextBrowser()
            pieces = (rxllm.TextDelta(source[at : at + size]) for at in range(0, len(source), size))
            shown = GrowingMarkdown(importlib.import_module("PySide6.QtGui"), view)
            reactivex.from_iterable(pieces).pipe(ops.markdown_blocks()).subscribe(shown.show)
            block, paper = view.document().begin(), []
            while block.isValid():
                if block.blockFormat().nonBreakableLines():
                    paper.append(block.text())
                block = block.next()
            assert paper == ["code"]

    def test_it_is_appended(self, host: QtHost) -> None:
        """To what is there already."""
        browser = host.widgets.QTextBrowser()
        browser.setPlainText("You: Hello")
        assert self._shown(host, ["**Hi**, ", "you."], browser).toPlainText() == "You: Hello\nHi, you."

    def test_a_reset_voids_it(self, host: QtHost) -> None:
        """The blocks so far are taken back."""
        events: list[rxllm.TokenEvent] = [
            rxllm.TextDelta("# One\n\ntwo\n\n"),
            rxllm.StreamReset("again"),
            rxllm.TextDelta("three"),
        ]
        assert self._shown(host, events).toPlainText() == "three"

    def test_an_error_stands_below_it(self, host: QtHost) -> None:
        """On a line of its own."""
        failure: Observable[str] = reactivex.throw(ValueError("no more"))
        broken = reactivex.concat(reactivex.of("# One\n\ntwo"), failure)
        browser = host.widgets.QTextBrowser()
        host.run(lambda stop: qt.bind_markdown(browser, broken).running.subscribe(on_completed=stop))
        assert browser.toPlainText() == "One\ntwo\n⚠ no more"

    def _shown(self, host: QtHost, items: Sequence[str] | Sequence[rxllm.TokenEvent], browser: Any = None) -> Any:
        view = browser or host.widgets.QTextBrowser()
        stream = reactivex.from_iterable(items)
        host.run(lambda stop: qt.bind_markdown(view, stream).running.subscribe(on_completed=stop))
        return view

    def _blocks(self, view: Any) -> list[tuple[str, float, float, int, bool]]:
        """How each paragraph looks, save where Qt or we take liberties: cells of tables, the margin of code."""
        cursor_at = type(view.textCursor())
        block = view.document().begin()
        found: list[tuple[str, float, float, int, bool]] = []
        while block.isValid():
            looks = block.blockFormat()
            below = 0.0 if cursor_at(block).currentTable() else looks.bottomMargin()
            left = 0.0 if looks.nonBreakableLines() else looks.leftMargin()
            found.append((block.text(), below, left, looks.headingLevel(), block.textList() is not None))
            block = block.next()
        return [entry for entry in found if entry[0]]
