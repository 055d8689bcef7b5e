"""A conversation as observable state."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reactivex import Observable, abc
from reactivex.disposable import Disposable
from reactivex.scheduler import ImmediateScheduler
from reactivex.subject import Subject
from typing_extensions import Unpack

import rxllm
from rxllm.assistant import (
    Assistant,
    ChatMessage,
    ChatSession,
    ChatState,
    ErrorPart,
    FunctionTool,
    InMemoryStore,
    Memory,
    MemoryStore,
    SQLiteStore,
    ToolContext,
    ToolPart,
    ask_user,
    last_messages,
)
from rxllm.messages import Message, ReasoningPart, TextPart, ToolResult
from rxllm.options import CallOptions
from rxllm.prompt import Prompt, messages_of
from rxllm.testing import ErrorReply, Gate, LLMServer, Reply, ScriptedModel

LIMIT_SECONDS = 60.0


class ByHand(rxllm.StreamingModel):
    """A model whose answers are given event by event, on the thread of the test."""

    provider = "test"
    model = "by-hand"

    def __init__(self) -> None:
        self.prompts: list[tuple[Message, ...]] = []
        self.answers: list[Subject[rxllm.TokenEvent]] = []
        self.disposed: list[int] = []

    def stream(self, prompt: Prompt, **options: Unpack[CallOptions]) -> Observable[rxllm.TokenEvent]:
        def subscribe(
            observer: abc.ObserverBase[rxllm.TokenEvent], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            number = len(self.answers)
            self.prompts.append(tuple(messages_of(prompt)))
            answer: Subject[rxllm.TokenEvent] = Subject()
            self.answers.append(answer)
            subscription = answer.subscribe(observer)

            def dispose() -> None:
                subscription.dispose()
                self.disposed.append(number)

            return Disposable(dispose)

        return Observable(subscribe)

    def close(self) -> None:
        """Nothing to close."""


def until(condition: Callable[[], bool]) -> None:
    """Wait for another thread."""
    limit = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.002)


def asked(model: ByHand, number: int) -> Subject[rxllm.TokenEvent]:
    """The answer with this number, once it was asked for."""
    until(lambda: len(model.answers) > number)
    return model.answers[number]


@pytest.fixture
def server() -> Iterator[LLMServer]:
    """A scripted model server."""
    with LLMServer() as server:
        yield server


def model_of(server: LLMServer) -> rxllm.StreamingModel:
    """A model of that server."""
    return rxllm.create_streaming_model("openai", model="scripted", base_url=server.base_url(), max_retries=0)


class TestTurns:
    """Messages, status and errors."""

    def test_a_conversation(self) -> None:
        """Each question is sent with all that was said before."""
        model = ScriptedModel("One", "Two")
        session = ChatSession(model)
        statuses: list[str] = []
        session.status.subscribe(statuses.append)
        first = session.send("First")
        session.wait(LIMIT_SECONDS)
        session.send("Second")
        state = session.wait(LIMIT_SECONDS)
        assert [(m.role, m.text, m.status) for m in state.messages] == [
            ("user", "First", "done"),
            ("assistant", "One", "done"),
            ("user", "Second", "done"),
            ("assistant", "Two", "done"),
        ]
        assert state.messages[0].id == first
        assert len({m.id for m in state.messages}) == 4
        assert [m.text for m in model.calls[1].messages] == ["First", "One", "Second"]
        assert statuses[0] == "ready"
        assert statuses.count("submitted") == 2
        assert statuses[-1] == "ready"

    def test_text_is_emitted_once_per_frame_and_all_else_is_shared(self) -> None:
        """A list view updates one row."""
        model = ByHand()
        session = ChatSession(model, frame=3600)
        session.send("Hi")
        states: list[ChatState] = []
        session.states.subscribe(states.append)
        answer = asked(model, 0)
        for _ in range(1000):
            answer.on_next(rxllm.TextDelta("x"))
        until(lambda: states[-1].status == "streaming")
        assert len(states) == 2
        answer.on_next(rxllm.StreamEnd(rxllm.Response(text="x" * 1000)))
        answer.on_completed()
        until(lambda: states[-1].status == "ready")
        assert states[-1].messages[1].text == "x" * 1000
        assert all(state.messages[0] is states[0].messages[0] for state in states)

    def test_a_late_subscriber_gets_the_state(self) -> None:
        """At once."""
        session = ChatSession(ScriptedModel("Hello"))
        session.send("Hi")
        session.wait(LIMIT_SECONDS)
        seen: list[tuple[ChatMessage, ...]] = []
        session.messages.subscribe(seen.append)
        assert [m.text for m in seen[0]] == ["Hi", "Hello"]

    def test_stopping_keeps_what_has_arrived_and_closes_the_connection(self, server: LLMServer) -> None:
        """Marked as stopped; the next question is asked with it."""
        server.enqueue(Reply("one two three", gate=Gate(1)), Reply("next"))
        session = ChatSession(model_of(server))
        session.send("Count")
        until(lambda: session.state.status == "streaming")
        session.stop()
        assert session.state.status == "ready"
        assert [(m.text, m.status) for m in session.state.messages] == [("Count", "done"), ("one", "stopped")]
        assert server.wait_for_request().closed.wait(LIMIT_SECONDS)
        session.send("Go on")
        session.wait(LIMIT_SECONDS)
        sent = cast(Any, server.wait_for_request(2).json)["messages"]
        assert [m["content"] for m in sent] == ["Count", "one", "Go on"]

    def test_a_failure_and_another_try(self, server: LLMServer) -> None:
        """The error is data, and `regenerate` asks again without the failed answer."""
        server.enqueue(ErrorReply(400, "no"), Reply("fine"))
        session = ChatSession(model_of(server))
        question = session.send("Hi")
        state = session.wait(LIMIT_SECONDS)
        assert state.status == "error"
        assert isinstance(state.error, rxllm.LLMError)
        assert state.messages[1].status == "failed"
        assert isinstance(state.messages[1].parts[-1], ErrorPart)
        assert session.regenerate() == question
        state = session.wait(LIMIT_SECONDS)
        assert ([m.text for m in state.messages], state.status, state.error) == (["Hi", "fine"], "ready", None)

    def test_editing_drops_what_follows(self) -> None:
        """And asks anew."""
        model = ScriptedModel("one", "two", "three")
        session = ChatSession(model)
        first = session.send("a")
        session.wait(LIMIT_SECONDS)
        session.send("b")
        session.wait(LIMIT_SECONDS)
        assert session.edit("unknown", "x") == ""
        session.edit(first, "c")
        assert [m.text for m in session.wait(LIMIT_SECONDS).messages] == ["c", "three"]
        assert [m.text for m in model.calls[2].messages] == ["c"]

    def test_reasoning_resets_and_options_that_a_model_refuses(self) -> None:
        """Parts as they come; a reset voids them."""
        model = ByHand()
        session = ChatSession(model)
        session.send("Hi")
        answer = asked(model, 0)
        for event in (
            rxllm.TextDelta("void"),
            rxllm.StreamReset("again"),
            rxllm.ReasoningDelta("hm"),
            rxllm.TextDelta("yes"),
            rxllm.StreamEnd(rxllm.Response(text="yes", reasoning="hm")),
        ):
            answer.on_next(event)
        answer.on_completed()
        assert session.wait(LIMIT_SECONDS).messages[1].parts == (ReasoningPart("hm"), TextPart("yes"))

    def test_an_assistant_with_a_memory_of_its_own_is_an_error_of_the_turn(self) -> None:
        """Not of the thread that sends."""
        session = ChatSession(Assistant(ScriptedModel("x"), memory=Memory()))
        session.send("Hi")
        state = session.wait(LIMIT_SECONDS)
        assert isinstance(state.error, rxllm.ConfigurationError)

    def test_closing(self) -> None:
        """Stops the answer, completes the Observables, and nothing happens afterwards."""
        model = ByHand()
        session = ChatSession(model)
        session.send("Hi")
        asked(model, 0)
        ended: list[str] = []
        session.messages.subscribe(on_completed=lambda: ended.append("messages"))
        session.status.subscribe(on_completed=lambda: ended.append("status"))
        session.close()
        assert sorted(ended) == ["messages", "status"]
        until(lambda: model.disposed == [0])
        assert (session.send("x"), session.regenerate(), session.approve("y")) == ("", "", False)
        assert len(model.answers) == 1

    def test_the_last_state_comes_before_the_completion(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Also if another thread has just emitted all there was when the session is closed."""
        model = ByHand()
        session = ChatSession(model)
        session.send("Hi")
        asked(model, 0)
        emitter, found, closing = session._emitter, threading.Event(), threading.Event()
        next_state, on_next = emitter._next, emitter.states.on_next

        def slow() -> object:
            state = next_state()
            if threading.current_thread() is other and not isinstance(state, ChatState):
                found.set()
                assert closing.wait(LIMIT_SECONDS)
            return state

        def first_the_other(state: ChatState) -> None:
            closing.set()
            other.join(LIMIT_SECONDS)
            on_next(state)

        other = threading.Thread(target=emitter.emit)
        monkeypatch.setattr(emitter, "_next", slow)
        seen: list[ChatState | str] = []
        session.states.subscribe(seen.append, on_completed=lambda: seen.append("completed"))
        other.start()
        assert found.wait(LIMIT_SECONDS)
        monkeypatch.setattr(emitter.states, "on_next", first_the_other)
        session.close()
        last, end = seen[-2:]
        assert isinstance(last, ChatState)
        assert (last.status, end) == ("ready", "completed")

    def test_waiting_while_an_earlier_state_is_still_emitted(self) -> None:
        """By another thread, whose subscriber is slow: the answer that was asked for since then counts."""
        model, busy, proceed = ByHand(), threading.Event(), threading.Event()
        session = ChatSession(model)

        def slow(state: ChatState) -> None:
            if threading.current_thread() is other:
                busy.set()
                assert proceed.wait(LIMIT_SECONDS)

        other = threading.Thread(target=session.stop)
        session.states.subscribe(slow)
        session.send("one")
        asked(model, 0)
        other.start()
        try:
            assert busy.wait(LIMIT_SECONDS)
            session.send("two")
            with pytest.raises(TimeoutError):
                session.wait(0.01)
        finally:
            proceed.set()
            other.join(LIMIT_SECONDS)
        session.stop()
        assert session.wait(LIMIT_SECONDS).status == "ready"

    def test_a_subscriber_may_command(self) -> None:
        """Within its callback."""
        session = ChatSession(ScriptedModel("one", "two"))

        def again(state: ChatState) -> None:
            if state.status == "ready" and len(state.messages) == 2:
                session.send("again")

        session.states.subscribe(again)
        session.send("Hi")
        until(lambda: len(session.state.messages) == 4 and session.state.status == "ready")

    @pytest.mark.parametrize("error", [ValueError("no"), asyncio.CancelledError(), SystemExit()])
    def test_a_window_that_raises_is_a_failed_answer(self, error: BaseException) -> None:
        """`send` does not raise, the answer before is stopped, and its connection closes."""
        model, broken = ByHand(), False

        def window(messages: Sequence[Message]) -> Sequence[Message]:
            if broken:
                raise error
            return messages

        session = ChatSession(model, window=window)
        session.send("one")
        asked(model, 0)
        broken = True
        session.send("two")
        until(lambda: model.disposed == [0])
        assert ["done", "stopped", "done", "failed"] == [message.status for message in session.state.messages]
        assert "error" == session.state.status

    def test_a_window(self) -> None:
        """Chooses what is sent; all stays shown."""
        model = ScriptedModel("one", "two")
        session = ChatSession(model, window=last_messages(1))
        for text in "ab":
            session.send(text)
            session.wait(LIMIT_SECONDS)
        assert [m.text for m in model.calls[1].messages] == ["b"]
        assert len(session.state.messages) == 4


def weather(city: str) -> str:
    """Say the weather."""
    return f"sunny in {city}"


class TestTools:
    """Calls, approvals, results."""

    def _session(self) -> tuple[ChatSession, ScriptedModel]:
        call = rxllm.ToolCall("c1", "weather", {"city": "Bonn"})
        model = ScriptedModel(Reply(tool_calls=[call]), "Sunny.")
        return ChatSession(Assistant(model, tools=[FunctionTool(weather)], approve=ask_user)), model

    @pytest.mark.parametrize(
        ("yes", "state", "result"), [(True, "done", "sunny in Bonn"), (False, "refused", "not today")]
    )
    def test_a_call_waits_for_the_user(self, yes: bool, state: str, result: str) -> None:
        """Then it runs, or the model reads why not."""
        session, _ = self._session()
        session.send("Weather?")
        until(
            lambda: any(
                isinstance(p, ToolPart) and p.state == "waiting" for m in session.state.messages for p in m.parts
            )
        )
        assert not session.approve("c2")
        assert session.approve("c1", yes, "not today")
        message = session.wait(LIMIT_SECONDS).messages[1]
        part = message.parts[0]
        assert isinstance(part, ToolPart)
        assert (part.name, part.arguments, part.state) == ("weather", {"city": "Bonn"}, state)
        assert result in part.result
        assert message.text == "Sunny."
        assert not session.approve("c1")

    def test_a_call_is_decided_once(self) -> None:
        """As by a click and a second one before the screen has changed: only the first counts."""
        decisions: list[bool] = []

        def approve(call: rxllm.ToolCall) -> object:
            asked = ask_user(call)
            decisions.extend((session.approve("c1", False, "first"), session.approve("c1")))
            return asked

        model = ScriptedModel(Reply(tool_calls=[rxllm.ToolCall("c1", "weather", {"city": "Bonn"})]), "Sorry.")
        session = ChatSession(Assistant(model, tools=[weather], approve=approve))  # type: ignore[arg-type]  # ask_user's
        session.send("Weather?")
        part = session.wait(LIMIT_SECONDS).messages[1].parts[0]
        assert isinstance(part, ToolPart)
        assert (decisions, part.state) == ([True, False], "refused")
        assert part.result.endswith("first")

    def test_stopping_a_call_leaves_a_history_that_vendors_take(self) -> None:
        """Each call has a result."""
        session, model = self._session()
        session.send("Weather?")
        until(
            lambda: any(
                isinstance(p, ToolPart) and p.state == "waiting" for m in session.state.messages for p in m.parts
            )
        )
        session.stop()
        part = session.state.messages[1].parts[0]
        assert isinstance(part, ToolPart)
        assert part.state == "cancelled"
        session.send("Never mind")
        session.wait(LIMIT_SECONDS)
        sent = model.calls[1].messages
        assert [m.role for m in sent] == ["user", "assistant", "tool", "user"]
        assert isinstance(sent[2].parts[0], ToolResult)

    def test_progress_that_cannot_be_compared_is_shown(self) -> None:
        """As arrays of numpy, whose comparison has no truth value."""

        class Odd:
            def __eq__(self, other: object) -> bool:
                raise ValueError("ambiguous")

            __hash__ = None  # type: ignore[assignment]

        def work(context: ToolContext) -> str:
            context.report(Odd())
            context.report(Odd())
            return "done"

        model = ScriptedModel(Reply(tool_calls=[rxllm.ToolCall("c1", "work", {})]), "Well.")
        session = ChatSession(Assistant(model, tools=[work]), frame=0.001)
        session.send("Go")
        state = session.wait(LIMIT_SECONDS)
        part = state.messages[1].parts[0]
        assert isinstance(part, ToolPart)
        assert (part.state, state.status, state.messages[1].text) == ("done", "ready", "Well.")

    def test_outside_of_a_session_a_call_is_refused(self) -> None:
        """As no one can be asked."""
        assert ask_user(rxllm.ToolCall("c", "weather", {})) == "there is no user to ask"


class TestMemory:
    """Conversations that last."""

    def test_what_was_said_is_there_again(self) -> None:
        """Saved when the answer ends; another session loads it."""
        store = InMemoryStore()
        session = ChatSession(ScriptedModel("Hello"), memory=Memory(store), conversation="one")
        session.send("Hi")
        session.wait(LIMIT_SECONDS)
        until(lambda: len(store.load("one")) == 2)
        model = ScriptedModel("Again")
        other = ChatSession(model, memory=Memory(store), conversation="one")
        other.load()
        until(lambda: len(other.state.messages) == 2)
        assert [(m.role, m.text) for m in other.state.messages] == [("user", "Hi"), ("assistant", "Hello")]
        other.send("More")
        other.wait(LIMIT_SECONDS)
        assert [m.text for m in model.calls[0].messages] == ["Hi", "Hello", "More"]
        other.clear()
        until(lambda: len(store.load("one")) == 0)
        assert other.state.messages == ()

    def test_clear_counts_more_than_an_earlier_load(self) -> None:
        """However long the store takes."""
        reading, proceed = threading.Event(), threading.Event()

        class Slow(Memory):
            def messages(self, conversation: str = "") -> tuple[Message, ...]:
                found = super().messages(conversation)
                if not reading.is_set():
                    reading.set()
                    assert proceed.wait(LIMIT_SECONDS)
                return found

        class Threads(ImmediateScheduler):
            def schedule(self, action: Any, state: Any = None) -> abc.DisposableBase:
                threads.append(threading.Thread(target=action, args=(self, state)))
                threads[-1].start()
                return Disposable()

        memory, threads = Slow(), list[threading.Thread]()
        memory.add("", [Message.user("Hi")])
        session = ChatSession(ScriptedModel(), memory=memory, scheduler=Threads())
        session.load()
        assert reading.wait(LIMIT_SECONDS)
        session.clear()
        proceed.set()
        for thread in threads:
            thread.join(LIMIT_SECONDS)
        assert memory.messages() == session.state.messages == session.history == ()

    def test_half_a_surrogate_pair_of_a_keyboard_is_kept_as_a_mark(self) -> None:
        """No database takes it, and it would keep all that follows out of the memory too."""
        with SQLiteStore(":memory:") as store:
            session = ChatSession(ScriptedModel("Hello"), memory=Memory(store))
            session.send("Hi \ud83d")
            assert session.wait(LIMIT_SECONDS).messages[0].text == "Hi \ufffd"
            until(lambda: [message.text for message in store.load("")] == ["Hi \ufffd", "Hello"])

    @pytest.mark.parametrize("store", [InMemoryStore, lambda: SQLiteStore(":memory:")])
    def test_an_answer_that_was_broken_off_is_marked_as_such_when_it_is_loaded(
        self, server: LLMServer, store: Callable[[], MemoryStore], request: pytest.FixtureRequest
    ) -> None:
        """And the mark is not sent."""
        memory = Memory(kept := store())
        request.addfinalizer(getattr(kept, "close", lambda: None))
        model = ByHand()
        session = ChatSession(model, memory=memory)
        for number, end in enumerate((session.stop, lambda: model.answers[1].on_error(rxllm.StreamError("cut")))):
            session.send("Go on")
            asked(model, number).on_next(rxllm.TextDelta("a part"))
            until(lambda: session.state.status == "streaming")
            end()
        until(lambda: len(memory.messages()) == 4)
        other = ChatSession(model_of(server), memory=memory)
        other.load()
        until(lambda: len(other.state.messages) == 4)
        assert [m.status for m in other.state.messages] == ["done", "stopped", "done", "failed"]
        assert other.state.messages[1].text == "a part"
        assert isinstance(other.state.messages[3].parts[-1], ErrorPart)
        assert other.history == memory.messages()
        other.send("And now?")
        sent = cast(Any, server.wait_for_request().json)["messages"]
        assert sent[1] == {"role": "assistant", "content": "a part"}
        assert sent[3] == sent[1]
        other.close()

    def test_going_on_from_messages(self) -> None:
        """System messages are sent, not shown."""
        model = ScriptedModel("two")
        said = [Message.system("Be brief"), Message.user("a"), Message.assistant("one")]
        session = ChatSession(model, messages=said)
        assert [m.text for m in session.state.messages] == ["a", "one"]
        assert ChatSession(model, messages=[{"role": "user", "content": "a"}]).history == (Message.user("a"),)
        session.send("b")
        session.wait(LIMIT_SECONDS)
        assert [m.text for m in model.calls[0].messages] == ["Be brief", "a", "one", "b"]
        assert session.history == (*said, Message.user("b"), Message.assistant("two"))
        with pytest.raises(rxllm.ConfigurationError):
            session.edit(session.state.messages[0].id, 42)  # type: ignore[arg-type]
        assert len(session.state.messages) == 4

    @pytest.mark.parametrize("error", [OSError("disk full"), SystemExit("disk full")])
    def test_a_memory_that_fails(self, error: BaseException) -> None:
        """Is the session's error."""

        class Broken(InMemoryStore):
            def load(self, conversation: str, /) -> tuple[Message, ...]:
                raise error

        session = ChatSession(ScriptedModel("Hello"), memory=Memory(Broken()))
        session.load()
        until(lambda: session.state.status == "error")
        assert "disk full" in str(session.state.error)


COMMANDS = st.lists(
    st.tuples(
        st.sampled_from(
            ["send", "stop", "regenerate", "edit", "clear", "approve", "text", "end", "fail", "save", "close"]
        ),
        st.integers(0, 3),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(COMMANDS)
def test_any_sequence_of_commands_and_events(steps: list[tuple[str, int]]) -> None:
    """The table in the docstring holds: one answer at most runs, questions and answers alternate, nothing is lost."""
    model = ByHand()
    session = ChatSession(Assistant(model, scheduler=ImmediateScheduler()), frame=3600, memory=Memory())
    states: list[ChatState] = []
    completed = threading.Event()
    session.states.subscribe(states.append, on_completed=completed.set)
    closed = False
    for step, number in steps:
        before = session.state
        live = model.answers[-1] if before.status in ("submitted", "streaming") and not closed else None
        match step:
            case "send":
                assert (session.send(f"q{number}") == "") == closed
            case "edit":
                ids = [m.id for m in before.messages]
                session.edit(ids[number % len(ids)] if ids else "none", "edited")
            case "text" if live is not None:
                live.on_next(rxllm.TextDelta("t"))
            case "end" if live is not None:
                live.on_next(rxllm.StreamEnd(rxllm.Response(text="t")))
                live.on_completed()
            case "fail" if live is not None:
                live.on_error(rxllm.StreamError("broken"))
            case "stop" | "regenerate" | "clear" | "save" | "close":
                getattr(session, step)()
                closed = closed or step == "close"
            case "approve":
                assert not session.approve("none")
            case _:
                continue
        after = session.state
        expected = {
            "send": {"submitted"},
            "stop": {"error"} if before.status == "error" else {"ready"},
            "clear": {"ready"},
            "close": {"ready", "error"},
            "end": {"ready"},
            "fail": {"error"},
            "text": {"streaming"},
        }
        if step in expected and not (closed and step != "close"):
            assert after.status in expected[step], step
        roles = [m.role for m in after.messages]
        assert all(one != other for one, other in itertools.pairwise(roles)), roles
        assert roles[:1] in ([], ["user"])
        assert len({m.id for m in after.messages}) == len(roles)
        running = [m for m in after.messages if m.status == "streaming"]
        assert len(running) == (after.status in ("submitted", "streaming"))
        assert (after.error is not None) == (after.status == "error")
    session.close()
    assert completed.wait(LIMIT_SECONDS)
    assert sorted(model.disposed) == sorted(set(model.disposed))


def test_commands_from_many_threads() -> None:
    """None blocks, none raises, and the session is whole afterwards."""
    session = ChatSession(ScriptedModel(*["answer"] * 2000))
    errors: list[BaseException] = []

    def act() -> None:
        try:
            for number in range(40):
                (session.send if number % 3 else session.regenerate)(*(["q"] if number % 3 else []))
                if number % 5 == 0:
                    session.stop()
                if number % 17 == 0:
                    session.clear()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=act) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_SECONDS)
    session.send("last")
    state = session.wait(LIMIT_SECONDS)
    assert errors == []
    assert [m.text for m in state.messages[-2:]] == ["last", "answer"]
    session.close()
