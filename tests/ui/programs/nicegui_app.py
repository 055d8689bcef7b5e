"""A stream on NiceGUI's loop: python nicegui_app.py. Prints whether other tasks ran between its pieces."""

import asyncio
import os
import threading

import reactivex
from nicegui import app, ui

import rxllm

source: reactivex.Subject[rxllm.TokenEvent] = reactivex.Subject()
turns = 0


async def others() -> None:
    global turns
    while True:
        turns += 1
        await asyncio.sleep(0.001)


def produce() -> None:
    """The next piece comes once the loop has had ten turns; were it blocked, none would come."""
    for number in ("one", "two", "three"):
        limit, seen = threading.Event(), turns
        while turns < seen + 10 and not limit.wait(0.005):
            """The loop turns."""
        source.on_next(rxllm.TextDelta(number))
    source.on_completed()


async def go() -> None:
    background = asyncio.create_task(others())
    pieces = rxllm.aio.events(source)
    threading.Thread(target=produce, daemon=True).start()
    print(" ".join([event.text async for event in pieces if isinstance(event, rxllm.TextDelta)]), flush=True)
    background.cancel()
    os._exit(0)


app.on_startup(go)
ui.run(port=int(os.environ["PORT"]), show=False, reload=False, show_welcome_message=False)
