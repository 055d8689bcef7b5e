"""Tools: schemas from functions, every way to run, failures told to the model, time limits, approval."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
import pydantic
import pytest
import reactivex as rx
from reactivex import Observable, Subject
from reactivex import operators as rx_ops
from reactivex.disposable import SerialDisposable
from reactivex.scheduler import ThreadPoolScheduler
from reactivex.scheduler.eventloop import AsyncIOThreadSafeScheduler

import rxllm
from rxllm import ImagePart, TextPart, Tool, ToolCall, ToolResult
from rxllm._runtime.thread_cache import Task, Workers
from rxllm.assistant import (
    ApprovalRequest,
    Assistant,
    AssistantEvent,
    FunctionTool,
    ToolContext,
    ToolEnd,
    ToolLike,
    ToolProgress,
    ToolStart,
    assistant_event_from_json,
    assistant_event_to_json,
)
from rxllm.assistant._await_value import AsyncioLoop
from rxllm.testing import Reply, ScriptedModel

from .turns import LIMIT, add, no_workers


@dataclass
class Place:
    """A parameter that is a dataclass."""

    city: str
    country: str = "Norway"


class Point(pydantic.BaseModel):
    """A parameter that is a pydantic model."""

    x: int


def turn_with(tool: ToolLike, arguments: dict[str, object] | None = None, **settings: object) -> list[AssistantEvent]:
    """The events of a turn in which the tool is called once."""
    name = getattr(tool, "__name__", None) or tool.tool.name  # type: ignore[union-attr]  # one or the other
    model = ScriptedModel(Reply(tool_calls=[ToolCall("1", name, arguments or {})]), "done")
    assistant = Assistant(model, tools=[tool], **settings)  # type: ignore[arg-type]  # any setting
    return list(rxllm.iter_events(assistant.stream("?")))


def tool_result(events: list[AssistantEvent]) -> ToolResult:
    (result,) = [event.result for event in events if isinstance(event, ToolEnd)]
    return result


def weather_in(city: str, unit: str) -> str:
    """Return the weather.

    Args:
        city: A city.
        unit: C or F.
    """
    return f"20 {unit} in {city}"


class TestSchemas:
    """What the model is told of a function."""

    def test_types_defaults_and_docstring(self) -> None:
        """Hints make the types, the docstring the descriptions, defaults what is optional."""

        # The model is told what there is of descriptions.
        def search(query: str, where: Place, how: Literal["fast", "deep"] = "fast", tags: list[str] = []) -> str:  # noqa: B006, D417  what users write
            """Search the archive.

            Slowly.

            Args:
                query: What to look for,
                    in words.
                how (str): How hard to look.

            Returns:
                What was found.
            """
            return f"{query} {where} {how} {tags}"

        tool = FunctionTool(search).tool
        assert ("search", "Search the archive.\n\nSlowly.") == (tool.name, tool.description)
        properties = tool.parameters["properties"]
        assert isinstance(properties, dict)
        assert {"description": "What to look for, in words.", "type": "string"} == properties["query"]
        assert {"description": "How hard to look.", "enum": ["deep", "fast"], "default": "fast"} == properties["how"]
        assert ["query", "where"] == tool.parameters["required"]
        assert isinstance(tool.parameters["$defs"], dict)
        assert "object" == tool.parameters["$defs"]["Place"]["type"]

    @pytest.mark.parametrize(
        "doc",
        [
            "Do.\n\n:param a: the first\n:param int b: the second\n:returns: it",
            "Do.\n\nParameters\n----------\na : int\n    the first\nb\n    the second\n\nReturns\n-------\nint",
            "Do.\n\nArgs:\n    a: the first\n    b (int): the second\nRaises:\n    b: never",
        ],
        ids=["sphinx", "numpy", "google"],
    )
    def test_docstring_styles(self, doc: str) -> None:
        """Three styles say the same."""

        def do(a: int, b: int) -> int:
            return a + b

        do.__doc__ = doc
        tool = FunctionTool(do).tool
        said = {name: field["description"] for name, field in tool.parameters["properties"].items()}  # type: ignore[attr-defined]  # JSON
        assert ("Do.", {"a": "the first", "b": "the second"}) == (tool.description, said)

    def test_methods_partials_and_callable_objects(self) -> None:
        """Whatever can be called and has hints."""

        class Counter:
            """Counts."""

            def __call__(self, by: int) -> int:
                return by

            def reset(self, to: int = 0) -> int:
                """Begin again."""
                return to

        partial = FunctionTool(functools.partial(add, b=2), name="add_two", description="Add two.")
        weather = FunctionTool(functools.partial(weather_in, unit="C"), name="weather").tool
        assert (weather.description, weather.parameters["properties"]) == (
            "Return the weather.",
            {"city": {"type": "string", "description": "A city."}},
        )
        tools = [FunctionTool(Counter()).tool, FunctionTool(Counter().reset).tool, partial.tool]
        assert [("Counter", "Counts."), ("reset", "Begin again."), ("add_two", "Add two.")] == [
            (tool.name, tool.description) for tool in tools
        ]

    def test_the_docstring_of_a_callable_object_is_its_own_or_that_of_its_call(self) -> None:
        """`functools.update_wrapper` gives an object the docstring of the function that it wraps."""

        class Bare:
            def __call__(self, by: int) -> int:
                """Count on.

                Args:
                    by: How far.
                """
                return by

        class Silent:
            def __call__(self, by: int) -> int:
                return by

        wrapper = Silent()
        functools.update_wrapper(wrapper, weather_in)
        tools = [FunctionTool(each).tool for each in (Bare(), Silent(), wrapper)]
        assert ["Count on.", "", "Return the weather."] == [tool.description for tool in tools]
        assert {"by": {"type": "integer", "description": "How far."}} == tools[0].parameters["properties"]

    def test_parameters_without_a_schema(self) -> None:
        """A missing hint, variadic parameters, and types that JSON cannot hold are named."""

        def bare(a) -> int:  # type: ignore[no-untyped-def]  # the point
            return 1

        def many(*a: int) -> int:
            return 1

        def odd(a: threading.Event) -> int:
            return 1

        for function, problem in ((lambda: 1, "lambda"), (bare, "'a'"), (many, "a: "), (odd, "odd")):
            with pytest.raises(rxllm.ConfigurationError, match=problem):
                FunctionTool(function)  # type: ignore[arg-type]  # the point

    def test_tools_are_known_apart(self) -> None:
        """Two of one name, and what cannot be run, are refused."""
        for tools in ([add, add], [Tool("t")], [{"name": "t"}], ["t"]):
            with pytest.raises(rxllm.ConfigurationError):
                Assistant(ScriptedModel(), tools=tools)  # type: ignore[arg-type]  # the point


class TestRunning:
    """Every way to give a result."""

    def test_arguments_are_converted(self) -> None:
        """To the types of the hints; numbers in quotes are numbers."""
        got: list[object] = []

        def go(place: Place, point: Point, count: Annotated[int, msgspec.Meta(ge=1)], /, *, name: str = "x") -> Place:
            got.extend((place, point, count, name))
            return Place("Bergen")

        events = turn_with(go, {"place": {"city": "Oslo"}, "point": {"x": 1}, "count": "3"})
        assert [Place("Oslo"), Point(x=1), 3, "x"] == got
        assert ToolResult("1", '{"city":"Bergen","country":"Norway"}', "go") == tool_result(events)

    @pytest.mark.parametrize("arguments", [{}, {"a": "one", "b": 1}, {"a": 1, "b": 1, "c": 1}])
    def test_invalid_arguments_are_told_to_the_model(self, arguments: dict[str, object]) -> None:
        """The function is not called, the turn goes on."""
        events = turn_with(add, arguments)
        assert tool_result(events).is_error
        assert tool_result(events).content.startswith("The arguments are not valid: ")
        assert isinstance(events[-1], rxllm.StreamEnd)

    def test_async_functions(self) -> None:
        """Awaited, on a loop of their own."""

        async def wait() -> dict[str, int]:
            await asyncio.sleep(0)
            return {"n": 1}

        assert '{"n":1}' == tool_result(turn_with(wait)).content

    @pytest.mark.parametrize("way", ["observable", "async generator"])
    def test_streams_tell_progress(self, way: str) -> None:
        """Each item is an event; the last is the result."""

        def load() -> Observable[int]:
            """Load."""
            return rx.of(10, 50, 100)

        async def load_slowly() -> AsyncIterator[int]:
            for percent in (10, 50, 100):
                await asyncio.sleep(0)
                yield percent

        tool: ToolLike = load if way == "observable" else load_slowly
        events = turn_with(tool)
        assert [10, 50, 100] == [event.value for event in events if isinstance(event, ToolProgress)]
        assert "100" == tool_result(events).content

    def test_text_parts_are_text(self) -> None:
        """Alone, in a list, and beside an image."""
        image = ImagePart(url="https://example.com/cat.png")

        def look(at: str) -> object:
            return {"part": TextPart("A cat."), "list": [TextPart("A"), "cat."], "image": [TextPart("A cat."), image]}[
                at
            ]

        results = [tool_result(turn_with(look, {"at": at})) for at in ("part", "list", "image")]
        assert ["A cat.", "A\ncat.", "A cat."] == [result.content for result in results]
        assert [(), (), (image,)] == [result.media for result in results]

    def test_another_assistant_is_a_tool(self) -> None:
        """A turn within a turn: its events are progress, its text the result."""
        expert = Assistant(ScriptedModel("Forty-two."))

        def ask_expert(question: str) -> Observable[AssistantEvent]:
            """Ask the expert."""
            return expert.stream(question)

        events = turn_with(ask_expert, {"question": "?"})
        assert "Forty-two." == tool_result(events).content
        values = [event.value for event in events if isinstance(event, ToolProgress)]
        assert "Forty-two." == "".join(value.text for value in values if isinstance(value, rxllm.TextDelta))

    def test_objects_with_a_definition(self) -> None:
        """`tool` and `run` are enough; a context tells of the call."""

        class Echo:
            tool = Tool("echo", "Says it back.")

            def run(self, arguments: Mapping[str, object], context: ToolContext) -> object:
                context.report("half")
                return f"{context.call.id} {context.conversation} {arguments}"

        events = turn_with(Echo(), {"x": 1})
        assert "1  {'x': 1}" == tool_result(events).content
        assert [ToolProgress("1", "echo", "half")] == [event for event in events if isinstance(event, ToolProgress)]

    @pytest.mark.parametrize("way", ["raises", "async", "observable", "generator", "exits"])
    def test_failures_are_told_to_the_model(self, way: str) -> None:
        """And seen as events; the turn goes on."""

        def raises() -> str:
            raise LookupError("no such thing")

        async def fails() -> str:
            raise LookupError("no such thing")

        def observable() -> Observable[str]:
            return rx.throw(LookupError("no such thing"))

        async def generator() -> AsyncIterator[str]:
            yield "half"
            raise LookupError("no such thing")

        def exits() -> str:
            raise SystemExit("no such thing")

        ways: list[ToolLike] = [raises, fails, observable, generator, exits]
        tool = ways[["raises", "async", "observable", "generator", "exits"].index(way)]
        events = turn_with(tool)
        error = "SystemExit" if way == "exits" else "LookupError"
        assert (True, f"{error}: no such thing") == (tool_result(events).is_error, tool_result(events).content)
        assert isinstance(events[-1], rxllm.StreamEnd)

    def test_an_unknown_tool(self) -> None:
        """The model is told which there are."""
        model = ScriptedModel(Reply(tool_calls=[ToolCall("1", "sub", {})]), "done")
        events = list(rxllm.iter_events(Assistant(model, tools=[add]).stream("?")))
        assert "There is no tool 'sub'. The tools are: add" == tool_result(events).content

    def test_on_a_scheduler_of_yours(self) -> None:
        """Tools run where you say."""
        pool = ThreadPoolScheduler(1)
        names: list[str] = []

        def where() -> str:
            names.append(threading.current_thread().name)
            return ""

        turn_with(where, scheduler=pool)
        pool.executor.shutdown()
        assert names[0].startswith("ThreadPoolExecutor")

    def test_on_a_loop_of_yours(self) -> None:
        """On an asyncio scheduler async tools are tasks of that loop."""
        loops: list[object] = []

        async def which() -> str:
            loops.append(asyncio.get_running_loop())
            return "here"

        async def main() -> str:
            loop = asyncio.get_running_loop()
            loops.append(loop)
            model = ScriptedModel(Reply(tool_calls=[ToolCall("1", "which", {})]), "done")
            assistant = Assistant(model, tools=[which], scheduler=AsyncIOThreadSafeScheduler(loop))
            return (await rxllm.aio.response(assistant.stream("?"))).text  # type: ignore[arg-type]  # a turn

        assert "done" == asyncio.run(main())
        assert loops[0] is loops[1]


class TestStopping:
    """Time limits and disposal reach what runs."""

    def test_a_timeout_is_told_to_the_model(self) -> None:
        """Each kind of tool is cancelled as far as it can be."""
        cancelled = [threading.Event() for _ in range(3)]

        def function(context: ToolContext) -> str:
            context.cancelled.wait(LIMIT)
            cancelled[0].set()
            return "late"

        async def coroutine() -> None:
            try:
                await asyncio.sleep(LIMIT)
            except asyncio.CancelledError:
                cancelled[1].set()
                raise

        def observable() -> Observable[object]:
            return rx.create(lambda observer, scheduler: cancelled[2].set)

        for tool in (function, coroutine, observable):
            result = tool_result(turn_with(tool, tool_timeout=0.05))
            assert (True, "The tool did not answer within 0.05 s.") == (result.is_error, result.content)
        assert all(event.wait(LIMIT) for event in cancelled)
        assert no_workers()

    def test_a_tool_has_a_limit_of_its_own(self) -> None:
        """It goes before the assistant's."""

        async def wait() -> None:
            await asyncio.sleep(LIMIT)

        result = tool_result(turn_with(FunctionTool(wait, timeout=0.01), tool_timeout=LIMIT))
        assert "within 0.01 s" in result.content

    @pytest.mark.parametrize("kind", ["coroutine", "observable"])
    def test_dispose_cancels_what_runs(self, kind: str) -> None:
        """A task is cancelled, a subscription disposed."""
        started, cancelled = threading.Event(), threading.Event()

        async def coroutine() -> None:
            started.set()
            try:
                await asyncio.sleep(LIMIT)
            finally:
                cancelled.set()

        def observable() -> Observable[object]:
            started.set()
            return rx.create(lambda observer, scheduler: cancelled.set)

        model = ScriptedModel(Reply(tool_calls=[ToolCall("1", kind, {})]))
        tools: list[ToolLike] = [coroutine, observable]
        subscription = Assistant(model, tools=tools).stream("?").subscribe()
        assert started.wait(LIMIT)
        subscription.dispose()
        assert no_workers()
        assert cancelled.wait(LIMIT)


class TestApproval:
    """A call waits until somebody allows it."""

    @pytest.mark.parametrize("kind", ["bool", "awaitable", "observable"])
    @pytest.mark.parametrize("allowed", [True, False])
    def test_answers(self, kind: str, allowed: bool) -> None:
        """Given at once, by an awaitable or an Observable."""

        async def later() -> bool:
            return allowed

        answers = {"bool": lambda: allowed, "awaitable": later, "observable": lambda: rx.of(allowed)}
        events = turn_with(add, {"a": 1, "b": 2}, approve=lambda call: answers[kind]())
        told = [type(event) for event in events if isinstance(event, ApprovalRequest | ToolStart | ToolEnd)]
        assert ([ApprovalRequest, ToolStart, ToolEnd] if allowed else [ApprovalRequest, ToolEnd]) == told
        assert ("3" if allowed else "The user did not allow this call.") == tool_result(events).content

    def test_a_user_interface_answers_when_it_likes(self) -> None:
        """From its own thread, which does not run the tool."""
        click: Subject[bool] = Subject()
        asked, done, threads = threading.Event(), threading.Event(), list[int]()

        def dangerous() -> str:
            threads.append(threading.get_ident())
            return "done"

        model = ScriptedModel(Reply(tool_calls=[ToolCall("1", "dangerous", {})]), "fine")

        def approve(call: ToolCall) -> Observable[bool]:
            return click.pipe(rx.operators.take(1))

        def on_next(event: AssistantEvent) -> None:
            if isinstance(event, ApprovalRequest):
                asked.set()

        Assistant(model, tools=[dangerous], approve=approve).stream("?").subscribe(on_next, on_completed=done.set)
        assert asked.wait(LIMIT)
        while not click.observers:
            """The approval is subscribed right after it is told."""
        click.on_next(True)
        assert done.wait(LIMIT)
        assert threading.get_ident() not in threads

    def test_dispose_while_a_call_waits(self) -> None:
        """Nothing is run."""
        click: Subject[bool] = Subject()
        asked = threading.Event()
        model = ScriptedModel(Reply(tool_calls=[ToolCall("1", "add", {"a": 1, "b": 2})]))
        turn = Assistant(model, tools=[add], approve=lambda call: click).stream("?")
        subscription = turn.subscribe(lambda event: asked.set() if isinstance(event, ApprovalRequest) else None)
        assert asked.wait(LIMIT)
        subscription.dispose()
        assert no_workers()
        assert [] == click.observers

    def test_the_contextvars_are_the_subscribers(self) -> None:
        """Whatever thread the model answers on, or the user: the tool sees what the subscriber set."""
        name = contextvars.ContextVar("name", default="nobody")
        name.set("Ada")

        def whoami() -> str:
            return name.get()

        def answer_elsewhere(_: ToolCall) -> Observable[bool]:
            return rx.timer(0.0, scheduler=ThreadPoolScheduler(1)).pipe(rx_ops.map(lambda _: True))

        assert "Ada" == tool_result(turn_with(whoami)).content
        assert "Ada" == tool_result(turn_with(whoami, approve=answer_elsewhere)).content

    def test_tools_that_need_none(self) -> None:
        """approve=False runs at once; approve=True without an approve= is refused."""
        events = turn_with(FunctionTool(add, approve=False), {"a": 1, "b": 2}, approve=lambda call: False)
        assert "3" == tool_result(events).content
        with pytest.raises(rxllm.ConfigurationError, match="approve="):
            Assistant(ScriptedModel(), tools=[FunctionTool(add, approve=True)])

    def test_an_approval_that_fails_is_a_refusal(self) -> None:
        """The model is told; nothing is run."""
        events = turn_with(add, {"a": 1, "b": 2}, approve=lambda call: bool(1 / 0))
        assert "the approval failed (ZeroDivisionError" in tool_result(events).content
        assert [event.refused for event in events if isinstance(event, ToolEnd)] == [True]


def test_events_go_to_json_and_back() -> None:
    """Every event of a turn with a tool."""
    for event in turn_with(add, {"a": 1, "b": 2}, approve=lambda call: True):
        assert event == assistant_event_from_json(assistant_event_to_json(event))


def test_an_async_tool_runs_after_one_that_had_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop that all of them share starts with the next one."""

    async def value(number: int) -> int:
        return number

    def refuse(self: Workers, name: str, task: Task) -> None:
        raise RuntimeError("can't start new thread")

    loop = AsyncioLoop()
    with monkeypatch.context() as patch:
        patch.setattr(Workers, "run", refuse)
        with pytest.raises(RuntimeError):
            loop.wait_for(value(1), SerialDisposable())
    found: list[object] = []
    waiting = threading.Thread(target=lambda: found.append(loop.wait_for(value(2), SerialDisposable())), daemon=True)
    waiting.start()
    waiting.join(LIMIT)
    assert found == [2]
