"""Chat views, in windows: what they show of a session, and what a user can do in them."""

from __future__ import annotations

import asyncio
import gc
import importlib
import sys
import threading
import tkinter
from collections.abc import Callable, Iterator
from importlib.abc import MetaPathFinder
from typing import Any, Protocol

import pytest
from textual.app import App, ComposeResult
from textual.events import Paste
from textual.widgets import Button, Input, Markdown, Static

import rxllm
from rxllm.assistant import Assistant, ChatSession, FunctionTool, ask_user
from rxllm.messages import ToolCall
from rxllm.testing import Gate, LLMServer, Reply, ScriptedModel
from rxllm.ui import qt, tk
from rxllm.ui.textual import ChatView

from .host_qt import QtHost
from .host_tk import TkHost
from .hosts import LIMIT_SECONDS, Stop

SOURCE = (
    "Some **bold** [text](https://example.org/).\n\n"
    "```python\nx = 1  # one\n```\n\n"
    "![a](file:///dev/zero) [b](javascript:x)\n"
)


class View(Protocol):
    """A chat view in a window."""

    def run(self, until: Callable[[], bool]) -> None:
        """Run the loop until a condition holds."""
        ...

    def text(self) -> str:
        """What is shown."""
        ...

    def type(self, text: str) -> None:
        """Type a text over what is in the input, and send it."""
        ...

    def put(self, text: str) -> None:
        """Put a text into the input."""
        ...

    def typed(self) -> str:
        """What is in the input."""
        ...

    def empty_input(self, by: str) -> None:
        """Press Escape, or delete all of what is in the input."""
        ...

    def click(self, link: str) -> None:
        """Click a link of the transcript by its text."""
        ...

    def press(self, button: str) -> None:
        """Press "stop" or "retry"."""
        ...

    def enabled(self) -> tuple[bool, bool, bool]:
        """Whether send, stop and retry can be pressed."""
        ...

    def coloured(self, word: str) -> bool:
        """Whether a word has a colour of its own."""
        ...

    def clipboard(self) -> str:
        """The text on the clipboard."""
        ...

    def destroy(self) -> None:
        """Close the window."""
        ...


class QtView:
    """`qt.ChatView`."""

    def __init__(self, session: ChatSession, monkeypatch: pytest.MonkeyPatch) -> None:
        self.host = QtHost(monkeypatch)
        self.view: Any = qt.ChatView(session)
        self.view.show()

    def run(self, until: Callable[[], bool]) -> None:
        self.host.until(until)

    def text(self) -> str:
        return str(self.view.browser.toPlainText()).replace("\u2028", "\n")

    def put(self, text: str) -> None:
        self.view.input.setText(text)

    def typed(self) -> str:
        return str(self.view.input.text())

    def type(self, text: str) -> None:
        self.put(text)
        self.view.send_button.click()

    def empty_input(self, by: str) -> None:
        if by == "delete":
            self.view.input.selectAll()
            self.view.input.del_()
            return
        self.view.activateWindow()
        self.host.until(lambda: self.view.input.hasFocus())
        importlib.import_module("PySide6.QtTest").QTest.keyClick(self.view.input, self.host.core.Qt.Key.Key_Escape)

    def click(self, link: str) -> None:
        cursor = self.view.browser.document().find(link)
        assert cursor.hasSelection(), self.text()
        self.view.browser.anchorClicked.emit(self.host.core.QUrl(cursor.charFormat().anchorHref()))

    def press(self, button: str) -> None:
        getattr(self.view, f"{button}_button").click()

    def enabled(self) -> tuple[bool, bool, bool]:
        buttons = self.view.send_button, self.view.stop_button, self.view.retry_button
        return (buttons[0].isEnabled(), buttons[1].isEnabled(), buttons[2].isEnabled())

    def coloured(self, word: str) -> bool:
        looks = self.view.browser.document().find(word).charFormat()
        return bool(looks.hasProperty(looks.Property.ForegroundBrush))

    def clipboard(self) -> str:
        return str(self.host.app.clipboard().text())

    def destroy(self) -> None:
        if self.view is not None:
            self.view.deleteLater()
            self.view = None
            self.host.core.QCoreApplication.sendPostedEvents(None, self.host.core.QEvent.Type.DeferredDelete.value)
            self.host.close()


class TkView:
    """`tk.ChatView`."""

    def __init__(self, session: ChatSession, monkeypatch: pytest.MonkeyPatch) -> None:
        self.host = TkHost()
        self.view: tk.ChatView | None = tk.ChatView(self.host.root, session)
        self.view.pack()

    @property
    def shown(self) -> tk.ChatView:
        assert self.view is not None
        return self.view

    def run(self, until: Callable[[], bool]) -> None:
        def body(stop: Stop) -> None:
            def look() -> None:
                if until():
                    stop()
                else:
                    self.host.root.after(10, look)

            look()

        self.host.run(body)

    def text(self) -> str:
        return self.shown.text.get("1.0", "end-1c")

    def put(self, text: str) -> None:
        before = len(self.typed())
        self.shown.input.insert("end", text)
        self.shown.input.delete(0, before)

    def typed(self) -> str:
        return self.shown.input.get()

    def type(self, text: str) -> None:
        self.put(text)
        self.shown.send_button.invoke()

    def empty_input(self, by: str) -> None:
        self.shown.input.focus_force()
        if by == "delete":
            self.shown.input.selection_range(0, "end")
        self.shown.input.event_generate("<Delete>" if by == "delete" else "<Escape>")

    def click(self, link: str) -> None:
        text = self.shown.text
        at = text.search(link, "1.0")
        assert at, self.text()
        text.see(at)
        text.update_idletasks()
        box = text.bbox(at)
        assert box is not None
        x, y = box[0] + 2, box[1] + 2
        text.event_generate("<Motion>", x=x, y=y)
        text.event_generate("<Button-1>", x=x, y=y)
        text.event_generate("<ButtonRelease-1>", x=x, y=y)
        text.update()

    def press(self, button: str) -> None:
        getattr(self.shown, f"{button}_button").invoke()

    def enabled(self) -> tuple[bool, bool, bool]:
        send, stop, retry = (
            str(button["state"]) == "normal"
            for button in (self.shown.send_button, self.shown.stop_button, self.shown.retry_button)
        )
        return send, stop, retry

    def coloured(self, word: str) -> bool:
        text = self.shown.text
        return any(text.tag_cget(tag, "foreground") for tag in text.tag_names(text.search(word, "1.0")))

    def clipboard(self) -> str:
        return str(self.host.root.clipboard_get())

    def destroy(self) -> None:
        if self.view is not None:
            self.view.destroy()
            self.view = None
            self.host.close()
            gc.collect()


@pytest.fixture
def server() -> Iterator[LLMServer]:
    """A scripted model server."""
    with LLMServer() as server:
        yield server


@pytest.fixture(params=[QtView, TkView])
def show(
    request: pytest.FixtureRequest, display: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[ChatSession], View]]:
    """Shows a session in each toolkit in turn."""
    views: list[QtView | TkView] = []

    def make(session: ChatSession) -> View:
        views.append(view := request.param(session, monkeypatch))
        return view

    yield make
    for view in views:
        view.destroy()


def weather(city: str) -> str:
    """Say the weather."""
    return f"sunny in {city}"


def test_a_conversation(show: Callable[[ChatSession], View]) -> None:
    """Markdown, code, links that can be clicked and such that cannot; what is copied is the code."""
    session = ChatSession(ScriptedModel(Reply(SOURCE, reasoning="hidden at first")))
    view = show(session)
    view.type("Hi *there*")
    view.run(lambda: session.state.status == "ready" and "x = 1" in view.text() and view.enabled()[0])
    lines = [line for line in view.text().split("\n") if line]
    assert lines == [
        "You   edit",
        "Hi *there*",
        "Assistant",
        "▸ Thinking",
        "Some bold text.",
        "python   copy",
        "x = 1  # one",
        "a b",
    ]
    view.click("copy")
    assert view.clipboard() == "x = 1  # one\n"
    view.click("Thinking")
    view.run(lambda: "hidden at first" in view.text())
    assert view.enabled() == (True, False, True)


def test_a_long_conversation_is_shown_piece_by_piece(
    show: Callable[[ChatSession], View], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window is free in between; also if the session is closed by then."""
    monkeypatch.setattr("rxllm.ui._transcript.UPDATE_SECONDS", -1.0)  # each update shows as little as it can
    text = "word\n\n" * 1_000 + "```\nend {}\n```\n"
    turns = [(rxllm.Message.user("Go"), rxllm.Message.assistant(text.format(number))) for number in range(2)]
    session = ChatSession(ScriptedModel(""), messages=[message for turn in turns for message in turn])
    session.close()
    view = show(session)
    shown: list[str] = []

    def whole() -> bool:
        shown.append(view.text())
        return "end 1" in shown[-1]

    view.run(whole)
    assert shown[-1].split() == [*expected(0), *expected(1)]
    assert len({text.count("word") for text in shown}) > 5
    assert all("end 0" in text for text in shown if text.count("word") > 1_000)


def expected(number: int) -> list[str]:
    """The words of a turn above."""
    return ["You", "edit", "Go", "Assistant", *["word"] * 1_000, "copy", "end", str(number)]


def test_each_of_two_blocks_of_code_can_be_copied(show: Callable[[ChatSession], View]) -> None:
    """Also where no text stands between them."""
    session = ChatSession(ScriptedModel("```sh\npip install x\n```\n\n```python\nimport x\n```\n"))
    view = show(session)
    view.type("How?")
    view.run(lambda: "import x" in view.text() and view.enabled()[0])
    assert view.text().split()[-9:] == ["sh", "copy", "pip", "install", "x", "python", "copy", "import", "x"]
    view.click("copy")
    assert view.clipboard() == "pip install x\n"


def test_very_long_lines(show: Callable[[ChatSession], View]) -> None:
    """The window shows them in pieces, in which nothing is missing; of code, the whole line is copied."""
    code = "x = 1; " * 2_600
    session = ChatSession(ScriptedModel(Reply(f"```python\n{code}\nend\n```\n", reasoning="think " * 3_000)))
    view = show(session)
    view.type("Hi " * 6_000 + "there")
    view.run(lambda: "end" in view.text() and view.enabled()[0])
    view.click("Thinking")
    view.run(lambda: view.text().count("think") == 3_000 and "end" in view.text())
    words = ["You", "edit", *["Hi"] * 6_000, "there", "Assistant", "▾", "Thinking", *["think"] * 3_000]
    assert view.text().split() == [*words, "python", "copy", *["x", "=", "1;"] * 2_600, "end"]
    assert max(map(len, view.text().split("\n"))) <= 16_000
    view.click("copy")
    assert view.clipboard() == f"{code}\nend\n"


def test_stop_and_retry(show: Callable[[ChatSession], View], server: LLMServer) -> None:
    """The connection closes; what has arrived stays until it is asked for once more."""
    server.enqueue(Reply("one two three", gate=Gate(1)), Reply("whole"))
    session = ChatSession(rxllm.create_streaming_model("openai", model="m", base_url=server.base_url()))
    view = show(session)
    view.type("Count")
    view.run(lambda: "one" in view.text())
    assert view.enabled() == (False, True, False)
    view.press("stop")
    assert server.wait_for_request().closed.wait(LIMIT_SECONDS)
    view.run(lambda: "■ stopped" in view.text() and view.enabled()[2])
    view.press("retry")
    view.run(lambda: "whole" in view.text())
    assert "stopped" not in view.text()


@pytest.mark.parametrize(("link", "result"), [("Allow", "sunny in Bonn"), ("Deny", "the user said no")])
def test_a_tool_waits_for_a_click(show: Callable[[ChatSession], View], link: str, result: str) -> None:
    """And its result is shown."""
    model = ScriptedModel(Reply(tool_calls=[ToolCall("c1", "weather", {"city": "Bonn"})]), "Done.")
    session = ChatSession(Assistant(model, tools=[FunctionTool(weather)], approve=ask_user))
    view = show(session)
    view.type("Weather?")
    view.run(lambda: "needs your approval" in view.text())
    view.click(link)
    view.run(lambda: "Done." in view.text())
    assert result in view.text()
    assert "Allow" not in view.text()


def test_huge_arguments_of_a_tool_are_shortened(show: Callable[[ChatSession], View]) -> None:
    """A megabyte in one paragraph would stop the window."""
    model = ScriptedModel(Reply(tool_calls=[ToolCall("c1", "weather", {"city": "x" * 1_000_000})]), "Done.")
    session = ChatSession(Assistant(model, tools=[FunctionTool(weather)], approve=ask_user))
    view = show(session)
    view.type("Weather?")
    view.run(lambda: "needs your approval" in view.text())
    assert "1,000,016 characters" in view.text()
    assert len(view.text()) < 10_000


def test_editing_a_message(show: Callable[[ChatSession], View]) -> None:
    """What followed it goes."""
    session = ChatSession(ScriptedModel("first answer", "second answer"))
    view = show(session)
    view.type("one")
    view.run(lambda: "first answer" in view.text() and view.enabled()[0])
    view.click("edit")
    view.type("two")
    view.run(lambda: "second answer" in view.text())
    assert "one" not in view.text()
    assert "first" not in view.text()


@pytest.mark.parametrize("by", ["escape", "delete"])
def test_the_edit_of_a_message_can_be_cancelled(show: Callable[[ChatSession], View], by: str) -> None:
    """What is typed then is a message of its own; Escape does not touch what one types without an edit."""
    session = ChatSession(ScriptedModel("first answer", "second answer", "third answer"))
    view = show(session)
    view.type("one")
    view.run(lambda: "first answer" in view.text() and view.enabled()[0])
    view.click("edit")
    assert view.typed() == "one"
    view.empty_input(by)
    assert view.typed() == ""
    view.type("two")
    view.run(lambda: "second answer" in view.text() and view.enabled()[0])
    assert [message.text for message in session.state.messages] == ["one", "first answer", "two", "second answer"]
    view.put("three")
    view.empty_input("escape")
    assert view.typed() == "three"


def test_an_error_is_shown(show: Callable[[ChatSession], View]) -> None:
    """Below what has come, as plain text."""
    session = ChatSession(ScriptedModel(rxllm.StreamError("no [b](x) **model**")))
    view = show(session)
    view.type("Hi")
    view.run(lambda: session.state.status == "error" and "⚠" in view.text())
    assert view.enabled() == (True, False, True)


def test_destroying_the_view_stops_the_answer(show: Callable[[ChatSession], View], server: LLMServer) -> None:
    """The session stays."""
    server.enqueue(Reply("one two three", gate=Gate(1)))
    session = ChatSession(rxllm.create_streaming_model("openai", model="m", base_url=server.base_url()))
    view = show(session)
    view.type("Count")
    view.run(lambda: "one" in view.text())
    view.destroy()
    if isinstance(view, QtView):
        view.run(server.wait_for_request().closed.is_set)
    assert server.wait_for_request().closed.wait(LIMIT_SECONDS)
    assert session.wait(LIMIT_SECONDS).messages[-1].status == "stopped"


def test_a_new_qt_window_is_ready_for_the_keyboard(display: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One can type at once, and paste a long text; the Tab key comes to the messages last."""
    view = QtView(ChatSession(ScriptedModel("Hello")), monkeypatch)
    view.view.activateWindow()
    view.run(lambda: view.view.isActiveWindow() and view.host.app.focusWidget() is not None)
    assert view.host.app.focusWidget() is view.view.input
    view.host.app.clipboard().setText("line\n" * 20_000)
    view.view.input.paste()
    assert len(view.view.input.text()) == 100_000
    order = [view.view.input]
    while order[-1].nextInFocusChain() is not view.view.input:
        order.append(order[-1].nextInFocusChain())
    names = [widget.accessibleName() for widget in order if widget.accessibleName()]
    assert names == ["Message", "Messages"]
    view.view.send_button.setFocus()
    view.view.send_button.click()
    assert view.host.app.focusWidget() is view.view.input
    view.run(lambda: "Hello" in view.text() and view.enabled()[0])
    assert view.host.app.focusWidget() is view.view.input
    view.destroy()


def test_a_qt_window_follows_the_palette_of_the_program(display: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the next change; what is shown already, too."""
    view = QtView(ChatSession(ScriptedModel("Hello", "Goodbye")), monkeypatch)

    def colors() -> set[str]:
        cursor, found = view.view.browser.document().find("edit"), set[str]()
        while not cursor.isNull():
            found.add(cursor.charFormat().foreground().color().name())
            cursor = view.view.browser.document().find("edit", cursor)
        return found

    view.type("one")
    view.run(lambda: "Hello" in view.text() and view.enabled()[0])
    assert colors() == {"#666666"}
    palette = view.view.palette()
    palette.setColor(palette.ColorRole.Base, view.host.core.Qt.GlobalColor.black)
    view.view.browser.setPalette(palette)
    view.type("two")
    view.run(lambda: "Goodbye" in view.text() and view.enabled()[0])
    words = "You edit one Assistant Hello You edit two Assistant Goodbye"
    assert " ".join(view.text().split()) == words
    assert colors() == {"#a0a0a0"}
    view.destroy()


def test_a_tk_window_can_be_used_by_the_keyboard(display: str) -> None:
    """Both Enter keys send; the messages take the focus, without which one can neither copy nor scroll."""
    host = TkHost()
    session = ChatSession(ScriptedModel("Hello"))
    view = tk.ChatView(host.root, session)
    view.pack()
    host.root.update()
    view.input.insert(0, "Hi")
    view.input.focus_force()
    view.input.event_generate("<KP_Enter>")
    assert session.wait(LIMIT_SECONDS).messages[0].text == "Hi"
    view.text.event_generate("<Button-1>", x=5, y=5)
    view.text.event_generate("<ButtonRelease-1>", x=5, y=5)
    host.root.update()
    assert host.root.focus_lastfor() is view.text
    assert view.text.tk_focusNext() is not None
    assert host.root.tk.call("tk::FocusOK", view.text) == 1
    host.close()


@pytest.mark.parametrize(("link", "result"), [("Allow", "sunny in Bonn"), ("Deny", "the user said no")])
def test_links_in_tk_can_be_reached_by_the_keyboard(
    display: str, monkeypatch: pytest.MonkeyPatch, link: str, result: str
) -> None:
    """Tab goes from link to link, Enter opens it, and after the last one Tab goes to the next widget."""
    model = ScriptedModel(Reply(tool_calls=[ToolCall("c1", "weather", {"city": "Bonn"})]), "Done.")
    session = ChatSession(Assistant(model, tools=[FunctionTool(weather)], approve=ask_user))
    view = TkView(session, monkeypatch)
    view.type("Weather?")
    view.run(lambda: "needs your approval" in view.text())
    text, selected = view.shown.text, list[str]()
    text.focus_force()
    view.host.root.update()
    for _ in range(3):
        text.event_generate("<Tab>")
        selected.append(text.get("sel.first", "sel.last"))
    assert selected == ["edit", "Allow", "Deny"]
    text.event_generate("<Tab>")
    view.host.root.update()
    assert not text.tag_ranges("sel")
    assert view.host.root.focus_lastfor() is text.tk_focusNext()
    text.focus_force()
    while not text.tag_ranges("sel") or text.get("sel.first", "sel.last") != link:
        text.event_generate("<Tab>")
    text.event_generate("<Return>")
    view.run(lambda: "Done." in view.text())
    assert result in view.text()
    view.destroy()


def test_the_rows_of_a_model(display: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are inserted, changed one by one, and removed; never reset."""
    host = QtHost(monkeypatch)
    session = ChatSession(ScriptedModel(*(Reply("one two three", reasoning="hm") for _ in range(2))))
    model: Any = qt.ChatModel(session)
    resets: list[int] = []
    model.modelReset.connect(lambda: resets.append(1))
    names = {bytes(name).decode(): role for role, name in model.roleNames().items()}

    def ready() -> bool:
        return model.rowCount() == 2 and model.data(model.index(1), names["status"]) == "done"

    for command in (lambda: session.send("Hi"), session.regenerate):
        command()
        host.until(lambda: ready() and session.state.status == "ready")
    rows = [[model.data(model.index(row), names[name]) for name in ("sender", "text", "reasoning")] for row in (0, 1)]
    assert rows == [["user", "Hi", ""], ["assistant", "one two three", "hm"]]
    session.clear()
    host.until(lambda: model.rowCount() == 0)
    assert resets == []
    host.close()


class TextualChat(App[None]):
    """An application that is one chat view."""

    def __init__(self, session: ChatSession) -> None:
        super().__init__()
        self.chat_session = session

    def compose(self) -> ComposeResult:
        yield ChatView(self.chat_session)


def test_textual() -> None:
    """The same in a terminal."""
    model = ScriptedModel(
        Reply(tool_calls=[ToolCall("c1", "weather", {"city": "Bonn"})]), "It is **sunny** \x1b]0;x\x07"
    )
    session = ChatSession(Assistant(model, tools=[FunctionTool(weather)], approve=ask_user))

    async def main() -> None:
        app = TextualChat(session)
        async with asyncio.timeout(LIMIT_SECONDS), app.run_test() as pilot:
            app.query_one(Input).focus()
            await pilot.press(*"Weather", "enter")
            while not app.query("Button.-success"):
                await pilot.pause(0.01)
            assert not app.query_one("#stop", Button).disabled
            while not await pilot.click("Button.-success"):  # it may not have its place yet
                await pilot.pause(0.01)
            while session.state.status != "ready" or not app.query(Markdown) or app.query_one("#send", Button).disabled:
                await pilot.pause(0.01)
            assert app.query_one(Markdown).source == "It is **sunny** ␛]0;x␇"
            cards = [str(widget.content) for widget in app.query(Static)]
            assert app.focused is app.query_one(Input)  # the button that was clicked has gone
            assert any('weather(city="Bonn")  ✓' in card and "sunny in Bonn" in card for card in cards), cards

    asyncio.run(main())
    session.close()


def test_a_text_is_pasted_whole_in_textual() -> None:
    """One can type at once; several lines stay several, and are shown on one."""

    async def main() -> None:
        app = TextualChat(session)
        async with asyncio.timeout(LIMIT_SECONDS), app.run_test() as pilot:
            await pilot.press("a", " ")
            app.query_one(Input).post_message(Paste("one\r\ntwo\rthree\n"))
            while "three" not in app.query_one(Input).value:
                await pilot.pause(0.01)
            shown = "".join(segment.text for segment in app.query_one(Input).render_line(0))
            assert shown.strip() == "a one⏎two⏎three"
            await pilot.press("enter")
            assert session.wait(LIMIT_SECONDS).messages[0].text == "a one\ntwo\nthree"

    session = ChatSession(ScriptedModel("Hello"))
    asyncio.run(main())
    session.close()


def test_textual_in_a_narrow_terminal() -> None:
    """All buttons are there, and one can still type."""

    async def main() -> None:
        app = TextualChat(session)
        async with app.run_test(size=(40, 15)):
            assert app.query_one(Input).region.width >= 12
            assert all(button.region.right <= 40 for button in app.query(Button))

    session = ChatSession(ScriptedModel("Hello"))
    asyncio.run(main())
    session.close()


def test_no_answer_is_shown_after_tk_has_gone(display: str) -> None:
    """A session may outlive its view."""
    root = tkinter.Tk()
    session = ChatSession(ScriptedModel("late"))
    view = tk.ChatView(root, session)
    view.destroy()
    session.send("Hi")
    assert session.wait(LIMIT_SECONDS).status == "ready"
    root.update()
    root.destroy()
    del root, view
    gc.collect()


def test_pygments_is_loaded_by_a_worker(show: Callable[[ChatSession], View], monkeypatch: pytest.MonkeyPatch) -> None:
    """The window does not wait for it; code gets its colours later, also in an answer that has ended."""
    pytest.importorskip("pygments")
    loading: list[threading.Thread] = []

    class Finder(MetaPathFinder):
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name.partition(".")[0] == "pygments":
                loading.append(threading.current_thread())

    for name in [name for name in list(sys.modules) if name.partition(".")[0] == "pygments"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    session = ChatSession(ScriptedModel("```javascript\nlet x = 1\n```\n\n```nonsense\nx\n```\n"))
    view = show(session)
    view.type("Code")
    view.run(lambda: session.state.status == "ready" and "let" in view.text() and view.coloured("let"))
    assert loading
    assert threading.current_thread() not in loading
