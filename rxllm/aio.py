"""asyncio: streams as async iterators and awaitables, and a scheduler for an event loop (also `rxllm.ui.asyncio`).

>>> import asyncio, reactivex
>>> async def collect() -> list[int]:
...     return [item async for item in events(reactivex.of(1, 2, 3))]
>>> asyncio.run(collect())
[1, 2, 3]
"""

from .ui.asyncio import AsyncIOScheduler, EventStream, events, last, response

__all__ = ["AsyncIOScheduler", "EventStream", "events", "last", "response"]
