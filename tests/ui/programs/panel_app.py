"""Panel's chat over an Observable: python panel_app.py. Prints what it shows in the end."""

import asyncio
import os
from collections.abc import AsyncIterator

import panel
import reactivex

import rxllm
from rxllm import operators as ops


async def growing(contents: str, user: str, interface: panel.chat.ChatFeed) -> AsyncIterator[str]:
    words = reactivex.of(*(rxllm.TextDelta(f"{number} ") for number in ("one", "two", "three")))
    async for so_far in rxllm.aio.events(words.pipe(ops.accumulate())):
        yield so_far


async def main() -> None:
    chat = panel.chat.ChatFeed(callback=growing)
    chat.send("Hi", respond=True)
    for _ in range(300):
        if "three" in str(chat.objects[-1].object):
            break
        await asyncio.sleep(0.1)
    print(chat.objects[-1].object, flush=True)


asyncio.run(main())
os._exit(0)
