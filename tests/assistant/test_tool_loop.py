"""A turn with tools on every protocol: one stream, stopped anywhere, leaving nothing behind."""

from __future__ import annotations

import threading
from typing import NamedTuple

import pytest
import reactivex as rx
from reactivex import operators as rx_ops

import rxllm
from rxllm import Message, StreamEnd, TextDelta, ToolCall, Usage
from rxllm import operators as ops
from rxllm.assistant import (
    ApprovalRequest,
    Assistant,
    AssistantEvent,
    MaxIterationsError,
    Memory,
    StepEnd,
    StepStart,
    ToolContext,
    ToolEnd,
    ToolStart,
    token_events,
)
from rxllm.assistant._tool_run import ToolRun
from rxllm.testing import Drop, ErrorReply, Gate, Hang, LLMServer, Reply, ScriptedCall, ScriptedModel

from .turns import CALLS, LIMIT, PROVIDERS, add, is_consistent, kinds, model_on, no_workers, two_steps, weather


@pytest.mark.parametrize("provider", PROVIDERS)
class TestEveryProtocol:
    """The same turn, whatever the provider."""

    def test_two_steps_with_tools_are_one_stream(self, provider: str) -> None:
        """Reasoning, text, calls, results and the next step come as they happen; one StreamEnd has it all."""
        memory = Memory()
        with LLMServer(*two_steps()) as server, model_on(server, provider) as model:
            assistant = Assistant(model, system="Be brief.", tools=[add, weather], memory=memory)
            events = list(rxllm.iter_events(assistant.stream("1 + 2, and the weather?")))
            second = server.requests[1].json
        steps = [event for event in events if isinstance(event, StepStart | StepEnd)]
        assert ["StepStart", "StepEnd", "StepStart", "StepEnd"] == [type(step).__name__ for step in steps]
        ends = {event.call.name: event.result for event in events if isinstance(event, ToolEnd)}
        assert {"add": "3", "weather": "sunny in Oslo"} == {name: result.content for name, result in ends.items()}
        assert [StreamEnd] == [type(event) for event in events if isinstance(event, StreamEnd)]
        final = events[-1]
        assert isinstance(final, StreamEnd)
        assert "It is 3, and sunny." == final.response.text
        answers = [event.response for event in events if isinstance(event, StepEnd)]
        assert sum(answer.usage.output_tokens or 0 for answer in answers) == final.response.usage.output_tokens
        roles = ["user", "assistant", "tool", "assistant"]
        assert roles == [message.role for message in memory.messages()]
        assert is_consistent(memory.messages())
        assert "sunny in Oslo" in str(second)

    def test_the_next_turn_continues_the_conversation(self, provider: str) -> None:
        """What was kept is sent again, calls, results and reasoning included, and understood."""
        with LLMServer(*two_steps(), "You asked for a sum.") as server, model_on(server, provider) as model:
            assistant = Assistant(model, tools=[add, weather], memory=Memory())
            assistant.chat("1 + 2, and the weather?")
            assert "You asked for a sum." == assistant.chat("What did I ask?").text
            third = str(server.requests[2].json)
        assert all(text in third for text in ("1 + 2", "sunny in Oslo", "It is 3", "What did I ask?"))

    @pytest.mark.parametrize("by_another", [False, True], ids=["by the subscriber", "by another thread"])
    @pytest.mark.parametrize("keep_partial", [False, True], ids=["drop", "keep"])
    def test_dispose_at_every_event(self, provider: str, keep_partial: bool, by_another: bool) -> None:
        """Wherever a turn is stopped: nothing comes after, no thread or connection stays, the memory is whole."""
        whole = _turn_disposed_at(None, provider, keep_partial, by_another)
        for index in range(len(whole.seen)):
            turn = _turn_disposed_at(index, provider, keep_partial, by_another)
            assert index + 1 == len(turn.seen)
            assert is_consistent(turn.kept)
            if isinstance(turn.seen[-1], StreamEnd):
                assert len(whole.kept) == len(turn.kept)
            elif not keep_partial:
                assert () == turn.kept


class _Disposed(NamedTuple):
    seen: list[AssistantEvent]
    kept: tuple[Message, ...]


def _turn_disposed_at(index: int | None, provider: str, keep_partial: bool, by_another: bool) -> _Disposed:
    """What came of the turn, and what the memory holds after it; no thread and no connection stays."""
    memory = Memory()
    with LLMServer(*two_steps()) as server, model_on(server, provider) as model:
        turn = Assistant(model, tools=[add, weather], memory=memory, keep_partial=keep_partial).stream("?")
        seen = list(rxllm.iter_events(turn)) if index is None else _disposed_at(index, turn, by_another)
        assert no_workers()
        model.close()
        assert all(request.closed.wait(LIMIT) for request in server.requests[-1:])
    return _Disposed(seen, memory.messages())


def _disposed_at(index: int, turn: rx.Observable[AssistantEvent], by_another: bool) -> list[AssistantEvent]:
    """The events of a turn that is disposed at the event of this index, while it is told."""
    seen: list[AssistantEvent] = []
    subscription = rx.disposable.SerialDisposable()
    reached = threading.Event()
    subscribed = threading.Event()

    def on_next(event: AssistantEvent) -> None:
        assert subscribed.wait(LIMIT)
        seen.append(event)
        if len(seen) == index + 1:
            if by_another:
                other = threading.Thread(target=subscription.dispose)
                other.start()
                other.join(LIMIT)
                assert not other.is_alive()
            else:
                subscription.dispose()
            reached.set()

    subscription.disposable = turn.subscribe(on_next)
    subscribed.set()
    assert reached.wait(LIMIT)
    return seen


def test_conversations_at_once_on_one_assistant() -> None:
    """Each turn waits here for the other to have asked: they share nothing but the assistant."""
    both = threading.Barrier(2)

    def answer(call: ScriptedCall) -> str:
        both.wait(LIMIT)
        return f"answer to {call.messages[-1].text}"

    memory = Memory()
    assistant = Assistant(ScriptedModel(default=answer), memory=memory)
    turns = [assistant.stream(name, conversation=name) for name in ("one", "two")]
    list(rxllm.iter_events(rx.merge(*turns)))
    for name in ("one", "two"):
        assert [name, f"answer to {name}"] == [message.text for message in memory.messages(name)]


def test_turns_at_once_on_one_conversation() -> None:
    """Neither sees the other; each is kept whole, one after the other."""
    both = threading.Barrier(2)

    def call(_: ScriptedCall) -> Reply:
        both.wait(LIMIT)
        return Reply(tool_calls=[ToolCall("call_0", "add", {"a": 1, "b": 1})])

    memory, model = Memory(), ScriptedModel(call, call, default="2")
    assistant = Assistant(model, tools=[add], memory=memory)
    list(rxllm.iter_events(rx.merge(assistant.stream("one"), assistant.stream("two"))))
    messages = memory.messages()
    assert ["user", "assistant", "tool", "assistant"] * 2 == [message.role for message in messages]
    assert {"one", "two"} == {messages[0].text, messages[4].text}
    assert is_consistent(messages)


def test_token_operators_work_on_a_turn() -> None:
    """The text of all steps, as from any stream."""
    model = ScriptedModel(*two_steps())
    turn = Assistant(model, tools=[add, weather]).stream("?")
    pieces = list(rxllm.iter_events(turn.pipe(token_events(), ops.text())))
    assert "Let me see.It is 3, and sunny." == "".join(pieces)


def test_usage_is_counted_over_the_turn() -> None:
    """Updates and the end hold the sums, and unknown counts stay unknown."""
    call = ToolCall("1", "add", {"a": 1, "b": 1})
    model = ScriptedModel(Reply(tool_calls=[call], usage=Usage(10, 2, 12)), Reply("2", usage=Usage(20, 3, 23)))
    events = list(rxllm.iter_events(Assistant(model, tools=[add]).stream("?")))
    assert [Usage(10, 2, 12), Usage(30, 5, 35)] == [e.usage for e in events if isinstance(e, rxllm.UsageUpdate)]
    assert isinstance(events[-1], StreamEnd)
    assert Usage(30, 5, 35) == events[-1].response.usage


def test_tools_of_one_answer_run_at_once_and_their_results_are_in_order() -> None:
    """Each waits here for the other to have started; the first ends last."""
    both = threading.Barrier(2)
    second_done = threading.Event()

    def first() -> str:
        both.wait(LIMIT)
        assert second_done.wait(LIMIT)
        return "1"

    def second() -> str:
        both.wait(LIMIT)
        second_done.set()
        return "2"

    model = ScriptedModel(Reply(tool_calls=[ToolCall("a", "first", {}), ToolCall("b", "second", {})]), "done")
    Assistant(model, tools=[first, second]).chat("?")
    results = [part.content for part in model.calls[1].messages[-1].parts if isinstance(part, rxllm.ToolResult)]
    assert ["1", "2"] == results


def test_a_turn_that_never_answers_ends_in_an_error() -> None:
    """After max_iterations requests."""
    model = ScriptedModel(default=Reply(tool_calls=[ToolCall("a", "add", {"a": 1, "b": 1})]))
    memory = Memory()
    with pytest.raises(MaxIterationsError, match="3 requests"):
        Assistant(model, tools=[add], memory=memory, max_iterations=3).chat("?")
    assert (3, ()) == (len(model.calls), memory.messages())


def test_a_demanded_tool_is_demanded_once() -> None:
    """tool_choice="required" holds for the first step: else no turn would end."""
    model = ScriptedModel(Reply(tool_calls=[ToolCall("a", "add", {"a": 1, "b": 1})]), "2")
    assert "2" == Assistant(model, tools=[add], options={"tool_choice": "required"}).chat("?").text
    assert ["required", None] == [call.options.get("tool_choice") for call in model.calls]


@pytest.mark.parametrize("keep_partial", [False, True])
def test_a_failed_turn_keeps_its_partial_answer_only_if_asked(keep_partial: bool) -> None:
    """The error carries what had arrived either way."""
    memory = Memory()
    reply = Reply(pieces=["Once", " upon", " a"], reasoning="Hm.", fault=Drop(after=3))
    with LLMServer(reply) as server, model_on(server) as model, pytest.raises(rxllm.StreamInterruptedError) as caught:
        Assistant(model, memory=memory, keep_partial=keep_partial).chat("A story")
    assert caught.value.partial is not None
    assert "Once upon" == caught.value.partial.text
    kept = [Message.user("A story"), Message.assistant("Once upon")] if keep_partial else []
    assert kept == list(memory.messages())


def test_an_error_tells_what_the_whole_turn_has_spent() -> None:
    """The usage of the steps before it is in its partial answer, whichever step failed, and however."""
    call = Reply(tool_calls=[ToolCall("1", "add", {"a": 1, "b": 1})], usage=Usage(10, 2, 12))
    for fault in (ErrorReply(401, "no"), Reply("cut off here", fault=Drop(after=1))):
        with LLMServer(call, fault) as server, model_on(server, "anthropic") as model:
            with pytest.raises(rxllm.LLMError) as caught:
                Assistant(model, tools=[add]).chat("?")
            assert caught.value.partial is not None
            spent = caught.value.partial.usage
            assert (spent.input_tokens or 0) >= 10
            assert (spent.output_tokens or 0) >= 2
    with pytest.raises(MaxIterationsError) as looped:
        Assistant(ScriptedModel(default=call), tools=[add], max_iterations=3).chat("?")
    assert looped.value.partial is not None
    assert Usage(30, 6, 36) == looped.value.partial.usage


def test_a_failure_before_any_answer_keeps_nothing() -> None:
    """A question alone is not kept, even with keep_partial."""
    memory = Memory()
    model = ScriptedModel(ErrorReply(401, "no"))
    with pytest.raises(rxllm.AuthenticationError):
        Assistant(model, memory=memory, keep_partial=True).chat("?")
    assert () == memory.messages()


def test_dispose_in_the_middle_of_a_tool_keeps_what_others_gave() -> None:
    """Asked to keep: the call that was cancelled has a result that says so."""
    memory = Memory()
    started, stopped, added = threading.Event(), threading.Event(), threading.Event()

    def slow(context: ToolContext) -> str:
        started.set()
        assert context.cancelled.wait(LIMIT)
        stopped.set()
        return "too late"

    calls = [ToolCall("a", "slow", {}), ToolCall("b", "add", {"a": 1, "b": 2})]
    assistant = Assistant(
        ScriptedModel(Reply("Well.", tool_calls=calls)), tools=[slow, add], memory=memory, keep_partial=True
    )

    def on_next(event: AssistantEvent) -> None:
        if isinstance(event, ToolEnd):
            added.set()

    subscription = assistant.stream("?").subscribe(on_next)
    assert added.wait(LIMIT)
    assert started.wait(LIMIT)
    subscription.dispose()
    results = [part for part in memory.messages()[-1].parts if isinstance(part, rxllm.ToolResult)]
    assert [(True, "The call was cancelled."), (False, "3")] == [(part.is_error, part.content) for part in results]
    assert is_consistent(memory.messages())
    assert stopped.wait(LIMIT)
    assert no_workers()


@pytest.mark.parametrize("event_class", [ApprovalRequest, ToolStart])
def test_dispose_before_a_tool_runs(event_class: type[AssistantEvent]) -> None:
    """Inside the event that announces it: the tool does not run, and nothing is asked."""
    ran: list[str] = []

    def pay() -> str:
        ran.append("pay")
        return "paid"

    def approve(call: ToolCall) -> bool:
        ran.append("approve")
        return True

    model = ScriptedModel(Reply(tool_calls=[ToolCall("a", "pay", {})]))
    turn = Assistant(model, tools=[pay], approve=approve).stream("?")
    events = list(rxllm.iter_events(turn.pipe(rx_ops.take_while(lambda event: not isinstance(event, event_class)))))
    assert isinstance(events[-1], StepEnd if event_class is ApprovalRequest else ApprovalRequest)
    assert no_workers()
    assert ran == ([] if event_class is ApprovalRequest else ["approve"])


def test_a_tool_whose_time_is_over_before_it_runs_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The subscriber took the time. The model reads that the tool failed, so it does not run after that."""
    ran, over, close = threading.Event(), threading.Event(), ToolRun._close

    def closed(run: ToolRun, result: rxllm.ToolResult | None) -> bool:
        first = close(run, result)
        over.set()
        return first

    def slow(event: AssistantEvent) -> None:
        if isinstance(event, ToolStart):
            assert over.wait(LIMIT)

    def pay() -> str:
        ran.set()
        return "paid"

    monkeypatch.setattr(ToolRun, "_close", closed)
    model = ScriptedModel(Reply(tool_calls=[ToolCall("a", "pay", {})]), "Sorry.")
    turn = Assistant(model, tools=[pay], tool_timeout=0.05).stream("?")
    events = list(rxllm.iter_events(turn.pipe(rx_ops.do_action(slow))))
    (end,) = [event for event in events if isinstance(event, ToolEnd)]
    assert "did not answer within" in end.result.content
    assert no_workers()
    assert not ran.is_set()


def test_dispose_of_a_silent_request_closes_it() -> None:
    """Before anything has come."""
    with LLMServer(Hang()) as server, model_on(server) as model:
        subscription = Assistant(model).stream("?").subscribe()
        request = server.wait_for_request()
        subscription.dispose()
        assert request.closed.wait(LIMIT)
        assert no_workers()


def test_dispose_between_tokens_from_another_thread() -> None:
    """Kept as far as it had come."""
    gate, memory, got = Gate(2), Memory(), threading.Event()
    with LLMServer(Reply("One two three", gate=gate)) as server, model_on(server) as model:
        turn = Assistant(model, memory=memory, keep_partial=True).stream("Count")
        subscription = turn.subscribe(lambda event: got.set() if event == TextDelta(" two") else None)
        assert got.wait(LIMIT)
        subscription.dispose()
        assert ["Count", "One two"] == [message.text for message in memory.messages()]
        assert server.requests[0].closed.wait(LIMIT)
        assert no_workers()


def test_a_subscriber_that_raises_ends_the_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error surfaces as its own, from a tool's thread too; the tools stop, nothing is kept."""
    surfaced: list[object] = []
    caught = threading.Event()

    def hook(args: threading.ExceptHookArgs) -> None:
        surfaced.append(args.exc_value)
        caught.set()

    monkeypatch.setattr(threading, "excepthook", hook)
    bug, memory, errors = KeyError("a bug"), Memory(), list[Exception]()

    def on_next(event: AssistantEvent) -> None:
        if isinstance(event, ToolStart):
            raise bug

    model = ScriptedModel(Reply(tool_calls=CALLS[:1]), "never asked")
    Assistant(model, tools=[add], memory=memory).stream("?").subscribe(on_next, errors.append)
    assert caught.wait(LIMIT)
    assert no_workers()
    assert ([bug], [], (), 1) == (surfaced, errors, memory.messages(), len(model.calls))


def test_system_and_input_are_templates() -> None:
    """A missing variable is said at once, by name."""
    model = ScriptedModel()
    assistant = Assistant(model, system="You are {{role}}.")
    assistant.chat("Greet {{name}}", variables={"role": "a poet", "name": "{{role}}"})
    assert ["You are a poet.", "Greet {{role}}"] == [message.text for message in model.calls[0].messages]
    with pytest.raises(rxllm.ConfigurationError, match="role"):
        assistant.stream("Hi")


def test_system_may_be_a_function_of_the_turn() -> None:
    """Of its conversation, question and history."""
    model = ScriptedModel()
    memory = Memory()
    assistant = Assistant(model, memory=memory, system=lambda turn: f"{turn.conversation}: {len(turn.history)}")
    assistant.chat("Hi", conversation="ada")
    assistant.chat("Hi", conversation="ada")
    assert ["ada: 1", "ada: 3"] == [call.messages[0].text for call in model.calls]


def test_a_system_function_that_raises_fails_the_turn() -> None:
    """As a configuration error that says so."""
    with pytest.raises(rxllm.ConfigurationError, match="system="):
        Assistant(ScriptedModel(), system=lambda turn: str(1 / 0)).chat("?")


def test_options_are_refused_at_once() -> None:
    """As by the model itself, before any request."""
    with LLMServer() as server, model_on(server) as model:
        with pytest.raises(rxllm.ConfigurationError):
            Assistant(model, options={"top_k": 3})
        with pytest.raises(rxllm.ConfigurationError):
            Assistant(model).stream("?", top_k=3)
        with pytest.raises(rxllm.ConfigurationError, match="runs its tools"):
            Assistant(model).stream("?", tools=[])
        with pytest.raises(rxllm.ConfigurationError, match="user"):
            Assistant(model).stream(Message.assistant("I"))
        assert [] == server.requests


def test_a_turn_is_cold() -> None:
    """Each subscription is a turn of its own."""
    model = ScriptedModel("a", "b")
    turn = Assistant(model).stream("?").pipe(token_events(), ops.text())
    assert ["a", "b"] == [turn.run(), turn.run()]


def test_kinds_of_events_come_in_order() -> None:
    """The grammar of a turn."""
    model = ScriptedModel(Reply(tool_calls=CALLS[:1]), "3")
    events = list(rxllm.iter_events(Assistant(model, tools=[add]).stream("?")))
    step = ["ToolCallStart", "ToolCallDelta", "ToolCallEnd", "UsageUpdate", "StepEnd", "ToolStart", "ToolEnd"]
    last = ["StepStart", "StreamStart", "TextDelta", "UsageUpdate", "StepEnd", "StreamEnd"]
    assert ["StepStart", "StreamStart", *step, *last] == kinds(events)


def test_an_error_that_nobody_handles_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Not raised in a thread that nobody watches."""
    ended = threading.Event()
    with LLMServer(ErrorReply(401, "no")) as server, model_on(server) as model:
        Assistant(model).stream("?").pipe(rx_ops.finally_action(ended.set)).subscribe(lambda event: None)
        assert ended.wait(LIMIT)
        assert no_workers()
    assert ["rxllm"] == [record.name for record in caplog.records]


@pytest.mark.parametrize(
    ("source", "problem"),
    [(rx.throw(KeyError("a bug")), "KeyError: 'a bug'"), (rx.empty(), "without its StreamEnd")],
    ids=["raises", "ends"],
)
def test_a_model_that_breaks_the_rules_fails_the_turn(source: rx.Observable[rxllm.TokenEvent], problem: str) -> None:
    """With an error of ours, whatever a model of somebody's own does."""
    with pytest.raises(rxllm.StreamError, match=problem):
        Assistant(ScriptedModel(source)).chat("?")


def test_a_turn_needs_a_step() -> None:
    """max_iterations is at least 1."""
    with pytest.raises(rxllm.ConfigurationError, match="max_iterations"):
        Assistant(ScriptedModel(), max_iterations=0)
