"""What is Qt's own: two bindings, windows that are hidden or closed, Markdown in a QTextBrowser."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import reactivex
from reactivex import Observable
from reactivex.subject import Subject

import rxllm
from rxllm.testing import Gate, LLMServer, Reply
from rxllm.ui import qt
from rxllm.ui._binding import Binding
from rxllm.ui._markdown_view import MarkdownView
from rxllm.ui._pyside_refcount_fix import loses_references
from rxllm.ui._qt_text import QtRegion
from rxllm.ui._qt_widget import widget_ref

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


EXPECTED = [
    "Title",
    "Text with bold, italic and code.",
    "1.\tone",
    "2.\ttwo",
    "•\titem",
    "•\tnested",
    'print("hello")',
    "a",
    "b",
    "1",
    "2",
    "a quote",
    "The <b>end</b>.",
]


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
        python = python_with(name, get=f"pip install {name}", check=f"import {name}.QtCore")
        return run_program(program, name, python=python, **environment)


def test_qt_is_not_imported_before_it_is_needed() -> None:
    """Nor is any other toolkit, by the front door."""
    assert run_program("imports_qt") == ("[] 1", "")


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
    """Rendered as it comes; whole paragraphs are not touched again."""

    def test_however_it_is_cut(self, host: QtHost) -> None:
        """The document comes out the same."""
        whole = self._blocks(self._shown(host, [MARKDOWN]))
        assert [text for text, *_ in whole] == EXPECTED
        for size in (1, 3):
            pieces = [MARKDOWN[at : at + size] for at in range(0, len(MARKDOWN), size)]
            assert self._blocks(self._shown(host, pieces)) == whole

    def test_the_document_never_shrinks_while_it_grows(self, host: QtHost) -> None:
        """A line that does not show yet what it is waits: the view does not jump."""
        view = host.widgets.QTextBrowser()
        view.resize(500, 400)
        markdown = MarkdownView(QtRegion(importlib.import_module("PySide6.QtGui"), widget_ref(view)))
        heights = [0.0]
        for character in MARKDOWN:
            markdown.add(character)
            heights.append(view.document().size().height())
        assert heights == sorted(heights)

    def test_it_is_appended(self, host: QtHost) -> None:
        """To what is there already."""
        browser = host.widgets.QTextBrowser()
        browser.setPlainText("You: Hello")
        assert self._shown(host, ["**Hi**, ", "you."], browser).toPlainText() == "You: Hello\nHi, you."

    def test_a_reset_voids_it(self, host: QtHost) -> None:
        """The blocks so far are taken back."""
        events: list[rxllm.TokenEvent] = [
            rxllm.TextDelta("# One\n\ntwo\n\n| a |\n|---|\n| 1 |\n"),
            rxllm.StreamReset("again"),
            rxllm.TextDelta("three"),
        ]
        assert self._shown(host, events).toPlainText() == "three"

    def test_an_error_stands_below_it(self, host: QtHost) -> None:
        """On a line of its own, and not as code."""
        failure: Observable[str] = reactivex.throw(ValueError("no more"))
        broken = reactivex.concat(reactivex.of("# One\n\n```\ntwo\n"), failure)
        browser = host.widgets.QTextBrowser()
        host.run(lambda stop: qt.bind_markdown(browser, broken).running.subscribe(on_completed=stop))
        assert browser.toPlainText().split("\n") == ["One", "two", "⚠ no more"]
        assert not browser.document().lastBlock().blockFormat().nonBreakableLines()

    def test_nothing_is_loaded(self, host: QtHost) -> None:
        """Images are links; a file that never ends is not opened."""
        asked: list[str] = []

        class Browser(host.widgets.QTextBrowser):  # type: ignore[misc,name-defined] # Qt is found late
            def loadResource(self, kind: int, url: Any) -> None:  # noqa: N802 - Qt's name
                asked.append(url.toString())

        browser = Browser()
        self._shown(
            host, ["![a](file:///dev/zero) ![b](pic.png) ![c](https://example.org/c.png) <img src=d.png>"], browser
        )
        browser.grab()
        assert asked == []
        assert browser.toPlainText() == "a b c <img src=d.png>"

    def test_an_error_has_the_red_of_the_palette_then(self, host: QtHost) -> None:
        """The program may have become dark while the answer came."""
        browser = host.widgets.QTextBrowser()
        source: Subject[rxllm.TokenEvent] = Subject()
        binding = host.ui.bind_markdown(browser, source, while_hidden=True)
        source.on_next(rxllm.TextDelta("One"))
        host.until(lambda: browser.toPlainText() == "One")
        palette = browser.palette()
        palette.setColor(palette.ColorRole.Base, host.core.Qt.GlobalColor.black)
        browser.setPalette(palette)
        source.on_error(ValueError("no more"))
        host.until(lambda: bool(binding.stopped))
        assert browser.document().find("no more").charFormat().foreground().color().name() == "#ff8a80"

    def test_a_label_shows_html_as_text(self, host: QtHost) -> None:
        """Also in a label that would take it for HTML, and load its images."""
        label = host.widgets.QLabel()
        binding = host.ui.bind_text(label, reactivex.of("<b>Bold</b> <img src='file:///dev/zero'>"))
        label.show()
        host.until(lambda: bool(binding.stopped))
        assert label.text() == "<b>Bold</b> <img src='file:///dev/zero'>"
        assert label.textFormat() == host.core.Qt.TextFormat.PlainText

    def test_only_safe_links_can_be_clicked(self, host: QtHost, monkeypatch: pytest.MonkeyPatch) -> None:
        """In the desktop's browser; the conversation stays."""
        opened: list[str] = []
        services = importlib.import_module("PySide6.QtGui").QDesktopServices
        monkeypatch.setattr(services, "openUrl", lambda url: opened.append(url.toString()))
        browser = self._shown(
            host, ["[web](https://example.org/) [file](file:///etc/passwd) [js](javascript:x) [page](o.md)"]
        )
        assert [f"{a}" for a in self._anchors(browser)] == ["https://example.org/"]
        url = host.core.QUrl
        for address in ("https://example.org/", "file:///etc/passwd", "o.md"):
            browser.anchorClicked.emit(url(address))
        assert opened == ["https://example.org/"]
        assert browser.toPlainText() == "web file js page"

    def test_a_long_table_goes_on_in_another(self, host: QtHost) -> None:
        """Qt lays out all of a table anew for each change. The columns stand below each other, whatever the width."""
        rows = "".join(f"| {n} | cell {n} {'of words ' * (n % 9)}|\n" for n in range(150))
        source = f"| a | b |\n|---|---|\n{rows}\nafter"
        view = host.widgets.QTextBrowser()
        view.show()
        self._shown(host, [source[at : at + 1000] for at in range(0, len(source), 1000)], view)
        lines = [
            "a",
            "b",
            *(part for n in range(150) for part in (str(n), f"cell {n} {'of words ' * (n % 9)}".strip())),
        ]
        assert list(filter(None, view.toPlainText().split("\n"))) == [*lines, "after"]
        for width in (300, 700):
            view.resize(width, 500)
            host.app.processEvents()
            tables = view.document().rootFrame().childFrames()
            assert len(tables) == 6
            cells = [[table.cellAt(0, column).firstCursorPosition() for column in (0, 1)] for table in tables]
            assert len({tuple(view.cursorRect(cell).left() for cell in row) for row in cells}) == 1
        view.clear()
        events = [rxllm.TextDelta(source), rxllm.StreamReset("again"), rxllm.TextDelta("| x |\n|---|\n| y |")]
        assert self._shown(host, events, view).toPlainText().split() == ["x", "y"]

    def test_clearing_the_widget_while_a_table_grows(self, host: QtHost) -> None:
        """The stream goes on in what is left."""
        view = host.widgets.QTextBrowser()
        stream: Subject[str] = Subject()
        answer = qt.bind_markdown(view, stream)
        stream.on_next("| a |\n|---|\n| one |\n")
        host.until(lambda: "one" in view.toPlainText())
        view.clear()
        stream.on_next("| two |\n\nafter")
        stream.on_completed()
        host.until(lambda: answer.stopped)
        assert "two" in view.toPlainText()
        assert "after" in view.toPlainText()

    def test_there_is_a_gap_below_a_table(self, host: QtHost) -> None:
        """Whatever follows."""
        for below in ("> below", "- below", "below", "# below", "```\nbelow\n```"):
            view = self._shown(host, ["| a |\n|---|\n| cell |\n\n" + below])
            view.show()
            cell, next_line = (view.document().find(text) for text in ("cell", "below"))
            gap = view.cursorRect(next_line).top() - view.cursorRect(cell).bottom()
            assert gap >= 12, (below, gap)  # the padding of the cell, and a margin

    def test_lines_of_code_stand_close_together(self, host: QtHost) -> None:
        """Only the first has a gap above it."""
        view = self._shown(host, ["text\n```\none\ntwo\n", "three\nfour\nfive\n```\n"])
        blocks = [view.document().findBlockByNumber(at) for at in range(1, 6)]
        assert [block.text() for block in blocks] == ["one", "two", "three", "four", "five"]
        assert [block.blockFormat().topMargin() > 0 for block in blocks] == [True, False, False, False, False]

    def test_reference_links(self, host: QtHost) -> None:
        """Though their addresses come last."""
        browser = self._shown(host, ["See [the docs][1].\n\nMore.\n\n[1]: https://example.org/\n"])
        assert browser.toPlainText() == "See the docs.\nMore."
        assert self._anchors(browser) == ["https://example.org/"]

    def _anchors(self, view: Any) -> list[str]:
        found: list[str] = []
        block = view.document().begin()
        while block.isValid():
            cursor = type(view.textCursor())(block)
            while not cursor.atBlockEnd():
                cursor.movePosition(cursor.MoveOperation.NextCharacter)
                href = cursor.charFormat().anchorHref()
                if href and href not in found:
                    found.append(href)
            block = block.next()
        return found

    def _shown(self, host: QtHost, items: Sequence[str] | Sequence[rxllm.TokenEvent], browser: Any = None) -> Any:
        view = browser or host.widgets.QTextBrowser()
        stream = reactivex.from_iterable(items)
        host.run(lambda stop: qt.bind_markdown(view, stream).running.subscribe(on_completed=stop))
        return view

    def _blocks(self, view: Any) -> list[tuple[str, float, float, int, bool, list[tuple[str, int, bool]]]]:
        """How each paragraph looks."""
        block = view.document().begin()
        found: list[tuple[str, float, float, int, bool, list[tuple[str, int, bool]]]] = []
        while block.isValid():
            looks, runs = block.blockFormat(), []
            fragments = block.begin()
            while not fragments.atEnd():
                run = fragments.fragment()
                runs.append((run.text(), run.charFormat().fontWeight(), run.charFormat().fontItalic()))
                fragments += 1
            found.append(
                (
                    block.text(),
                    looks.topMargin(),
                    looks.leftMargin(),
                    looks.headingLevel(),
                    looks.nonBreakableLines(),
                    runs,
                )
            )
            block = block.next()
        return [entry for entry in found if entry[0]]


class TestOthers:
    """A binding changes its own text and nothing else."""

    @pytest.fixture(params=["bind_text", "bind_markdown"])
    def bound(self, request: pytest.FixtureRequest, host: QtHost) -> Bound:
        """A view with text, and a stream that is fed by hand."""
        view = host.widgets.QTextEdit()
        view.setReadOnly(True)
        view.setPlainText("before\n")
        view.resize(400, 300)
        view.show()
        return Bound(host, view, getattr(qt, request.param))

    def test_text_added_after_the_answer_stays_after_it(self, bound: Bound) -> None:
        """As a second question is."""
        stream = bound.stream()
        bound.feed(stream, "one")
        bound.append("\nOTHERS")
        bound.feed(stream, " two")
        assert bound.text == "before\none two\nOTHERS"

    def test_two_answers_in_one_widget(self, bound: Bound) -> None:
        """Each has its own place."""
        first, second = bound.stream(), bound.stream()
        bound.feed(first, "first")
        bound.feed(second, "SECOND")
        bound.feed(first, " more")
        bound.feed(second, " MORE")
        assert bound.text.replace("\n", "") == "beforefirst moreSECOND MORE"

    def test_a_reset_removes_its_own_text_only(self, bound: Bound) -> None:
        """What was added after it stays."""
        stream = bound.stream()
        bound.feed(stream, "gone\n\nalso gone")
        bound.append("\nKEEP")
        stream.on_next(rxllm.StreamReset("again"))
        bound.until(lambda: "gone" not in bound.text)
        assert bound.text == "before\n\nKEEP"

    def test_clearing_in_mid_stream(self, bound: Bound) -> None:
        """What was cleared does not come back."""
        stream = bound.stream()
        bound.feed(stream, "aaa\n\nbbb")
        bound.view.clear()
        bound.feed(stream, " ccc\n\nddd")
        bound.feed(stream, " eee")
        assert "a" not in bound.text
        assert "bbb" not in bound.text
        assert bound.text.endswith("ddd eee")

    def test_a_widget_that_keeps_the_last_paragraphs_only(self, bound: Bound) -> None:
        """Those at the top go, and nothing else changes."""
        bound.view.document().setMaximumBlockCount(5)
        stream = bound.stream()
        for number in range(12):
            bound.feed(stream, f"paragraph {number}\n\n")
        bound.feed(stream, "last ")
        bound.feed(stream, "words")
        lines = [line for line in bound.text.split("\n") if line]
        assert lines[-2:] == ["paragraph 11", "last words"]
        assert len(set(lines)) == len(lines)

    def test_the_users_selection_stays(self, bound: Bound) -> None:
        """Inside of the paragraph under way."""
        stream = bound.stream()
        bound.feed(stream, "A long paragraph that the user selects from")
        cursor = bound.view.textCursor()
        cursor.setPosition(9)
        cursor.setPosition(23, cursor.MoveMode.KeepAnchor)
        bound.view.setTextCursor(cursor)
        selected = cursor.selectedText()
        bound.feed(stream, " and **more**")
        assert bound.view.textCursor().selectedText() == selected == "long paragraph"

    @pytest.mark.parametrize("change", ["narrow", "short", "zoom", "question"])
    def test_the_end_stays_in_view(self, bound: Bound, change: str) -> None:
        """When the layout changes and no one scrolls."""
        stream = bound.stream()
        words = "some words that wrap when the window is narrow " * 3 + "\n\n"
        bound.feed(stream, words * 40)
        bar = bound.view.verticalScrollBar()
        bound.until(lambda: bar.maximum() > 0 and bar.value() == bar.maximum())
        match change:
            case "narrow":
                bound.view.resize(200, 300)
            case "short":
                bound.view.resize(400, 100)
            case "zoom":
                bound.view.zoomIn(6)
            case _:
                bound.append("\n\nYou: " + words * 4)
        bound.turn()
        bound.feed(stream, words)
        bound.until(lambda: bar.value() == bar.maximum())
        bar.setValue(bar.maximum() // 2)
        at = bar.value()
        bound.feed(stream, words)
        assert bar.value() == at

    def test_the_end_is_in_view_when_a_splitter_is_opened(self, bound: Bound) -> None:
        """The view had no height when it was bound."""
        splitter = bound.host.widgets.QSplitter()
        splitter.addWidget(bound.host.widgets.QTextEdit())
        splitter.setOrientation(type(splitter.orientation()).Vertical)
        splitter.addWidget(bound.view)
        splitter.resize(400, 300)
        splitter.show()
        splitter.setSizes([300, 0])
        bound.until(lambda: bound.view.viewport().height() == 0)
        bound.feed(bound.stream(), "line\n\n" * 40)
        splitter.setSizes([100, 200])
        bar = bound.view.verticalScrollBar()
        bound.until(lambda: bound.view.viewport().height() > 100 and bar.value() == bar.maximum() > 0)


class Bound:
    """A view, and streams that are bound to it and fed by hand."""

    def __init__(self, host: QtHost, view: Any, bind: Callable[[Any, Observable[rxllm.TokenEvent]], Binding]) -> None:
        self.host = host
        self.view = view
        self.bind = bind

    @property
    def text(self) -> str:
        return str(self.view.toPlainText())

    def stream(self) -> Subject[rxllm.TokenEvent]:
        stream: Subject[rxllm.TokenEvent] = Subject()
        self.bind(self.view, stream)
        return stream

    def feed(self, stream: Subject[rxllm.TokenEvent], text: str) -> None:
        """Emit text, and wait until it is shown."""
        stream.on_next(rxllm.TextDelta(text))
        word = text.split()[-1].strip("*")
        self.until(lambda: word in self.text)
        self.turn()

    def append(self, text: str) -> None:
        """As the program does, at the end of the document."""
        cursor = type(self.view.textCursor())(self.view.document())
        cursor.movePosition(cursor.MoveOperation.End)
        cursor.insertText(text)

    def turn(self) -> None:
        """Let the scheduler run what it has."""
        seen: list[int] = []
        self.host.scheduler.schedule_relative(0.05, lambda *_: seen.append(1))
        self.until(lambda: bool(seen))

    def until(self, condition: Callable[[], bool]) -> None:
        self.host.until(condition)


@pytest.mark.parametrize("kind", ["QLineEdit", "QPushButton", "QListWidget"])
def test_a_widget_that_shows_no_text_is_refused(host: QtHost, kind: str) -> None:
    """With its name."""
    with pytest.raises(TypeError, match=f"needs a QPlainTextEdit or QTextEdit or QLabel; got {kind}"):
        qt.bind_text(getattr(host.widgets, kind)(), reactivex.never())


def test_the_focus_comes_back(host: QtHost) -> None:
    """To a line that was disabled while the answer came."""
    window = host.widgets.QWidget()
    line, button = host.widgets.QLineEdit(), host.widgets.QPushButton()
    layout = host.widgets.QVBoxLayout(window)
    layout.addWidget(line)
    layout.addWidget(button)
    window.show()
    window.activateWindow()
    line.setFocus()
    host.app.processEvents()
    enabled: Subject[bool] = Subject()
    qt.bind_enabled(line, enabled)
    assert line.hasFocus()
    enabled.on_next(False)
    assert not line.hasFocus()
    enabled.on_next(True)
    assert line.hasFocus()


def test_only_the_latest_is_shown_where_that_is_wanted(host: QtHost) -> None:
    """A slow label is not behind the source."""
    label = host.widgets.QLabel()
    shown: list[int] = []

    def show(number: int) -> None:
        shown.append(number)
        time.sleep(0.01)

    def body(stop: Stop) -> None:
        qt.bind_each(label, show, reactivex.range(0, 5000), latest=True).running.subscribe(on_completed=stop)

    host.run(body)
    assert shown[-1] == 4999
    assert len(shown) < 100
