"""The region of a Tk text widget that one stream owns.

Text of others, the user's selection, insertion cursor and scroll position are not touched, nor is the undo stack; a
disabled (read-only) widget stays so.
"""

from __future__ import annotations

import itertools
import tkinter
import webbrowser
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from tkinter.font import Font
from typing import Any, Literal

from ._autoscroll import Autoscroll, ViewPosition
from ._markdown import COLORS, Paragraph, Run
from ._markdown_view import MarkdownRegion, table_lines

_numbers = itertools.count()

_HEADING_SCALES = (1.7, 1.4, 1.2, 1.1, 1.0, 1.0)
_INDENT = 20
"""Of an item in a list, in pixels."""

_SPACES: dict[str, dict[str, Any]] = {
    "text": {"spacing1": 3, "spacing3": 3},
    "heading": {"spacing1": 8, "spacing3": 4},
    "item": {"spacing1": 1, "spacing3": 1},
    "quote": {"lmargin1": _INDENT, "lmargin2": _INDENT, "spacing1": 3, "spacing3": 3},
    "rule": {"lmargin1": _INDENT, "spacing1": 3, "spacing3": 3},
    "code": {"lmargin1": 8, "lmargin2": 8, "wrap": "char"},
    "table": {"lmargin1": 8, "lmargin2": 8, "wrap": "none"},
}
"""Around paragraphs, in pixels: as much below as above, as code in a line has a background as high as the line."""

_GAP = 6
"""Above and below tables, and above code, in pixels."""


class TkRegion(MarkdownRegion):
    """A range of a Text between two marks, which move with the text."""

    after_marker = "  "

    def __init__(self, widget: tkinter.Text, open_link: Callable[[str], object] | None = None) -> None:
        """Begin an empty region at the end of a widget; `open_link` is called with the address of a clicked link."""
        self._open_link = open_link or webbrowser.open
        self._widget = widget
        name = f"rxllm_{next(_numbers)}"  # a hyphen would be taken for a minus in indices
        self._start, self._end = f"{name}_start", f"{name}_end"
        for mark in (self._start, self._end):
            widget.mark_set(mark, "end-1c")
        self.counts_utf16 = int(widget.tk.call("string", "length", "😀")) == 2
        self._looks = _looks_of(widget)
        self._autoscroll = self._looks.autoscroll

    @contextmanager
    def change(self) -> Generator[None]:
        """Make the widget editable, and keep the view at the end, or where the user has scrolled to."""
        widget = self._widget
        follows = self._autoscroll.follows()
        self._looks.follow_theme()
        state: Literal["normal", "disabled"] = "disabled" if str(widget["state"]) == "disabled" else "normal"
        undo = bool(widget["undo"])
        widget.configure(state="normal", undo=False)
        if undo and widget.compare(self._end, "<", "end-1c"):
            widget.edit_reset()  # the steps to undo hold positions, and those behind the region change
        if widget.compare(self._start, ">", self._end):  # an empty region, and others have inserted text here
            widget.mark_set(self._end, self._start)
        widget.mark_gravity(self._start, "left")
        widget.mark_gravity(self._end, "right")
        try:
            yield
        finally:
            # Text that others insert at an end of the region stays outside of it.
            widget.mark_gravity(self._start, "right")
            widget.mark_gravity(self._end, "left" if widget.compare(self._start, "<", self._end) else "right")
            widget.configure(state=state, undo=undo)
        if follows:
            self._autoscroll.layout_changed()

    def add(self, text: str) -> None:
        """Append plain text."""
        with self.change():
            self._write(self.wrapped(text), ())

    def reset(self) -> None:
        """Remove all of the region's text."""
        with self.change():
            self._widget.delete(self._start, self._end)
            self.written = self._column = 0

    def begin(self, paragraph: Paragraph, previous: Paragraph | None) -> None:
        """Begin a paragraph on a line of its own; `previous` is None for the first one of the region."""
        widget = self._widget
        if previous is not None:
            self._write("\n", (self._looks.tag(previous, ()),))
        else:
            if widget.compare(self._end, "!=", f"{self._end} linestart"):
                self._write("\n", ())
            if widget.compare(self._end, "!=", f"{self._end} lineend"):
                # Text of others follows on this line: move it to the next one, with a newline outside of the region.
                widget.mark_gravity(self._end, "left")
                widget.insert(self._end, "\n")
                widget.mark_gravity(self._end, "right")

    def insert(self, run: Run, paragraph: Paragraph) -> None:
        """Append text to the last paragraph."""
        tags = [self._looks.tag(paragraph, run.styles)]
        if run.link:
            tags.append(self._looks.link_tag(run.link, self._open_link))
        self._write(run.text, tuple(tags))

    def table(self, paragraph: Paragraph, previous: Paragraph | None) -> None:
        """Append a table as lines of fixed-width text."""
        self.begin(paragraph, previous)
        begin = self._widget.index(self._end)
        for run in table_lines(paragraph, previous):
            self.insert(run, paragraph)
        self._looks.space_around(begin, self._widget.index(self._end), continued=paragraph.level > 0)

    def remove_last(self, units: int) -> None:
        """Remove characters from the end, or all that is left of the region."""
        self.written -= units
        begin = self._widget.index(f"{self._end} - {units} chars")
        if self._widget.compare(begin, "<", self._start):
            begin = self._start
        self._widget.delete(begin, self._end)

    def _write(self, text: str, tags: tuple[str, ...]) -> None:
        self._widget.insert(self._end, text, tags)
        self.written += self.units(text)


class _Looks:
    """What all streams in a widget share: its autoscroll and its tags.

    The fonts of the tags come from its font, their colours from its paper and ink.
    """

    def __init__(self, widget: tkinter.Text) -> None:
        """Read the fonts of a widget; tags are made when they are needed."""
        self._widget = widget
        self.autoscroll = _new_autoscroll(widget, self.follow_theme)
        self._theme: tuple[str, ...] = ()
        self._tags: dict[str, tuple[str, int, tuple[str, ...]]] = {}
        self._links: dict[str, str] = {}
        self._clicks: dict[str, Callable[[], object]] = {}
        """What a click on a link does, by the name of its tag."""
        widget.bind("<Tab>", self._select_next_link, add="+")
        widget.bind("<Return>", self._open_selected_link, add="+")
        self.follow_theme()

    def follow_theme(self) -> None:
        """Give the tags the widget's font and colours that suit its own; if those have changed."""
        widget = self._widget
        fonts = (str(widget.tk.call("font", "actual", font)) for font in (widget["font"], "TkFixedFont"))
        theme = str(widget["background"]), str(widget["foreground"]), *fonts
        if theme != self._theme:
            self._theme = theme
            font = Font(widget, font=widget["font"]).actual()
            self._family, self._size = font["family"], font["size"]
            self._mono = Font(widget, font="TkFixedFont").actual()["family"]
            for name, (kind, level, styles) in self._tags.items():
                self._dress(name, kind, level, styles)
            for name in self._links.values():
                widget.tag_configure(name, foreground=COLORS["number"][self._dark()])

    def tag(self, paragraph: Paragraph, styles: tuple[str, ...]) -> str:
        """Return the tag of text of these styles in such a paragraph; made when it is first needed."""
        kind, level = paragraph.kind, paragraph.level
        name = "_".join(("rxllm", kind, str(level), *styles))
        if name not in self._tags:
            indent = _INDENT * (level + 1)
            space: dict[str, Any] = _SPACES[kind]
            if kind == "code" and not level:
                space = {"spacing1": _GAP, **space}
            if kind == "item":
                space = {"lmargin1": indent - 4, "lmargin2": indent + 12, **space}
            self._widget.tag_configure(name, **space)
            self._tags[name] = kind, level, styles
            self._dress(name, kind, level, styles)
            self._widget.tag_raise("sel")
        return name

    def link_tag(self, address: str, open_link: Callable[[str], object]) -> str:
        """Return the tag of a link; a click calls `open_link`."""
        if address not in self._links:
            self._links[address] = name = f"rxllm_link_{next(_numbers)}"
            widget = self._widget
            widget.tag_configure(name, underline=True, foreground=COLORS["number"][self._dark()])
            self._clicks[name] = partial(open_link, address)
            widget.tag_bind(name, "<Button-1>", lambda _: open_link(address))
            widget.tag_bind(name, "<Enter>", lambda _: widget.configure(cursor="hand2"))
            widget.tag_bind(name, "<Leave>", lambda _: widget.configure(cursor="xterm"))
        return self._links[address]

    def _select_next_link(self, _: object) -> str | None:
        """Select the link below the selection, or in view; leave the key to the window if there is none."""
        widget = self._widget
        if str(widget["state"]) != "disabled":  # the key is the editor's
            return None
        selection = widget.tag_ranges("sel")
        at = str(selection[-1]) if selection else "@0,0"
        found = [link for name in self._clicks if (link := widget.tag_nextrange(name, at))]
        widget.tag_remove("sel", "1.0", "end")
        if not found:
            return None
        begin, end = min(found, key=lambda link: [int(number) for number in link[0].split(".")])
        widget.tag_add("sel", begin, end)
        widget.see(begin)
        return "break"

    def _open_selected_link(self, _: object) -> str | None:
        """Do what a click on the selected link does."""
        widget = self._widget
        if str(widget["state"]) != "disabled" or not (selection := widget.tag_ranges("sel")):
            return None
        for name in widget.tag_names(selection[0]):
            if click := self._clicks.get(name):
                click()
                return "break"
        return None

    def space_around(self, begin: str, end: str, *, continued: bool) -> None:
        """Leave a gap above the line of one position, and below that of another; none inside a table that goes on."""
        edges = [(end, "rxllm_below", "spacing3"), (begin, "rxllm_above", "spacing1")]
        if continued:
            self._widget.tag_remove("rxllm_below", f"{begin} - 1 lines linestart", begin)
            edges.pop()
        for position, name, gap in edges:
            self._widget.tag_configure(name, {gap: _GAP})
            self._widget.tag_add(name, f"{position} linestart", f"{position} lineend")
            self._widget.tag_raise(name)

    def _dress(self, name: str, kind: str, level: int, styles: tuple[str, ...]) -> None:
        """Give a tag the font and the colours of its kind and styles, for the current theme."""
        size = round(self._size * (_HEADING_SCALES[level - 1] if kind == "heading" else 1))
        bold = kind == "heading" or "bold" in styles
        mono = kind in ("code", "table") or "code" in styles
        marks = {"bold": bold, "italic": "italic" in styles, "overstrike": "strike" in styles}
        # Not a Font: its finalizer calls Tk, and blocks for ever on the thread of a garbage collection.
        looks = [mark for mark, wanted in marks.items() if wanted]
        self._widget.tag_configure(name, font=(self._mono if mono else self._family, size, looks))
        if kind == "code" or "code" in styles:
            self._widget.tag_configure(name, background=self._paper())
        elif kind == "quote":
            self._widget.tag_configure(name, foreground=COLORS["faint"][self._dark()])
        for style in styles:
            if style in COLORS:
                self._widget.tag_configure(name, foreground=COLORS[style][self._dark()])

    def _dark(self) -> bool:
        return sum(self._widget.winfo_rgb(self._widget["background"])) < 3 * 0x8000

    def _paper(self) -> str:
        """Return the colour behind code: the paper with a little of the ink."""
        paper, ink = (self._widget.winfo_rgb(self._widget[name]) for name in ("background", "foreground"))
        return "#" + "".join(f"{round(a + (b - a) * 0.08) >> 8:02x}" for a, b in zip(paper, ink, strict=True))


_looks: dict[tkinter.Text, _Looks] = {}


def _looks_of(widget: tkinter.Text) -> _Looks:
    if widget not in _looks:
        _looks[widget] = _Looks(widget)
        widget.bind("<Destroy>", lambda _: _looks.pop(widget, None), add="+")
    return _looks[widget]


def _new_autoscroll(widget: tkinter.Text, follow_theme: Callable[[], None]) -> Autoscroll:
    """Return what keeps the end of a Text in view, and lets it follow a change of its font."""
    autoscroll = Autoscroll(partial(_position, widget), partial(widget.see, "end"))

    def changed(_: object) -> None:
        with suppress(tkinter.TclError):  # the widget is being destroyed
            follow_theme()
            autoscroll.layout_changed()

    widget.bind("<Configure>", lambda _: widget.after_idle(changed, None), add="+")
    widget.bind("<<WidgetViewSync>>", changed, add="+")
    return autoscroll


def _position(widget: tkinter.Text) -> ViewPosition | None:
    if widget.winfo_height() <= 1:  # it has not been laid out yet
        return None
    line, _, column = widget.index("@0,0").partition(".")
    return int(line) + int(column) * 1e-6, widget.dlineinfo("end-1c") is not None
