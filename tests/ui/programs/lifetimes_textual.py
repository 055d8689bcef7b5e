"""Things end while they are bound, in Textual: python lifetimes_textual.py CASE. Prints "end", and nothing else."""

import asyncio
import sys
from collections.abc import Awaitable, Callable

import reactivex
from reactivex import Observable
from reactivex import operators as rx
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.screen import ModalScreen
from textual.widgets import Button, Log, Markdown, Static, TextArea

import rxllm
from rxllm.assistant import Assistant, ChatSession, FunctionTool, ask_user
from rxllm.testing import Reply, ScriptedModel
from rxllm.ui import textual

Body = Callable[["Program", Pilot[None]], Awaitable[None]]


def words() -> Observable[str]:
    """Text without end, from another thread."""
    return reactivex.interval(0.001).pipe(rx.map(lambda n: f"{n} "))


class Program(App[None]):
    """Widgets of each kind."""

    def compose(self) -> ComposeResult:
        yield from (Markdown(), Log(), TextArea(), Static(), textual.StopButton(), Button("Send"))


class Dialog(ModalScreen[None]):
    """Binds when it is shown."""

    def compose(self) -> ComposeResult:
        yield Markdown()

    def on_mount(self) -> None:
        textual.bind_text(self.query_one(Markdown), words())


async def starts_and_stops(app: Program, pilot: Pilot[None]) -> None:
    """200 times, in each kind of widget."""
    kinds = (Markdown, Log, TextArea, Static)
    stop, send = app.query_one(textual.StopButton), app.query_one(Button)
    for number in range(200):
        answer = textual.bind_text(app.query_one(kinds[number % 4]), words())
        stop.connect_to(answer)
        textual.bind_enabled(send, answer.idle)
        if number % 10 == 0:
            await pilot.pause(0.01)
        answer.dispose()


async def removed(app: Program, pilot: Pilot[None]) -> None:
    """Widgets are removed at any moment."""
    for number in range(30):
        widget = (Markdown, Log, TextArea, Static)[number % 4]()
        await app.mount(widget)
        answer = textual.bind_text(widget, words())
        await pilot.pause(0.002 * (number % 5))
        await widget.remove()
        while not answer.stopped:
            await pilot.pause(0.01)


async def dialogs(app: Program, pilot: Pilot[None]) -> None:
    """A modal screen comes and goes; a stream below it goes on."""
    log = app.query_one(Log)
    textual.bind_text(log, words())
    for _ in range(10):
        await app.push_screen(Dialog())
        await pilot.pause(0.02)
        shown = len(log.lines[-1]) if log.lines else 0
        app.pop_screen()
        while not log.lines or len(log.lines[-1]) <= shown:
            await pilot.pause(0.01)


def weather(city: str) -> str:
    """Return the weather."""
    return f"sunny in {city}"


class Chat(App[None]):
    """A chat view, on the main screen or one above it."""

    def __init__(self, session: ChatSession, *, above: bool) -> None:
        super().__init__()
        self.view = textual.ChatView(session)
        self.above = above

    async def on_mount(self) -> None:
        if self.above:
            await self.push_screen(ModalScreen())
        await self.screen.mount(self.view)


async def chat_views(_: Program, __: Pilot[None]) -> None:
    """Views go while a chat is in any state, also while a tool waits; the session changes meanwhile."""
    for number in range(40):
        call = rxllm.ToolCall("c", "weather", {"city": "Bonn"})
        model = ScriptedModel(Reply("# May *I*?\n\n- a\n- b\n", tool_calls=[call]))
        session = ChatSession(Assistant(model, tools=[FunctionTool(weather)], approve=ask_user))
        app = Chat(session, above=number % 4 == 0)
        async with app.run_test() as pilot:
            session.send("Hi")
            await pilot.pause(0.01 * (number % 10))
            if number % 3:
                (session.close if number % 3 == 1 else session.clear)()
            if app.above:
                app.pop_screen()
            elif number % 4 == 1:
                app.view.remove()
            elif number % 4 == 2:
                app.exit()
        session.close()


CASES: dict[str, Body] = {
    "200 starts and stops": starts_and_stops,
    "removed": removed,
    "a dialog": dialogs,
    "chat views": chat_views,
}


async def main() -> None:
    app = Program()
    async with app.run_test() as pilot:
        await CASES[sys.argv[1]](app, pilot)
        endless = textual.bind_text(app.query_one(Log), words())  # and the program ends while a stream runs
        await pilot.pause(0.02)
    while not endless.stopped or endless._scheduler.streams.length:  # its end is announced soon after it has stopped
        await asyncio.sleep(0.01)
    print("end")


asyncio.run(main())
