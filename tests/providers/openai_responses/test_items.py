"""The Responses decoder: reasoning, function calls, and items that are not modelled."""

from __future__ import annotations

import json

import pytest

from rxllm.errors import ProtocolError
from rxllm.events import ReasoningDelta, TextDelta, ToolCallDelta, ToolCallEnd, ToolCallStart, VendorEvent
from rxllm.messages import ReasoningPart, TextPart, ToolCall, VendorPart
from tests.providers.openai_responses.streams import Event, added, completed, delta, done, message, played, said, told


class TestReasoning:
    """Under each of its names."""

    @pytest.mark.parametrize("of", ["reasoning_text", "reasoning", "reasoning_summary_text"])
    def test_in_each_family(self, of: str) -> None:
        """The item goes back as it was told last."""
        item: Event = {"summary": [{"type": "summary_text", "text": "Hmm."}], "encrypted_content": "cipher"}
        events = (
            added(0, "reasoning", summary=[], encrypted_content="half"),
            told("reasoning_part.added", part={"type": "reasoning_text", "text": ""}),
            told("reasoning_summary_part.added", summary_index=0, part={"type": "summary_text", "text": ""}),
            delta("Hm", of=of),
            delta("m.", of=of),
            told(f"{of}.done", text="Hmm."),
            told("reasoning_part.done", part={"type": "reasoning_text", "text": "Hmm."}),
            told("reasoning_summary_part.done", part={"type": "summary_text", "text": "Hmm."}),
            done(0, "reasoning", **item),
            completed(),
        )
        assert said(*events) == (ReasoningDelta("Hm"), ReasoningDelta("m."))
        kept: Event = {"id": "item_0", "type": "reasoning", **item}
        assert played(*events).response.parts == (ReasoningPart("Hmm.", {"openai-responses": kept}),)

    def test_a_thought_in_several_parts(self) -> None:
        """The parts of a summary are one text."""
        events = (
            added(0, "reasoning"),
            delta("One.", of="reasoning_summary_text", summary_index=0),
            delta("Two.", of="reasoning_summary_text", summary_index=1),
            told("reasoning_summary_text.done", summary_index=2, text="Three."),
            completed(),
        )
        assert played(*events).response.reasoning == "One.Two.Three."

    def test_a_thought_told_in_two_families_counts_once(self) -> None:
        """The family that speaks first is the reasoning; the other one is passed on as it is."""
        twice = (delta("Hm.", of="reasoning_text"), delta("Hm.", of="reasoning_summary_text", summary_index=0))
        assert said(added(0, "reasoning"), *twice, completed()) == (
            ReasoningDelta("Hm."),
            VendorEvent("response.reasoning_summary_text.delta", {"delta": "Hm."}),
        )

    @pytest.mark.parametrize("field", ["content", "summary"])
    def test_a_thought_that_only_its_item_tells(self, field: str) -> None:
        """It is taken from there."""
        item: Event = {field: [{"type": "reasoning_text", "text": "One."}, {"type": "reasoning_text", "text": "Two."}]}
        assert played(added(0, "reasoning"), done(0, "reasoning", **item), completed()).response.reasoning == "One.Two."

    def test_only_a_cipher(self) -> None:
        """Thoughts that are not shown go back all the same, in their place."""
        events = (
            added(0, "reasoning", encrypted_content="half"),
            done(0, "reasoning", encrypted_content="whole"),
            added(1, "message"),
            delta("x", 1),
            completed(),
        )
        kept: Event = {"id": "item_0", "type": "reasoning", "encrypted_content": "whole"}
        parts = (ReasoningPart("", {"openai-responses": kept}), TextPart("x"))
        assert played(*events).response.parts == parts

    def test_a_thought_that_is_done_after_the_answer(self) -> None:
        """Its place among the parts is where it began, and the answer stays in one piece."""
        events = (
            added(0, "reasoning"),
            delta("Hm.", of="reasoning_text"),
            added(1, "message"),
            delta("a", 1),
            done(0, "reasoning", encrypted_content="cipher"),
            delta("b", 1),
            done(1, "message", content=message("ab")),
            completed(),
        )
        kept: Event = {"id": "item_0", "type": "reasoning", "encrypted_content": "cipher"}
        parts = (ReasoningPart("Hm.", {"openai-responses": kept}), TextPart("ab"))
        assert played(*events).response.parts == parts


class TestCalls:
    """Functions that the caller runs."""

    def test_arguments_of_a_call_that_is_told_late(self) -> None:
        """Its end, or the final list, tells it; an answer without it is not a good one."""
        call: Event = {"call_id": "c1", "name": "f", "arguments": '{"a":1}', "status": "completed"}
        piece = delta('{"a":1}', of="function_call_arguments")
        for late in ([done(0, "function_call", **call), completed()], [completed({"type": "function_call", **call})]):
            assert played(piece, *late).response.tool_calls == (ToolCall("c1", "f", {"a": 1}),)
        assert played(piece, completed(status="incomplete")).error is None
        with pytest.raises(ProtocolError, match="never announced"):
            said(piece, completed())

    def test_arguments_in_pieces(self) -> None:
        """The call is answered by its call_id, not by the item's id."""
        events = (
            added(0, "function_call", call_id="c1", name="f", arguments="", status="in_progress"),
            delta('{"a"', of="function_call_arguments"),
            delta(":1}", of="function_call_arguments"),
            told("function_call_arguments.done", arguments='{"a":1}'),
            done(0, "function_call", call_id="c1", name="f", arguments='{"a":1}', status="completed"),
            completed(),
        )
        call = ToolCall("c1", "f", {"a": 1})
        assert said(*events) == (
            ToolCallStart(0, "c1", "f"),
            ToolCallDelta(0, '{"a"'),
            ToolCallDelta(0, ":1}"),
            ToolCallEnd(0, call),
        )
        response = played(*events).response
        assert (response.tool_calls, response.finish_reason) == ((call,), "tool_calls")

    def test_calls_side_by_side(self) -> None:
        """Their pieces may come in any order."""
        events = (
            added(1, "function_call", call_id="c1", name="f"),
            added(2, "function_call", call_id="c2", name="g"),
            delta('{"b":2}', 2, of="function_call_arguments"),
            delta('{"a":1}', 1, of="function_call_arguments"),
            done(2, "function_call", call_id="c2", name="g", arguments='{"b":2}'),
            done(1, "function_call", call_id="c1", name="f", arguments='{"a":1}'),
            completed(),
        )
        calls = played(*events).response.tool_calls
        assert calls == (ToolCall("c1", "f", {"a": 1}), ToolCall("c2", "g", {"b": 2}))

    def test_arguments_that_name_no_call(self) -> None:
        """They come in the order in which the calls began (llama.cpp)."""
        whole = [
            {"type": "response.function_call_arguments.done", "arguments": json.dumps({"n": number})}
            for number in (1, 2)
        ]
        events = (
            *(added(at, "function_call", call_id=f"c{at}", name="f") for at in (1, 2)),
            *whole,
            *(done(at, "function_call", call_id=f"c{at}", name="f", arguments="") for at in (1, 2)),
            completed(),
        )
        assert played(*events).response.tool_calls == (ToolCall("c1", "f", {"n": 1}), ToolCall("c2", "f", {"n": 2}))

    @pytest.mark.parametrize("arguments", ["", None, "null", "{}", {}])
    def test_no_arguments(self, arguments: object) -> None:
        """All of these mean none."""
        events = (
            added(0, "function_call", call_id="c1", name="f"),
            done(0, "function_call", call_id="c1", name="f", arguments=arguments),
            completed(),
        )
        assert played(*events).response.tool_calls == (ToolCall("c1", "f", {}),)

    @pytest.mark.parametrize("at_the_end", [True, False])
    def test_a_call_told_at_once(self, at_the_end: bool) -> None:
        """Whole when it begins, and never said to be done."""
        item: Event = {"call_id": "c1", "name": "f", "arguments": '{"a":1}'}
        final = [{"type": "function_call", "id": "item_0", **item}] if at_the_end else []
        call = ToolCall("c1", "f", {"a": 1})
        assert said(added(0, "function_call", **item), completed(*final)) == (
            ToolCallStart(0, "c1", "f"),
            ToolCallDelta(0, '{"a":1}'),
            ToolCallEnd(0, call),
        )

    def test_a_call_that_is_announced_twice(self) -> None:
        """It is one call."""
        begin = added(0, "function_call", call_id="c1", name="f")
        end = done(0, "function_call", call_id="c1", name="f", arguments="{}")
        assert played(begin, begin, end, completed()).response.tool_calls == (ToolCall("c1", "f", {}),)

    def test_a_call_made_by_a_program(self) -> None:
        """Who called is kept with the call: the answer has to name it."""
        caller = {"type": "program", "caller_id": "c0"}
        item: Event = {"call_id": "c1", "name": "f", "caller": caller, "namespace": None}
        program = {"call_id": "c0", "code": "f()"}
        events = (
            added(0, "program", **program),
            done(0, "program", **program),
            added(1, "function_call", arguments="", status="in_progress", **item),
            done(1, "function_call", arguments="{}", status="in_progress", **item),
            completed(),
        )
        assert played(*events).response.parts == (
            VendorPart("openai-responses", {"id": "item_0", "type": "program", **program}),
            ToolCall("c1", "f", {}, {"openai-responses": {"caller": caller}}),
        )

    @pytest.mark.parametrize("arguments", ['{"a":1', ""])
    def test_a_call_that_was_cut_is_not_handed_out(self, arguments: str) -> None:
        """An answer that met its limit inside a call has no such call."""
        item: Event = {"call_id": "c1", "name": "f", "arguments": arguments, "status": "incomplete"}
        events = (
            added(0, "function_call", call_id="c1", name="f", arguments=""),
            delta('{"a":1', of="function_call_arguments"),
            told("function_call_arguments.done", arguments='{"a":1'),
            done(0, "function_call", **item),
            completed(status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
        )
        response = played(*events).response
        assert (response.tool_calls, response.finish_reason) == ((), "length")
        response = played(*events[:2], events[-1]).response
        assert (response.tool_calls, response.parts) == ((), ())

    @pytest.mark.parametrize("arguments", ['{"a":', "[1]", "a"])
    def test_broken_arguments_of_a_complete_answer(self, arguments: str) -> None:
        """They are an error, never {}."""
        item: Event = {"call_id": "c1", "name": "f", "arguments": arguments}
        result = played(added(0, "function_call", **item), done(0, "function_call", **item), completed())
        assert isinstance(result.error, ProtocolError)
        assert "'f'" in str(result.error)

    def test_a_call_that_the_server_makes_itself(self) -> None:
        """It is complete as it begins, and what came of it takes its place: no call of ours, but told (Perplexity)."""
        call: Event = {"status": "completed", "name": "search_web", "call_id": "c1", "arguments": '{"q": "x"}'}
        events = (
            added(0, "function_call", **call),
            done(0, "search_results", results=[1]),
            added(1, "message"),
            delta("Found.", 1),
            completed({"type": "search_results", "results": [1]}, {"id": "item_1", "type": "message"}),
        )
        told_of = [event.data["item"] for event in said(*events) if isinstance(event, VendorEvent)]
        assert [item["type"] for item in told_of if isinstance(item, dict)] == ["function_call", "search_results"]
        response = played(*events).response
        assert (response.text, response.tool_calls, response.finish_reason) == ("Found.", (), "stop")

    @pytest.mark.parametrize("pieces", [(), ('{"a":', "1}")])
    @pytest.mark.parametrize("ended", [True, False])
    def test_a_call_that_is_complete_as_it_begins(self, pieces: tuple[str, ...], ended: bool) -> None:
        """It is handed out all the same, at its end or at the first piece of its arguments."""
        call: Event = {"status": "completed", "name": "f", "call_id": "c1", "arguments": "" if pieces else '{"a":1}'}
        deltas = [delta(piece, of="function_call_arguments") for piece in pieces]
        end = [done(0, "function_call", **call)] if ended else []
        assert said(added(0, "function_call", **call), *deltas, *end, completed()) == (
            ToolCallStart(0, "c1", "f"),
            *(ToolCallDelta(0, piece) for piece in pieces or ('{"a":1}',)),
            ToolCallEnd(0, ToolCall("c1", "f", {"a": 1})),
        )

    def test_a_call_without_a_name(self) -> None:
        """It cannot be run."""
        events = (added(0, "function_call", call_id="c1"), done(0, "function_call", call_id="c1"), completed())
        assert isinstance(played(*events).error, ProtocolError)


class TestVendor:
    """What is not modelled is passed on, and goes back."""

    @pytest.mark.parametrize(
        ("kind", "item"),
        [
            ("custom_tool_call", {"call_id": "xs_call_1", "name": "x_keyword_search", "input": '{"q": 1}'}),
            ("mcp_call", {"name": "f", "arguments": "{}", "server_label": "s"}),
            ("tool_search_call", {"call_id": "c1", "execution": "client", "arguments": {"goal": "g"}}),
            ("local_shell_call", {"call_id": "c1", "action": {"type": "exec", "command": ["ls"]}}),
            ("compaction", {"encrypted_content": "cipher"}),
        ],
    )
    def test_an_item_of_another_kind(self, kind: str, item: Event) -> None:
        """It is never a function call, whoever runs it."""
        begin, end = added(0, kind, status="in_progress"), done(0, kind, **item)
        assert said(begin, end, completed()) == (
            VendorEvent(str(begin["type"]), begin),
            VendorEvent(str(end["type"]), end),
        )
        response = played(begin, end, completed()).response
        assert response.parts == (VendorPart("openai-responses", {"id": "item_0", "type": kind, **item}),)
        assert (response.tool_calls, response.finish_reason) == ((), "stop")

    def test_an_item_that_only_the_end_tells_whole(self) -> None:
        """It is taken from there."""
        whole: Event = {"type": "mcp_list_tools", "id": "item_0", "tools": [{"name": "f"}]}
        events = (added(0, "mcp_list_tools", tools=[]), completed(whole))
        assert said(*events)[1:] == (
            VendorEvent("response.output_item.done", {"type": "response.output_item.done", "item": whole}),
        )
        assert played(*events).response.parts == (VendorPart("openai-responses", whole),)

    def test_items_done_in_another_order(self) -> None:
        """They go back in the order in which they began."""
        events = (
            added(0, "web_search_call"),
            added(1, "web_search_call"),
            done(1, "web_search_call", n=1),
            done(0, "web_search_call", n=0),
            completed(),
        )
        parts = played(*events).response.parts
        assert [part.data["n"] for part in parts if isinstance(part, VendorPart)] == [0, 1]

    def test_what_is_given_out_does_not_change_later(self) -> None:
        """The first telling of an item stays the first telling."""
        first = said(added(0, "web_search_call", n=0), done(0, "web_search_call", n=1), completed())[0]
        assert isinstance(first, VendorEvent)
        assert first.data["item"] == {"id": "item_0", "type": "web_search_call", "n": 0}

    def test_pieces_of_another_kind(self) -> None:
        """Each event goes on as it is, the one with the whole too."""
        piece = delta("print", of="code_interpreter_call_code")
        whole = told("code_interpreter_call_code.done", code="print")
        assert said(piece, whole, completed()) == (
            VendorEvent("response.code_interpreter_call_code.delta", piece),
            VendorEvent("response.code_interpreter_call_code.done", whole),
        )

    def test_an_event_of_the_future(self) -> None:
        """It is passed on under its own name."""
        novelty: Event = {"type": "response.novelty.delta", "delta": {"x": 1}, "sequence_number": 99}
        assert said(delta("x"), novelty, completed()) == (
            TextDelta("x"),
            VendorEvent("response.novelty.delta", novelty),
        )

    def test_citations(self) -> None:
        """Each is an event; where only the whole message holds them, that is."""
        cited = told("output_text.annotation.added", annotation={"type": "url_citation", "url": "https://a.example"})
        end = done(
            0, "message", content=[{"type": "output_text", "text": "x", "annotations": [{"type": "url_citation"}]}]
        )
        assert said(added(0, "message"), delta("x"), cited, end, completed()) == (
            TextDelta("x"),
            VendorEvent("response.output_text.annotation.added", cited),
        )
        assert said(added(0, "message"), delta("x"), end, completed()) == (
            TextDelta("x"),
            VendorEvent("response.output_item.done", end),
        )

    def test_log_probabilities(self) -> None:
        """They come beside their text."""
        assert said(delta("x", logprobs=[{"token": "x"}]), completed()) == (
            TextDelta("x"),
            VendorEvent("logprobs", {"logprobs": [{"token": "x"}]}),
        )

    def test_the_circumstances_of_the_answer(self) -> None:
        """Cost, tier and the like come at the end; what repeats the request does not."""
        counts: Event = {
            "input_tokens": 1,
            "cost": 0.5,
            "input_tokens_details": {"cached_tokens": 0, "image_tokens": 7},
        }
        end = completed(service_tier="default", instructions="Be brief.", usage=counts)
        assert said(delta("x"), end)[2:] == (
            VendorEvent("usage", {"cost": 0.5, "input_tokens_details": {"image_tokens": 7}}),
            VendorEvent("response.completed", {"service_tier": "default"}),
        )
