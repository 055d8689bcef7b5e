"""What is Tk's own: Markdown in a text widget, and what closing windows leaves behind."""

from __future__ import annotations

import gc
import time
import tkinter
from collections.abc import Callable, Iterator
from tkinter import ttk
from tkinter.font import Font

import pytest
import reactivex
from reactivex import Observable
from reactivex.subject import Subject

import rxllm
from rxllm.assistant import ChatSession
from rxllm.testing import ScriptedModel
from rxllm.ui import tk
from rxllm.ui._binding import Binding

from .host_tk import TkHost
from .hosts import LIMIT_SECONDS, Stop
from .programs.run import run_program


@pytest.fixture
def host(display: str) -> Iterator[TkHost]:
    """Tk."""
    host = TkHost()
    yield host
    host.close()


def test_closing_the_window_ends_the_stream_in_silence(display: str) -> None:
    """The connection is closed, mainloop returns, and nothing is printed."""
    assert run_program("close_tk") == ("one True True", "")


class TestMarkdown:
    """Written with tags, block by block."""

    def test_tags(self, host: TkHost) -> None:
        """Each kind of text has its own."""
        text = self._shown(host, "# Title\n\nSome **bold** text.\n\n```\ncode\n```\n")
        assert text.get("1.0", "end-1c") == "Title\nSome bold text.\ncode"
        assert self._tagged(text, "rxllm_heading_1").strip() == "Title"
        assert self._tagged(text, "rxllm_text_0_bold") == "bold"
        assert self._tagged(text, "rxllm_code_0") == "code"

    def test_however_it_is_cut(self, host: TkHost) -> None:
        """The last block is written anew, the others stay."""
        source = "1. one\n2. *two*\n\n> quote\n\nlast"
        whole = self._shown(host, source).dump("1.0", "end", text=True, tag=True)
        assert self._shown(host, *source).dump("1.0", "end", text=True, tag=True) == whole

    def test_a_reset_voids_it(self, host: TkHost) -> None:
        """And what was in the widget before stays."""
        widget = tkinter.Text(host.root)
        widget.insert("end", "You: Hello")
        stream: Observable[rxllm.TokenEvent] = reactivex.of(
            rxllm.TextDelta("# A\n\nb"), rxllm.StreamReset("again"), rxllm.TextDelta("c")
        )
        host.run(lambda stop: tk.bind_markdown(widget, stream).running.subscribe(on_completed=stop))
        assert widget.get("1.0", "end-1c") == "You: Hello\nc"

    def _shown(self, host: TkHost, *pieces: str) -> tkinter.Text:
        widget = tkinter.Text(host.root)

        def body(stop: Stop) -> None:
            tk.bind_markdown(widget, reactivex.from_iterable(pieces)).running.subscribe(on_completed=stop)

        host.run(body)
        return widget

    def _tagged(self, widget: tkinter.Text, tag: str) -> str:
        ranges = widget.tag_ranges(tag)
        return "".join(widget.get(begin, end) for begin, end in zip(ranges[::2], ranges[1::2], strict=True))


def test_the_users_selection_and_cursor_stay(host: TkHost) -> None:
    """While text grows at the end, or is taken back."""
    widget = tkinter.Text(host.root)
    widget.insert("end", "some text ")
    widget.mark_set("insert", "1.2")
    widget.tag_add("sel", "1.0", "1.4")
    host.run(lambda stop: tk.bind_text(widget, reactivex.of("more")).running.subscribe(on_completed=stop))
    assert widget.index("insert") == "1.2"
    assert [str(index) for index in widget.tag_ranges("sel")] == ["1.0", "1.4"]
    assert widget.get("1.0", "end-1c") == "some text more"


class TestOthers:
    """A binding changes its own text and nothing else."""

    @pytest.fixture(params=["bind_text", "bind_markdown"])
    def bound(self, request: pytest.FixtureRequest, host: TkHost) -> Bound:
        """A Text with text, and streams that are fed by hand."""
        widget = tkinter.Text(host.root, width=40, height=10, wrap="word")
        widget.pack()
        widget.insert("end", "before\n")
        return Bound(host, widget, getattr(tk, request.param))

    def test_text_added_after_the_answer_stays_after_it(self, bound: Bound) -> None:
        """As a second question is; a second answer has its own place."""
        first, second = bound.stream(), bound.stream()
        bound.feed(first, "one")
        bound.feed(second, "SECOND")
        bound.widget.insert("end", "\nOTHERS")
        bound.feed(first, " two")
        bound.feed(second, " MORE")
        assert bound.text.replace("\n", "") == "beforeone twoSECOND MOREOTHERS"

    def test_a_reset_removes_its_own_text_only(self, bound: Bound) -> None:
        """What was added after it stays."""
        stream = bound.stream()
        bound.feed(stream, "gone\n\nalso gone")
        bound.widget.insert("end", "\nKEEP")
        stream.on_next(rxllm.StreamReset("again"))
        bound.until(lambda: "gone" not in bound.text)
        assert bound.text.split() == ["before", "KEEP"]

    def test_deleting_in_mid_stream(self, bound: Bound) -> None:
        """What was deleted does not come back."""
        stream = bound.stream()
        bound.feed(stream, "aaa\n\nbbb")
        bound.widget.delete("1.0", "end")
        bound.feed(stream, " ccc\n\nddd")
        bound.feed(stream, " eee")
        assert "aaa" not in bound.text
        assert bound.text.endswith("ddd eee")

    def test_undo_does_not_touch_the_answer(self, bound: Bound) -> None:
        """It takes back what the user typed before it; what was typed behind it cannot be undone while it grows."""
        bound.widget.configure(undo=True)
        bound.widget.insert("1.0", "typed ")
        stream = bound.stream()
        bound.feed(stream, "answer")
        bound.widget.edit_undo()
        assert bound.text.endswith("\nanswer")
        bound.widget.insert("end", " behind")
        bound.feed(stream, " goes on")
        with pytest.raises(tkinter.TclError, match="nothing to undo"):
            bound.widget.edit_undo()
        assert bound.text.endswith("answer goes on behind")

    def test_the_selection_inside_of_the_paragraph_under_way_stays(self, bound: Bound) -> None:
        """While it grows."""
        stream = bound.stream()
        bound.feed(stream, "A long paragraph that the user selects from")
        bound.widget.tag_add("sel", "2.2", "2.16")
        bound.feed(stream, " and **more**")
        assert bound.widget.get("sel.first", "sel.last") == "long paragraph"

    @pytest.mark.parametrize("change", ["narrow", "short", "zoom", "question"])
    def test_the_end_stays_in_view(self, bound: Bound, change: str) -> None:
        """When the layout changes and no one scrolls."""
        stream = bound.stream()
        words = "some words that wrap when the window is narrow " * 3 + "\n\n"
        bound.feed(stream, words * 20)
        bound.until(lambda: bound.widget.yview()[1] == 1.0)
        match change:
            case "narrow":
                bound.widget.configure(width=20)
            case "short":
                bound.widget.configure(height=4)
            case "zoom":
                bound.widget.configure(font=("TkDefaultFont", 20))
            case _:
                bound.widget.insert("end", "\n\nYou: " + words * 4)
        bound.host.root.update()
        bound.feed(stream, words)
        bound.until(lambda: bound.widget.dlineinfo("end-1c") is not None)
        bound.widget.yview_moveto(0)
        bound.feed(stream, words)
        assert bound.widget.yview()[0] == 0.0

    def test_the_view_stays_where_the_user_was_while_it_is_hidden(self, bound: Bound) -> None:
        """As in a tab behind another one."""
        stream = bound.stream()
        bound.feed(stream, "line\n\n" * 40)
        bound.until(lambda: bound.widget.yview()[1] == 1.0)
        bound.widget.yview_moveto(0.3)
        at = bound.widget.index("@0,0")
        bound.widget.pack_forget()
        bound.until(lambda: not bound.widget.winfo_viewable())
        bound.feed(stream, "line\n\n" * 40)
        bound.widget.pack()
        bound.until(lambda: bool(bound.widget.winfo_viewable()))
        bound.feed(stream, "line\n\n" * 40)
        assert bound.widget.index("@0,0") == at


class Bound:
    """A Text, and streams that are bound to it and fed by hand."""

    def __init__(
        self, host: TkHost, widget: tkinter.Text, bind: Callable[[tkinter.Text, Observable[rxllm.TokenEvent]], Binding]
    ) -> None:
        self.host = host
        self.widget = widget
        self.bind = bind

    @property
    def text(self) -> str:
        return self.widget.get("1.0", "end-1c")

    def stream(self) -> Subject[rxllm.TokenEvent]:
        stream: Subject[rxllm.TokenEvent] = Subject()
        self.bind(self.widget, stream)
        return stream

    def feed(self, stream: Subject[rxllm.TokenEvent], text: str) -> None:
        """Emit text, and wait until it is shown."""
        length = len(self.text)
        stream.on_next(rxllm.TextDelta(text))
        self.until(lambda: len(self.text) >= length + len(text.strip(" \n").replace("*", "")) // 2)
        done: list[int] = []
        self.host.scheduler.schedule_relative(0.05, lambda *_: done.append(1))
        self.until(lambda: bool(done))

    def until(self, condition: Callable[[], bool]) -> None:
        limit = time.monotonic() + LIMIT_SECONDS
        while not condition():
            assert time.monotonic() < limit, self.text
            self.host.root.after(5, self.host.root.quit)
            self.host.root.mainloop()


def test_links_and_control_characters(host: TkHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """A click opens safe addresses only; what Tcl cannot hold is shown as something else."""
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    widget = tkinter.Text(host.root)
    widget.pack()
    source = "[web](https://example.org/) [file](file:///etc/passwd) nul\x00 \ud83d esc\x1b"
    host.run(lambda stop: tk.bind_markdown(widget, reactivex.of(source)).running.subscribe(on_completed=stop))
    assert widget.get("1.0", "end-1c") == "web file nul␀ \ufffd esc␛"
    host.root.update()
    for column in (1, 5):
        box = widget.bbox(f"1.{column}")
        assert box is not None
        widget.event_generate("<Motion>", x=box[0] + 1, y=box[1] + 1)
        widget.event_generate("<Button-1>", x=box[0] + 1, y=box[1] + 1)
        widget.event_generate("<ButtonRelease-1>", x=box[0] + 1, y=box[1] + 1)
        host.root.update()
    assert opened == ["https://example.org/"]


@pytest.mark.parametrize(("paper", "ink"), [("#ffffff", "#000000"), ("#1e1e1e", "#e8e8e8")])
def test_code_and_quotes_can_be_read_on_any_paper(host: TkHost, paper: str, ink: str) -> None:
    """Their contrast is at least 4.5."""
    widget = tkinter.Text(host.root, bg=paper, fg=ink)
    source = "`inline` [link](https://example.org)\n\n> quoted\n\n```\nfenced\n```\n\n| cell |\n|---|\n"
    host.run(lambda stop: tk.bind_markdown(widget, reactivex.of(source)).running.subscribe(on_completed=stop))
    for word in ("inline", "link", "quoted", "fenced", "cell"):
        at = widget.search(word, "1.0")
        front, back = ink, paper
        for tag in widget.tag_names(at):
            front, back = widget.tag_cget(tag, "foreground") or front, widget.tag_cget(tag, "background") or back
        lights = sorted(_luminance(widget, color) for color in (front, back))
        assert (lights[1] + 0.05) / (lights[0] + 0.05) >= 4.5, word


def test_a_chat_follows_the_palette_of_the_program(host: TkHost) -> None:
    """All its widgets."""
    host.root.tk_setPalette(background="#202020", foreground="#e0e0e0")
    view = tk.ChatView(host.root, ChatSession(ScriptedModel("Hello")))
    for widget in (tk.StopButton(host.root), view.send_button, view.input, view.status, view.text):
        assert str(widget["background"]) == "#202020"
        assert str(widget["foreground"]) == "#e0e0e0"
    assert str(view["background"]) == "#202020"


def test_a_zoomed_font_zooms_the_answer(host: TkHost) -> None:
    """Headings, code and text that is shown already, in their proportions."""
    text_font = Font(host.root, family="TkTextFont", size=10)
    widget = tkinter.Text(host.root, font=text_font)
    widget.pack()
    source = reactivex.of("# One\n\n**two** `three`\n")
    host.run(lambda stop: tk.bind_markdown(widget, source).running.subscribe(on_completed=stop))

    def sizes() -> list[int]:
        tags = ("rxllm_heading_1", "rxllm_text_0", "rxllm_text_0_bold", "rxllm_text_0_code")
        return [Font(widget, font=widget.tag_cget(tag, "font")).actual()["size"] for tag in tags]

    assert sizes() == [17, 10, 10, 10]
    text_font.configure(size=20)

    def body(stop: Stop) -> None:
        def look() -> None:
            if sizes() == [34, 20, 20, 20]:
                stop()
            else:
                host.root.after(10, look)

        look()

    host.run(body)


def test_no_font_is_kept(host: TkHost) -> None:
    """Its finalizer would call Tk, and block there for ever, on the thread of a garbage collection."""
    widget = tkinter.Text(host.root)
    source = reactivex.of("# One\n\n**two** `three`\n")
    host.run(lambda stop: tk.bind_markdown(widget, source).running.subscribe(on_completed=stop))
    assert [found for found in gc.get_objects() if isinstance(found, Font)] == []
    fonts = (Font(widget, font=widget.tag_cget(tag, "font")) for tag in widget.tag_names() if tag.endswith("bold"))
    assert [font.actual()["weight"] for font in fonts] == ["bold"]


def test_there_is_a_gap_around_a_table(host: TkHost) -> None:
    """Above its first line and below its last; none within."""
    widget = tkinter.Text(host.root)
    source = ["```\ncode\n```\n| a |\n|---|\n| 1 |\n", "| 2 |\n\ntext"]
    host.run(
        lambda stop: tk.bind_markdown(widget, reactivex.from_iterable(source)).running.subscribe(on_completed=stop)
    )
    assert widget.get("1.0", "end-1c") == "code\na\n─\n1\n2\ntext"
    for tag, gap, line in (("rxllm_above", "spacing1", "2"), ("rxllm_below", "spacing3", "5")):
        assert int(widget.tag_cget(tag, gap)) > 0
        ranges = widget.tag_ranges(tag)
        assert {str(position).partition(".")[0] for position in ranges} == {line}


def _luminance(widget: tkinter.Text, color: str) -> float:
    parts = (value / 65535 for value in widget.winfo_rgb(color))
    linear = (v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in parts)
    return sum(weight * v for weight, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_widgets_that_show_no_text_are_refused(host: TkHost) -> None:
    """With their name."""
    with pytest.raises(TypeError, match="needs a Text; got Entry"):
        tk.bind_text(tkinter.Entry(host.root), reactivex.never())  # type: ignore[arg-type] # this is the test
    with pytest.raises(TypeError, match="needs a Text; got Label"):
        tk.bind_markdown(tkinter.Label(host.root), reactivex.never())  # type: ignore[arg-type] # this is the test


def test_a_read_only_box_stays_read_only(host: TkHost) -> None:
    """After it was disabled and enabled."""
    box = ttk.Combobox(host.root, state="readonly")
    enabled: Subject[bool] = Subject()
    tk.bind_enabled(box, enabled)
    enabled.on_next(False)
    assert str(box["state"]) == "disabled"
    enabled.on_next(True)
    assert str(box["state"]) == "readonly"
