"""Streams in a Textual app, driven by its pilot."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import reactivex
from reactivex import Observable, abc
from reactivex import operators as rx
from reactivex.subject import BehaviorSubject, Subject
from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.pilot import Pilot
from textual.widgets import Button, Input, Label, Log, Markdown, Static, TextArea
from textual.widgets._markdown import MarkdownParagraph

import rxllm
from rxllm.testing import Fail, Gate, LLMServer, Reply
from rxllm.ui._binding import Binding
from rxllm.ui.textual import StopButton, TextualScheduler, bind_each, bind_enabled, bind_text

from ..sinks.streams import Produced

LIMIT_SECONDS = 250.0

READ: dict[str, tuple[Callable[[], Any], Callable[[Any], str]]] = {
    "log": (Log, lambda widget: "\n".join(widget.lines)),
    "text-area": (lambda: TextArea(read_only=True), lambda widget: widget.text),
    "markdown": (Markdown, lambda widget: widget.source),
    "static": (Static, lambda widget: str(widget.content)),
    "label": (Label, lambda widget: str(widget.content)),
}


class Screen(App[None]):
    """A widget that shows text, and a button to stop it."""

    def __init__(self, kind: str = "static") -> None:
        super().__init__()
        make, self._read = READ[kind]
        self.shown = make()
        self.stop = StopButton(id="stop")

    def compose(self) -> ComposeResult:
        yield self.stop
        with VerticalScroll():
            yield self.shown

    @property
    def content(self) -> str:
        return self._read(self.shown)


@pytest.fixture(params=list(READ))
def app(request: pytest.FixtureRequest) -> Screen:
    """An app with each kind of widget in turn."""
    return Screen(request.param)


@pytest.fixture
def server() -> Iterator[LLMServer]:
    """A scripted model server."""
    with LLMServer() as server:
        yield server


def asking(server: LLMServer) -> Observable[rxllm.TokenEvent]:
    """A stream from the server."""
    model = rxllm.create_streaming_model("openai", model="scripted", base_url=server.base_url(), max_retries=0)
    return model.stream("Hi")


def run(app: App[None], body: Callable[[Pilot[None]], Awaitable[object]]) -> None:
    """Run the app, and `body` in it."""

    async def main() -> None:
        async with asyncio.timeout(LIMIT_SECONDS), app.run_test() as pilot:
            await body(pilot)

    asyncio.run(main())


async def over(binding: Binding) -> None:
    """Wait for the binding's end."""
    ended = asyncio.Event()
    binding.running.subscribe(on_completed=ended.set)
    await ended.wait()


async def until(pilot: Pilot[None], condition: Callable[[], bool]) -> None:
    """Let the app run until `condition` holds."""
    while not condition():
        await pilot.pause(0.005)


def test_a_models_answer_appears(app: Screen, server: LLMServer) -> None:
    """Whole, and the binding says when it runs and when it is over."""
    server.enqueue(Reply("All is well. [b]Truly[/b]."))
    running: list[bool] = []

    async def body(pilot: Pilot[None]) -> None:
        binding = bind_text(app.shown, asking(server))
        binding.running.subscribe(running.append)
        await over(binding)
        assert app.content == "All is well. [b]Truly[/b]."

    run(app, body)
    assert running == [True, False]


def test_a_flood_arrives_whole(app: Screen) -> None:
    """In order, from another thread."""
    pieces = [f"token {number}{' ' if number % 12 else chr(10) * 2}" for number in range(2_000)]

    async def body(pilot: Pilot[None]) -> None:
        await over(bind_text(app.shown, Produced(pieces).observable))
        assert app.content.rstrip() == "".join(pieces).rstrip()

    run(app, body)


def test_a_reset_takes_back_what_its_stream_has_added(app: Screen) -> None:
    """And what was there before stays."""

    async def body(pilot: Pilot[None]) -> None:
        await over(bind_text(app.shown, reactivex.of("first ")))
        events = rxllm.TextDelta("void"), rxllm.StreamReset("again"), rxllm.TextDelta("second")
        stream: Observable[rxllm.TokenEvent] = reactivex.of(*events)
        await over(bind_text(app.shown, stream))
        assert app.content == "first second"

    run(app, body)


def test_an_error_is_shown_where_the_user_looks(app: Screen, server: LLMServer) -> None:
    """Below what has come of the answer."""
    server.enqueue(Reply("Half an", fault=Fail(message="the model broke down")))

    async def body(pilot: Pilot[None]) -> None:
        await over(bind_text(app.shown, asking(server)))
        answer, *_, error = app.content.split("\n")
        assert answer == "Half an"
        assert error.startswith("⚠ ")
        assert "the model broke down" in error

    run(app, body)


def test_an_error_before_any_text_is_below_what_was_there(app: Screen) -> None:
    """On a line of its own."""

    async def body(pilot: Pilot[None]) -> None:
        await over(bind_text(app.shown, reactivex.of("Status:")))
        await over(bind_text(app.shown, reactivex.throw(ValueError("no answer"))))
        assert app.content.split("\n")[0] == "Status:"
        assert app.content.split("\n")[-1] == "⚠ no answer"

    run(app, body)


@pytest.mark.parametrize("app", ["markdown", "static"], indirect=True)
def test_short_text_stands_at_the_top(app: Screen) -> None:
    """Of the container that scrolls; again when a long text is taken back."""
    long: list[rxllm.TokenEvent | str] = [*(f"line {n}\n\n" for n in range(100)), rxllm.StreamReset("again"), "short"]

    async def body(pilot: Pilot[None]) -> None:
        box = app.query_one(VerticalScroll)
        for stream in (reactivex.of("short\n\n"), reactivex.from_iterable(long)):
            await over(bind_text(app.shown, stream))
            await until(pilot, lambda: "short" in app.content and app.shown.region.y == box.region.y)
            await until(pilot, lambda: box.scroll_offset.y == 0)

    run(app, body)


@pytest.mark.parametrize("app", ["log", "text-area", "markdown", "static"], indirect=True)
def test_the_view_follows_the_end_until_the_user_scrolls(app: Screen) -> None:
    """And then stays where the user is."""
    lines = "".join(f"line {number}\n\n" for number in range(100))

    async def body(pilot: Pilot[None]) -> None:
        scrolled = app.shown if isinstance(app.shown, Log | TextArea) else app.query_one(VerticalScroll)
        await over(bind_text(app.shown, reactivex.of(lines)))
        await until(pilot, lambda: scrolled.scroll_offset.y > 50 and scrolled.is_vertical_scroll_end)
        scrolled.release_anchor()  # as scrolling with the wheel does
        scrolled.scroll_to(y=3, animate=False)
        await until(pilot, lambda: scrolled.scroll_offset.y == 3)
        await over(bind_text(app.shown, reactivex.of(lines)))
        await pilot.pause()
        assert scrolled.scroll_offset.y == 3

    run(app, body)


class TestStopping:
    """Whatever ends a binding closes its connection at once. Each test begins with one word and a stall."""

    def test_the_stop_button(self, server: LLMServer) -> None:
        """It can be clicked while the stream runs; what has been shown stays."""
        app = Screen()

        async def act(pilot: Pilot[None], binding: Binding) -> None:
            app.stop.connect_to(binding)
            await until(pilot, lambda: not app.stop.disabled)
            await pilot.click("#stop")
            await over(binding)
            await until(pilot, lambda: app.stop.disabled)
            assert app.content == "one"

        self._run(app, server, act)

    def test_removing_the_widget(self, server: LLMServer) -> None:
        """As when a pane is closed."""
        app = Screen()

        async def act(pilot: Pilot[None], binding: Binding) -> None:
            await app.shown.remove()
            await over(binding)

        self._run(app, server, act)

    @pytest.mark.parametrize("what", ["the widget", "its parent"])
    def test_removing_the_widget_at_once(self, what: str) -> None:
        """Before anything of the binding has run."""
        app, stopped = Screen(), threading.Event()

        async def body(pilot: Pilot[None]) -> None:
            removal = (app.shown if what == "the widget" else app.query_one(VerticalScroll)).remove()
            binding = bind_text(app.shown, reactivex.never().pipe(rx.finally_action(stopped.set)))
            await removal
            await over(binding)

        run(app, body)
        assert stopped.is_set()

    def test_a_removed_widget(self, app: Screen) -> None:
        """Its binding makes no request and has ended."""

        def subscribe(observer: abc.ObserverBase[str], scheduler: object = None) -> abc.DisposableBase:
            raise AssertionError("a request")

        async def body(pilot: Pilot[None]) -> None:
            await app.shown.remove()
            await over(bind_text(app.shown, reactivex.create(subscribe)))
            await over(bind_enabled(app.shown, BehaviorSubject(True)))

        run(app, body)

    def test_leaving_the_app(self, server: LLMServer) -> None:
        """With the stream under way."""

        async def act(pilot: Pilot[None], binding: Binding) -> None:
            pilot.app.exit()

        self._run(Screen(), server, act)

    def _run(self, app: Screen, server: LLMServer, act: Callable[[Pilot[None], Binding], Awaitable[None]]) -> None:
        server.enqueue(Reply("one two three", gate=Gate(1)))

        async def body(pilot: Pilot[None]) -> None:
            binding = bind_text(app.shown, asking(server))
            await until(pilot, lambda: app.content != "")
            await act(pilot, binding)

        run(app, body)
        assert server.wait_for_request().closed.wait(LIMIT_SECONDS)


def test_a_button_that_is_not_wired_stops_nothing() -> None:
    """It is disabled, and pressing it by program is harmless."""
    app = Screen()

    async def body(pilot: Pilot[None]) -> None:
        assert app.stop.disabled
        app.stop.post_message(Button.Pressed(app.stop))
        await pilot.pause()

    run(app, body)


def test_widgets_are_enabled_as_told_from_any_thread() -> None:
    """And disabled where nobody knows."""
    app = Screen()

    async def body(pilot: Pilot[None]) -> None:
        wanted = BehaviorSubject(False)
        bind_enabled(app.shown, wanted)
        await until(pilot, lambda: app.shown.disabled)
        threading.Thread(target=wanted.on_next, args=(True,)).start()
        await until(pilot, lambda: not app.shown.disabled)
        wanted.on_error(ValueError("unknown"))
        await until(pilot, lambda: app.shown.disabled)

    run(app, body)


class TestScheduler:
    """Actions run in the app."""

    def test_widgets_can_be_made_in_an_action_of_any_thread(self) -> None:
        """As the app is known there."""
        app = Screen()

        async def body(pilot: Pilot[None]) -> None:
            scheduler = TextualScheduler(app)

            def mount(*_: object) -> None:
                app.mount(Label("made late", id="late"))

            threading.Thread(target=lambda: scheduler.schedule_relative(0.01, mount)).start()
            await until(pilot, lambda: bool(app.query("#late")))

        run(app, body)

    def test_what_an_action_raises_ends_the_app_as_any_handlers_error(self) -> None:
        """Textual's way with errors."""
        app = Screen()

        async def body(pilot: Pilot[None]) -> None:
            def fail(_: abc.SchedulerBase, __: object) -> None:
                raise ZeroDivisionError

            TextualScheduler(app).schedule(fail)
            await until(pilot, lambda: app._exception is not None)

        with pytest.raises(ZeroDivisionError):
            run(app, body)


def test_each_item_can_be_shown_in_the_programs_own_way() -> None:
    """In the app, in order; an error is for others to show."""
    app = Screen("label")
    seen: list[int] = []
    failing: Observable[int] = reactivex.concat(Produced([1, 2, 3]).observable, reactivex.throw(ValueError("no more")))

    async def body(pilot: Pilot[None]) -> None:
        await over(bind_each(app.shown, seen.append, failing))

    run(app, body)
    assert seen == [1, 2, 3]


def test_text_of_others_stays(app: Screen) -> None:
    """After the answer, when that goes on, and when it is taken back."""
    source: Subject[rxllm.TokenEvent] = Subject()

    def add(text: str) -> object:
        widget = app.shown
        if isinstance(widget, Markdown):
            return widget.append(text)
        if isinstance(widget, Log):
            return widget.write(text)
        if isinstance(widget, TextArea):
            return widget.insert(text, widget.document.end)
        return widget.update(str(widget.content) + text)

    async def body(pilot: Pilot[None]) -> None:
        bind_text(app.shown, source)
        source.on_next(rxllm.TextDelta("mine"))
        await until(pilot, lambda: app.content == "mine")
        await pilot.pause(0.05)
        add("\n\nOTHERS")
        await until(pilot, lambda: "OTHERS" in app.content)
        source.on_next(rxllm.TextDelta(" too"))
        await until(pilot, lambda: app.content == "mine too\n\nOTHERS")
        source.on_next(rxllm.StreamReset("again"))
        await until(pilot, lambda: "mine" not in app.content)
        assert "OTHERS" in app.content

    run(app, body)


def test_nothing_reaches_the_terminal(app: Screen) -> None:
    """Neither sequences that write the clipboard nor markup of Textual's."""

    async def body(pilot: Pilot[None]) -> None:
        await over(bind_text(app.shown, reactivex.of("a\x1b]52;c;eA==\x07 \x9d52 [/red] [@click=app.bell]x[/]")))
        assert app.content == "a␛]52;c;eA==␇ \ufffd52 [/red] [@click=app.bell]x[/]"

    run(app, body)


def _paragraphs(app: Screen) -> list[Content]:
    contents = [block.content for block in app.query(MarkdownParagraph)]
    return [content for content in contents if isinstance(content, Content)]


def test_only_safe_links_can_be_clicked() -> None:
    """Others are shown as they are, as is HTML."""
    app = Screen("markdown")
    source = "[web](https://example.org/) [file](/etc/passwd) [app](vscode://x) <b>Bold</b>\n\n<div>block</div>\n"

    async def body(pilot: Pilot[None]) -> None:
        await over(bind_text(app.shown, reactivex.of(source)))
        while len(app.query(MarkdownParagraph)) < 2:
            await pilot.pause(0.01)
        first, second = _paragraphs(app)
        assert first.plain == "web [file](/etc/passwd) [app](vscode://x) <b>Bold</b>"
        assert second.plain == "<div>block</div>"
        links = [(span.start, span.end) for span in first.spans if "link('https://example.org/')" in repr(span.style)]
        assert links == [(0, 3)]
        assert repr(first.spans).count("@click") == 1

    run(app, body)


def test_links_that_the_program_opens_itself_stay() -> None:
    """With ``open_links=False``."""
    app = Screen("markdown")
    app.shown = Markdown(open_links=False)

    async def body(pilot: Pilot[None]) -> None:
        await over(bind_text(app.shown, reactivex.of("[page](page.md)\n")))
        while not app.query(MarkdownParagraph):
            await pilot.pause(0.01)
        assert [content.plain for content in _paragraphs(app)] == ["page"]

    run(app, body)


def test_markup_in_each_item_is_text() -> None:
    """Where it goes to the label's own `update`."""
    app = Screen("label")

    async def body(pilot: Pilot[None]) -> None:
        await over(bind_each(app.shown, app.shown.update, reactivex.of("a [/red] \x1b")))
        assert app.content == "a [/red] ␛"

    run(app, body)


@pytest.mark.parametrize("app", ["markdown", "static"], indirect=True)
@pytest.mark.parametrize("late", ["shown", "lower"])
def test_the_end_is_in_view_however_late_the_layout_comes(app: Screen, late: str) -> None:
    """The text is whole when its container is shown, or when the window becomes lower than the text."""

    async def body(pilot: Pilot[None]) -> None:
        box = app.query_one(VerticalScroll)
        box.display = late != "shown"
        await over(bind_text(app.shown, reactivex.of("line\n\n" * 8)))
        box.display = True
        await pilot.resize_terminal(80, 6)
        await until(pilot, lambda: box.scroll_offset.y > 5 and box.is_vertical_scroll_end)
        await pilot.resize_terminal(80, 40)
        await until(pilot, lambda: not box.is_anchored and app.shown.region.y == box.region.y)

    run(app, body)


@pytest.mark.parametrize("app", ["markdown", "static"], indirect=True)
@pytest.mark.parametrize("key", ["pagedown", "down", "right"])
def test_a_key_that_leaves_the_end_in_view_lets_the_view_follow(app: Screen, key: str) -> None:
    """Textual itself lets the end go with any scrolling."""

    async def body(pilot: Pilot[None]) -> None:
        box = app.query_one(VerticalScroll)
        box.styles.overflow_x = "auto"
        app.shown.styles.width = 200
        stream = Subject[str]()
        bind_text(app.shown, stream)
        stream.on_next("line\n\n" * 40)
        await until(pilot, lambda: box.scroll_offset.y > 5 and box.is_vertical_scroll_end)
        box.focus()
        await pilot.press(key)
        if key == "right":
            await until(pilot, lambda: box.scroll_offset.x > 0)
            box.release_anchor()  # as a drag of the horizontal bar does
        at = box.scroll_offset.y
        stream.on_next("line\n\n" * 40)
        await until(pilot, lambda: box.scroll_offset.y > at + 40 and box.is_vertical_scroll_end)
        assert (box.scroll_offset.x > 0) == (key == "right")

    run(app, body)


@pytest.mark.parametrize("app", ["markdown", "static"], indirect=True)
def test_a_container_as_high_as_its_content_does_not_scroll(app: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the view follows the end in the one around it."""

    def compose(self: Screen) -> ComposeResult:
        with VerticalScroll(id="outer"), VerticalScroll() as inner:
            inner.styles.height = "auto"
            yield self.shown

    monkeypatch.setattr(Screen, "compose", compose)

    async def body(pilot: Pilot[None]) -> None:
        outer = app.query_one("#outer")
        await over(bind_text(app.shown, reactivex.of("line\n\n" * 40)))
        await until(pilot, lambda: outer.scroll_offset.y > 5 and outer.is_vertical_scroll_end)

    run(app, body)


@pytest.mark.parametrize("app", list(READ), indirect=True)
def test_a_widget_that_is_bound_before_it_is_mounted(app: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows all of it, after what it holds already, and the view follows the end."""
    lines = [f"line {number}\n\n" for number in range(100)]

    def compose(self: Screen) -> ComposeResult:
        bind_text(self.shown, reactivex.from_iterable(lines))
        with VerticalScroll():
            yield self.shown

    monkeypatch.setattr(Screen, "compose", compose)

    async def body(pilot: Pilot[None]) -> None:
        scrolled = app.shown if isinstance(app.shown, Log | TextArea) else app.query_one(VerticalScroll)
        await until(pilot, lambda: app.content.strip() == "".join(lines).strip())
        await until(pilot, lambda: scrolled.scroll_offset.y > 50 and scrolled.is_vertical_scroll_end)

    run(app, body)


def test_what_a_markdown_holds_before_it_is_mounted_stays() -> None:
    """The answer comes after it."""

    class Early(App[None]):
        def compose(self) -> ComposeResult:
            widget = Markdown("# Title\n\n")
            bind_text(widget, reactivex.of("early ", "text"))
            yield widget

    app = Early()

    async def body(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: app.query_one(Markdown).source == "# Title\n\nearly text")

    run(app, body)


def test_the_focus_comes_back() -> None:
    """To a line that was disabled while the answer came."""

    class Form(App[None]):
        def compose(self) -> ComposeResult:
            yield Input()
            yield Button("other")

    app = Form()
    enabled: Subject[bool] = Subject()

    async def body(pilot: Pilot[None]) -> None:
        line = app.query_one(Input)
        line.focus()
        await until(pilot, lambda: line.has_focus)
        bind_enabled(line, enabled)
        enabled.on_next(False)
        await until(pilot, lambda: not line.has_focus)
        enabled.on_next(True)
        await until(pilot, lambda: line.has_focus)

    run(app, body)


def test_a_widget_that_shows_no_text_is_refused() -> None:
    """With its name."""
    widget: Any = Button("x")
    with pytest.raises(TypeError, match="got Button"):
        bind_text(widget, reactivex.never())
