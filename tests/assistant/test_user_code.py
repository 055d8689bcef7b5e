"""A turn always ends: whatever the user's code raises becomes a result or the turn's error."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

import pytest

import rxllm
from rxllm import Message, ToolCall, ToolResult
from rxllm._runtime.thread_cache import Workers
from rxllm.assistant import Assistant, Memory, MemoryStoreError, Summary, ToolLike
from rxllm.testing import Reply, ScriptedModel

from .turns import LIMIT, add, no_workers


class NoTextError(Exception):
    """An error whose message cannot be had."""

    def __str__(self) -> str:
        raise ValueError("no text")


class OwnError(BaseException):
    """Not an Exception."""


RAISED: list[Callable[[], BaseException]] = [
    lambda: asyncio.CancelledError("x"),
    KeyboardInterrupt,
    lambda: SystemExit(3),
    GeneratorExit,
    lambda: BaseExceptionGroup("g", [KeyboardInterrupt(), ValueError()]),
    NoTextError,
    OwnError,
    StopIteration,
]
each_error = pytest.mark.parametrize("raised", RAISED, ids=lambda raised: type(raised()).__name__)


def raising(raised: Callable[[], BaseException]) -> Callable[..., str]:
    """A function that raises."""

    def act(*_: object) -> str:
        raise raised()

    return act


def ended(work: Callable[[], object]) -> object:
    """What `work` returns or raises; it must end."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(work())
        except rxllm.LLMError as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(LIMIT)
    assert outcome, "the turn did not end"
    return outcome[0]


def results_sent(model: ScriptedModel) -> list[ToolResult]:
    return [part for message in model.calls[-1].messages for part in message.parts if isinstance(part, ToolResult)]


def turn_with(tool: ToolLike, name: str, approve: Callable[[ToolCall], bool] | None = None) -> ToolResult:
    """The result that the model is sent of a call."""
    arguments: dict[str, object] = {"a": 1, "b": 2} if name == "add" else {}
    model = ScriptedModel(Reply(tool_calls=[ToolCall("1", name, arguments)]), "done")
    response = ended(lambda: Assistant(model, tools=[tool], approve=approve).chat("?"))
    assert isinstance(response, rxllm.Response)
    assert response.text == "done"
    (result,) = results_sent(model)
    return result


@each_error
def test_a_tool_that_raises(raised: Callable[[], BaseException]) -> None:
    """The model reads it, and the turn goes on."""

    def act() -> str:
        raise raised()

    async def wait() -> str:
        await asyncio.sleep(0)
        raise raised()

    for tool, name in ((act, "act"), (wait, "wait")):
        result = turn_with(tool, name)
        assert result.is_error
        # A coroutine cannot raise StopIteration.
        assert type(raised()).__name__ in result.content or "RuntimeError: coroutine raised" in result.content


@each_error
def test_an_approval_that_raises_is_a_refusal(raised: Callable[[], BaseException]) -> None:
    """The tool does not run."""
    result = turn_with(add, "add", raising(raised))  # type: ignore[arg-type]  # it returns nothing
    assert result.is_error
    assert result.content.startswith("The user did not allow this call")


@each_error
def test_a_system_message_that_raises(raised: Callable[[], BaseException]) -> None:
    """The turn ends with an error that names the function."""
    error = ended(lambda: Assistant(ScriptedModel("x"), system=raising(raised)).chat("?"))
    assert isinstance(error, rxllm.ConfigurationError)
    assert "system=" in str(error)


class FailingStore:
    """A store of which one method fails."""

    def __init__(self, method: str, raised: Callable[[], BaseException]) -> None:
        self._method = method
        self._raised = raised

    def load(self, conversation: str, /) -> Sequence[Message]:
        self._call("load")
        return [Message.user("a"), Message.assistant("b")]

    def append(self, conversation: str, messages: Sequence[Message], /) -> None:
        self._call("append")

    def replace(self, conversation: str, old: Sequence[Message], new: Sequence[Message], /) -> bool:
        self._call("replace")
        return True

    def _call(self, method: str) -> None:
        if method == self._method:
            raise self._raised()


@each_error
@pytest.mark.parametrize("method", ["load", "append", "replace", "window"])
def test_a_memory_that_raises(method: str, raised: Callable[[], BaseException]) -> None:
    """The turn ends with a `MemoryStoreError`; its cause is the error. A summary that fails is not missed."""
    window = raising(raised) if method == "window" else None
    summary = Summary(ScriptedModel(default="short"), after=1, keep=0)
    memory = Memory(FailingStore(method, raised), window=window, summary=summary)  # type: ignore[arg-type]  # it returns nothing
    error = ended(lambda: Assistant(ScriptedModel("x"), memory=memory).chat("?"))
    if method == "replace":
        assert isinstance(error, rxllm.Response)
    else:
        assert isinstance(error, MemoryStoreError)
        assert isinstance(error.__cause__, type(raised()))


def test_a_turn_for_which_there_is_no_thread_ends_with_a_typed_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not with the bare RuntimeError."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Workers, "run", refuse)
    with pytest.raises(rxllm.StreamError, match="can't start new thread"):
        Assistant(ScriptedModel("never asked")).chat("?")


def test_async_tools_of_an_assistant_share_one_loop() -> None:
    """A queue that is made in one call serves the next ones, at the same time and later; no thread stays."""
    shared: list[asyncio.Queue[int]] = []

    async def take(number: int) -> str:
        if not shared:
            shared.append(asyncio.Queue())
            shared[0].put_nowait(0)
        await shared[0].get()
        await asyncio.sleep(0.001)
        shared[0].put_nowait(number)
        return "taken"

    calls = [ToolCall(str(number), "take", {"number": number}) for number in range(4)]
    model = ScriptedModel(Reply(tool_calls=calls), Reply(tool_calls=calls[:1]), "done")
    response = ended(lambda: Assistant(model, tools=[take]).chat("?"))
    assert isinstance(response, rxllm.Response)
    assert [result.content for result in results_sent(model)] == ["taken"] * 5
    assert no_workers()


def test_a_task_that_a_tool_leaves_behind_does_not_keep_the_loop() -> None:
    """Its end is the assistant's end: no warning of a task that was destroyed, and no thread."""
    seen: list[asyncio.Task[None]] = []

    async def leave() -> str:
        seen.append(asyncio.get_running_loop().create_task(asyncio.sleep(3600)))
        return "left"

    model = ScriptedModel(Reply(tool_calls=[ToolCall("1", "leave", {})]), "done")
    ended(lambda: Assistant(model, tools=[leave]).chat("?"))
    assert no_workers()
    gc.collect()
    assert seen[0].cancelled()


def test_a_program_that_ends_while_an_async_tool_runs_ends_quietly() -> None:
    """The tool's loop still runs then, on a daemon thread."""
    program = """
import asyncio, threading
from rxllm import ToolCall
from rxllm.assistant import Assistant
from rxllm.testing import Reply, ScriptedModel

runs = threading.Event()

async def wait() -> None:
    runs.set()
    await asyncio.sleep(3600)

assistant = Assistant(ScriptedModel(Reply(tool_calls=[ToolCall("1", "wait", {})])), tools=[wait])
assistant.stream("?").subscribe()
runs.wait()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT)
    assert (ended.returncode, ended.stderr) == (0, "")
