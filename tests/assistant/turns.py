"""What the tests of turns share: a turn of two steps, and what a turn must leave behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import rxllm
from rxllm import Message, ToolCall
from rxllm.assistant import AssistantEvent
from rxllm.testing import LLMServer, Reply

from .. import threads_before

LIMIT = 60.0
PROVIDERS = ["openai", "openai-responses", "anthropic", "gemini", "ollama"]
CALLS = [ToolCall("call_1", "add", {"a": 1, "b": 2}), ToolCall("call_2", "weather", {"city": "Oslo"})]


def model_on(server: LLMServer, provider: str = "openai") -> rxllm.StreamingModel:
    return rxllm.create_streaming_model(provider, model="m", api_key="k", base_url=server.base_url(provider))


def two_steps() -> list[Reply]:
    """A step that calls two tools, and one that answers."""
    return [Reply("Let me see.", reasoning="Two tools.", tool_calls=CALLS), Reply("It is 3, and sunny.")]


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def kinds(events: Sequence[AssistantEvent]) -> list[str]:
    """The names of the events' classes, runs of one kind as one."""
    names = [type(event).__name__ for event in events]
    return [name for at, name in enumerate(names) if at == 0 or names[at - 1] != name]


def no_workers() -> bool:
    """Whether the threads of all turns end or are free, those that others of them still start included."""
    deadline = time.monotonic() + LIMIT
    while (waiting := _workers()) and time.monotonic() < deadline:
        waiting[0].join(0.002)  # one that is free has another name, and stays for a moment
    return not waiting


def _workers() -> list[threading.Thread]:
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("rxllm-")]
    return [thread for thread in threads if thread.name not in {"rxllm-watchdog", "rxllm-idle", *threads_before.names}]


def is_consistent(messages: Sequence[Message]) -> bool:
    """Whether each call is followed by its result, and each result follows its call."""
    waiting: list[str] = []
    for message in messages:
        results = [part.id for part in message.parts if isinstance(part, rxllm.ToolResult)]
        if results != waiting:
            return False
        waiting = [call.id for call in message.tool_calls]
    return not waiting
