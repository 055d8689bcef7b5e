"""What is Tk's own: Markdown in a text widget, and what closing windows leaves behind."""

from __future__ import annotations

import tkinter
from collections.abc import Iterator

import pytest
import reactivex
from reactivex import Observable

import rxllm
from rxllm.ui import tk

from .host_tk import TkHost
from .hosts import Stop
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
