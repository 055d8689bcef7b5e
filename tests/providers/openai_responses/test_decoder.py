"""The Responses decoder: answers and their endings, on streams written here and on the shared recordings.

Items and errors have files of their own beside this one.
"""

from __future__ import annotations

import pytest

from rxllm.errors import ProtocolError, StreamInterruptedError
from rxllm.events import (
    StreamEnd,
    StreamStart,
    TextDelta,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    Usage,
    UsageUpdate,
    VendorEvent,
)
from rxllm.messages import TextPart, ToolCall, VendorPart
from tests.providers.openai_responses.streams import (
    Event,
    added,
    body,
    completed,
    created,
    decoder,
    delta,
    done,
    message,
    numbered,
    plain_answer,
    played,
    said,
    told,
)
from tests.providers.recordings import Recording, at_random, play, recordings
from tests.shared import needs_shared


class TestAnswer:
    """Text, from the first event to the last."""

    def test_a_plain_answer(self) -> None:
        """What is told four times counts once; usage comes with the last event."""
        result = played(*plain_answer("Hel", "lo"))
        counted = Usage(9, 5, 14, cached_input_tokens=4, reasoning_tokens=3)
        assert result.events[:-1] == (
            StreamStart("resp_1", "m-1"),
            TextDelta("Hel"),
            TextDelta("lo"),
            UsageUpdate(counted),
        )
        response = result.response
        assert (response.text, response.finish_reason, response.raw_finish_reason) == ("Hello", "stop", "completed")
        assert (response.usage, response.id, response.model, response.provider) == (counted, "resp_1", "m-1", "acme")
        assert response.parts == (TextPart("Hello"),)

    def test_without_event_names(self) -> None:
        """The payload says what it is; the name is needed only where it does not."""
        bare = play(decoder(), [body(*plain_answer("Hel", "lo"), named=False)])
        assert bare == played(*plain_answer("Hel", "lo"))
        named = b'event: response.output_text.delta\ndata: {"delta":"x"}\n\n' + body(completed())
        assert play(decoder(), [named]).response.text == "x"

    def test_without_indexes_and_numbers(self) -> None:
        """llama.cpp tells items apart by id alone."""
        events = (
            created(model=None),
            {"type": "response.output_item.added", "item": {"type": "message", "id": "msg_1", "content": []}},
            {"type": "response.output_text.delta", "item_id": "msg_1", "delta": "a"},
            {"type": "response.output_text.delta", "item_id": "msg_1", "delta": "b"},
            {"type": "response.output_text.done", "item_id": "msg_1", "text": "ab"},
            {"type": "response.output_item.added", "item": {"type": "function_call", "call_id": "c1", "name": "f"}},
            {"type": "response.function_call_arguments.delta", "item_id": "c1", "delta": "{}"},
            {
                "type": "response.output_item.done",
                "item": {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            },
            {"type": "response.output_item.done", "item": {"type": "message", "id": "msg_1", "content": message("ab")}},
            completed(),
        )
        call = ToolCall("c1", "f", {})
        assert said(*events) == (
            TextDelta("a"),
            TextDelta("b"),
            ToolCallStart(0, "c1", "f"),
            ToolCallDelta(0, "{}"),
            ToolCallEnd(0, call),
        )
        assert played(*events).response.model == "m-1"

    def test_ids_that_change_with_every_event(self) -> None:
        """The output index says which item it is; of the answer's own ids the first holds."""
        events = (
            created(),
            {"type": "response.in_progress", "response": {"id": "resp_2"}},
            added(0, "message", id="a"),
            delta("x", item_id="b"),
            delta("y", item_id="c"),
            told("output_text.done", item_id="d", text="xy"),
            done(0, "message", id="e", content=message("xy")),
            completed({"type": "message", "id": "f", "content": message("xy")}, id="resp_3"),
        )
        assert said(*events) == (TextDelta("x"), TextDelta("y"))
        assert played(*events).response.id == "resp_1"

    @pytest.mark.parametrize(
        "events",
        [
            [told("output_text.done", text="ab")],
            [told("output_text.done", text="a"), told("output_text.done", content_index=1, text="b")],
            [told("content_part.done", part={"type": "output_text", "text": "ab"})],
            [done(0, "message", content=message("a", "b"))],
            [],
        ],
        ids=["text", "texts", "part", "item", "end"],
    )
    def test_text_that_no_delta_brought(self, events: list[Event]) -> None:
        """It is taken from where it is told first."""
        whole = {"type": "message", "id": "item_0", "content": message("ab")}
        result = played(created(), added(0, "message"), *events, completed(whole))
        assert result.response.text == "ab"
        assert result.response.parts == (TextPart("ab"),)

    def test_only_the_last_event(self) -> None:
        """A server that tells all at the end has told it."""
        call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}', "status": "completed"}
        thought = {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "Hm."}]}
        response = played(completed(thought, {"type": "message", "content": message("ab")}, call)).response
        assert (response.text, response.reasoning) == ("ab", "Hm.")
        assert response.tool_calls == (ToolCall("c1", "f", {"a": 1}),)

    def test_a_last_event_that_is_the_response_itself(self) -> None:
        """Perplexity's agents put its fields into the event; what is no message among its items is told."""
        results: Event = {"type": "search_results", "results": [{"title": "t"}]}
        last: Event = {"id": "resp_1", "model": "m-1", "status": "completed", "usage": {"input_tokens": 9}}
        output = [results, {"type": "message", "content": message("ab")}]
        result = played(delta("ab"), {"type": "response.completed", **last, "output": output})
        response = result.response
        assert (response.text, response.id, response.model, response.usage.input_tokens) == ("ab", "resp_1", "m-1", 9)
        assert [event.data["item"] for event in result.events if isinstance(event, VendorEvent)] == [results]

    def test_an_empty_final_list_takes_nothing_away(self) -> None:
        """Where nothing is stored, the last event tells no items."""
        events = (created(), added(0, "message"), delta("x"), done(0, "message", content=message("x")), completed())
        assert played(*events).response.text == "x"

    def test_a_text_that_ends_otherwise_than_it_was_streamed(self) -> None:
        """What was streamed has been seen: it stays."""
        assert said(
            *numbered([created(), added(0, "message"), delta("x"), told("output_text.done", text="xyz"), completed()])
        ) == (TextDelta("x"),)

    def test_several_messages_and_their_phases(self) -> None:
        """Commentary and answer are two parts, whose phase goes back with them."""
        events = (
            added(0, "message", phase="commentary"),
            delta("Let me see. "),
            done(0, "message", phase="commentary", content=message("Let me see. ")),
            added(1, "message", phase="final_answer"),
            delta("Done.", 1),
            done(1, "message", phase="final_answer", content=message("Done.")),
            completed(),
        )
        assert played(*events).response.parts == (
            TextPart("Let me see. ", {"openai-responses": {"phase": "commentary"}}),
            TextPart("Done.", {"openai-responses": {"phase": "final_answer"}}),
        )

    def test_items_that_share_an_index(self) -> None:
        """Each new item takes it over; the same item told to be done twice is one."""
        first, second = (
            (
                {**added(0, "message"), "item": {"type": "message", "id": text}},
                delta(text),
                {**done(0, "message"), "item": {"type": "message", "id": text, "content": message(text)}},
            )
            for text in ("a", "b")
        )
        assert said(*first, first[-1], *second, second[-1], completed()) == (TextDelta("a"), TextDelta("b"))
        assert said(first[-1], second[-1], completed()) == (TextDelta("a"), TextDelta("b"))

    def test_content_indexes_need_not_begin_at_zero(self) -> None:
        """Some count the reasoning before the text as a part of it."""
        events = (
            added(0, "message"),
            delta("x", content_index=1),
            told("output_text.done", content_index=1, text="x"),
            told("content_part.done", content_index=1, part=message("x")[0]),
            done(0, "message", content=message("x")),
            completed(),
        )
        assert said(*events) == (TextDelta("x"),)

    def test_a_resumed_stream_begins_anywhere(self) -> None:
        """Nothing of what came before is known, and nothing of it is told again."""
        events = numbered(
            [
                delta("lo"),
                told("output_text.done", text="Hello"),
                done(0, "message", content=message("Hello")),
                done(1, "function_call", call_id="c1", name="f", arguments="{}"),
                completed(),
            ],
            start=17,
        )
        assert said(*events) == (
            TextDelta("lo"),
            ToolCallStart(0, "c1", "f"),
            ToolCallDelta(0, "{}"),
            ToolCallEnd(0, ToolCall("c1", "f", {})),
        )

    def test_a_queued_answer(self) -> None:
        """In background mode the answer begins by waiting; keep-alives come between."""
        response = {"id": "resp_1", "model": "m-1", "status": "queued"}
        events = (
            {"type": "response.queued", "response": response},
            {"type": "keepalive", "sequence_number": 2},
            {"type": "response.in_progress", "response": response},
            delta("x"),
            completed(),
        )
        assert played(*events).events[:2] == (StreamStart("resp_1", "m-1"), TextDelta("x"))

    def test_nulls_and_emptiness_say_nothing(self) -> None:
        """Nulls where values could stand, empty deltas and payloads of other types bring no event."""
        nothing = b"".join(b"event: x\ndata: " + data + b"\n\n" for data in (b"[]", b'"text"', b"7", b"null", b"{}"))
        empty = body(
            added(0, "message", content=None), delta(None), delta(""), delta("x", logprobs=None, obfuscation=None)
        )
        result = play(decoder(), [nothing + empty + b"data: [DONE]\n\n" + body(completed()) + b"data: [DONE]\n\n"])
        assert [type(event) for event in result.events] == [TextDelta, StreamEnd]

    def test_a_character_cut_over_two_deltas_is_put_together(self) -> None:
        """Text can always be encoded."""
        stream = body(delta("a@"), delta("#b"), completed()).replace(b"@", b"\\ud83c").replace(b"#", b"\\udf0d")
        assert play(decoder(), [stream]).response.text == "a🌍b"

    def test_usage_that_is_not_told_is_unknown(self) -> None:
        """Unknown is None; zeros told before the end count for nothing."""
        zeros = created(usage={"input_tokens": 0, "output_tokens": 0})
        assert played(zeros, delta("x"), completed(usage=None)).response.usage == Usage()
        assert played(delta("x"), completed(usage={"input_tokens": 3})).response.usage == Usage(input_tokens=3)


class TestEndings:
    """How an answer ends, and that nothing else is an end."""

    @pytest.mark.parametrize(
        ("reason", "normal"),
        [("max_output_tokens", "length"), ("content_filter", "content_filter"), ("boredom", "other"), (None, "other")],
    )
    def test_an_incomplete_answer(self, reason: str | None, normal: str) -> None:
        """It is an answer, cut short for a reason that is told."""
        end = completed(status="incomplete", incomplete_details={"reason": reason})
        response = played(delta("x"), end).response
        assert (response.text, response.finish_reason, response.raw_finish_reason) == ("x", normal, "incomplete")

    @pytest.mark.parametrize("streamed", [True, False])
    def test_a_refusal(self, streamed: bool) -> None:
        """Its text is not the answer's; it goes back as what it is."""
        refusal = {"type": "refusal", "refusal": "I'm sorry."}
        pieces = [
            delta("I'm ", of="refusal"),
            delta("sorry.", of="refusal"),
            told("refusal.done", refusal="I'm sorry."),
        ]
        result = played(added(0, "message"), *pieces * streamed, done(0, "message", content=[refusal]), completed())
        told_so = [event.data["refusal"] for event in result.events if isinstance(event, VendorEvent)]
        assert told_so == (["I'm ", "sorry."] if streamed else ["I'm sorry."])
        response = result.response
        assert (response.text, response.finish_reason, response.raw_finish_reason) == ("", "refusal", "completed")
        said_back: Event = {"type": "message", "role": "assistant", "content": [refusal]}
        assert response.parts == (VendorPart("openai-responses", said_back),)

    def test_the_status_says_how_it_ended(self) -> None:
        """Some send every answer's last event under one name."""
        end = completed(incomplete_details={"reason": "max_output_tokens"}) | {"type": "response.done"}
        assert played(delta("x"), end).response.raw_finish_reason == "completed"
        assert isinstance(end["response"], dict)
        end["response"]["status"] = "incomplete"
        assert played(delta("x"), end).response.finish_reason == "length"

    def test_a_last_event_without_its_blank_line(self) -> None:
        """It counts, as it is whole."""
        reader = decoder()
        assert play(reader, [body(delta("x"), completed()).rstrip()]).error is None
        assert reader.finished
        assert reader.close() == ()

    def test_every_truncation_is_an_error(self) -> None:
        """Cut anywhere before its last event is whole, the answer is not complete, and what came is kept."""
        stream = body(*plain_answer("one", "two"))
        for end in range(len(stream) - 2):
            result = play(decoder(), [stream[:end]])
            assert isinstance(result.error, StreamInterruptedError), end
            told_so = "".join(event.text for event in result.events if isinstance(event, TextDelta))
            assert result.response.text == told_so
            assert "onetwo".startswith(told_so)
        assert play(decoder(), [stream[:-2]]).response.text == "onetwo"

    def test_done_is_no_end(self) -> None:
        """A [DONE] that comes instead of the last event says nothing."""
        stream = body(delta("x")) + b"data: [DONE]\n\n"
        assert isinstance(play(decoder(), [stream]).error, StreamInterruptedError)

    def test_a_tool_call_under_way_is_not_in_the_partial_answer(self) -> None:
        """What is handed out is whole."""
        result = played(
            delta("x"), added(1, "function_call", call_id="c1", name="f"), delta("{", 1, of="function_call_arguments")
        )
        assert isinstance(result.error, StreamInterruptedError)
        assert result.response.parts == (TextPart("x"),)


class TestNumbers:
    """Sequence numbers tell of lost events, where they are to be trusted."""

    def test_a_lost_piece(self) -> None:
        """Events are missing, and so is text: the answer is not whole."""
        events = plain_answer("one", "two", "three")
        del events[5]
        result = played(*events)
        assert isinstance(result.error, ProtocolError)
        assert result.response.text == "onethree"

    def test_a_gap_in_which_nothing_was_said(self) -> None:
        """A gateway that leaves out what it does not know leaves the answer whole."""
        events = plain_answer("one", "two")
        del events[3]
        assert played(*events).response.text == "onetwo"
        unsaid = numbered([added(0, "message"), told("output_text.done"), delta("x"), done(0, "message"), completed()])
        del unsaid[1]
        assert played(*unsaid).response.text == "x"

    def test_numbers_out_of_order(self) -> None:
        """Repeated numbers, and one from elsewhere, lose nothing."""
        events = plain_answer("one", "two", "three")
        keepalive: Event = {"type": "keepalive", "sequence_number": 6}
        ahead: Event = {"type": "keepalive", "sequence_number": 8}
        assert played(*events[:5], ahead, keepalive, *events[5:]).response.text == "onetwothree"


RECORDINGS = recordings("openai-responses")


@needs_shared
class TestRecordings:
    """What real servers sent."""

    @pytest.mark.parametrize("recording", RECORDINGS, ids=str)
    def test_each_cut_short_is_interrupted(self, recording: Recording) -> None:
        """Without its last events no answer looks complete, and what is kept is what was told."""
        blocks = recording.body.replace(b"\r\n", b"\n").split(b"\n\n")
        last = next((at for at, block in enumerate(blocks) if _is_terminal(block)), len(blocks))
        for end in range(0, last, max(1, last // 40)):
            result = play(decoder(), at_random(b"\n\n".join(blocks[:end]) + b"\n\n"))
            assert isinstance(result.error, StreamInterruptedError)
            assert result.response.text == "".join(e.text for e in result.events if isinstance(e, TextDelta))


def _is_terminal(block: bytes) -> bool:
    terminals = ("completed", "incomplete", "failed")
    return b'"type":"error"' in block or any(f'"type":"response.{name}"'.encode() in block for name in terminals)
