"""The Anthropic Messages wire: what is read from it."""

from __future__ import annotations

import pytest

from rxllm import errors
from rxllm.events import (
    ReasoningDelta,
    Response,
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
from rxllm.messages import ReasoningPart, TextPart, ToolCall, VendorPart
from rxllm.providers.anthropic import AnthropicDecoder
from tests.providers.recordings import Payload, WireReader, play, play_frames, recordings

RECORDINGS = recordings("anthropic")

READER = WireReader(lambda: AnthropicDecoder("anthropic"), named=True)
frames, decoded, answer = READER.frames, READER.decoded, READER.answer


def message_start(**fields: object) -> Payload:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": []}
    usage = {"input_tokens": 20, "cache_read_input_tokens": 5, "output_tokens": 1}
    return {"type": "message_start", "message": {**message, "stop_reason": None, "usage": usage, **fields}}


def block_start(index: int, **block: object) -> Payload:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, kind: str, **fields: object) -> Payload:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def block_stop(index: int) -> Payload:
    return {"type": "content_block_stop", "index": index}


def text_block(index: int, *pieces: str) -> list[Payload]:
    deltas = [delta(index, "text_delta", text=piece) for piece in pieces]
    return [block_start(index, type="text", text=""), *deltas, block_stop(index)]


def tool_block(index: int, *pieces: str, **fields: object) -> list[Payload]:
    deltas = [delta(index, "input_json_delta", partial_json=piece) for piece in pieces]
    block = {"type": "tool_use", "id": f"toolu_{index}", "name": "look_up", "input": {}, **fields}
    return [block_start(index, **block), *deltas, block_stop(index)]


def ending(stop_reason: str | None = "end_turn", **usage: object) -> list[Payload]:
    return [
        {"type": "message_delta", "delta": {"stop_reason": stop_reason, "stop_sequence": None}, "usage": usage},
        {"type": "message_stop"},
    ]


WHOLE: list[Payload] = [
    message_start(),
    {"type": "ping"},
    block_start(0, type="thinking", thinking="", signature=""),
    delta(0, "thinking_delta", thinking="Let me "),
    delta(0, "thinking_delta", thinking="see."),
    delta(0, "signature_delta", signature="c2ln"),
    block_stop(0),
    *text_block(1, "Looking", " it up…"),
    *tool_block(2, "", '{"word": ', '"rx"}'),
    *ending("tool_use", output_tokens=42, output_tokens_details={"thinking_tokens": 7}),
]


class TestDecoder:
    """Events of the wire to token events."""

    def test_an_answer_with_thoughts_text_and_a_call(self) -> None:
        """Each event says what is new; StreamEnd holds everything, in order, with what is to be sent back."""
        call = ToolCall("toolu_2", "look_up", {"word": "rx"})
        usage = Usage(input_tokens=20, output_tokens=42, total_tokens=67, cached_input_tokens=5, reasoning_tokens=7)
        response = Response(
            text="Looking it up…",
            reasoning="Let me see.",
            tool_calls=(call,),
            finish_reason="tool_calls",
            raw_finish_reason="tool_use",
            usage=usage,
            id="msg_1",
            model="claude-x",
            provider="anthropic",
            parts=(
                ReasoningPart("Let me see.", {"anthropic": {"signature": "c2ln"}}),
                TextPart("Looking it up…"),
                call,
            ),
        )
        assert [
            StreamStart("msg_1", "claude-x"),
            UsageUpdate(Usage(input_tokens=20, output_tokens=1, total_tokens=26, cached_input_tokens=5)),
            ReasoningDelta("Let me "),
            ReasoningDelta("see."),
            TextDelta("Looking"),
            TextDelta(" it up…"),
            ToolCallStart(0, "toolu_2", "look_up"),
            ToolCallDelta(0, '{"word": '),
            ToolCallDelta(0, '"rx"}'),
            ToolCallEnd(0, call),
            UsageUpdate(usage),
            StreamEnd(response),
        ] == decoded(*WHOLE)

    def test_a_stream_cut_inside_an_event_is_interrupted(self) -> None:
        """Half an event is a truncation, not a protocol error."""
        body = b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","mod'
        assert isinstance(play(AnthropicDecoder("a"), [body]).error, errors.StreamInterruptedError)

    def test_an_answer_without_message_stop_is_whole(self) -> None:
        """Some gateways leave it out: the stop_reason came, and the body ended well."""
        assert decoded(*WHOLE) == list(play_frames(AnthropicDecoder("anthropic"), frames(*WHOLE[:-1])).events)

    def test_text_of_many_blocks_is_joined_without_separators(self) -> None:
        """One answer with citations is many text blocks; each stays a part of its own with its citations."""
        cited = {"type": "char_location", "cited_text": "rx", "document_index": 0}
        payloads = [
            message_start(),
            *text_block(0, "It says "),
            block_start(1, type="text", text="", citations=[]),
            delta(1, "citations_delta", citation=cited),
            delta(1, "text_delta", text="rx"),
            block_stop(1),
            block_start(2, type="text", text=".", citations=None),
            block_stop(2),
            *ending(),
        ]
        response = answer(*payloads)
        assert response.text == "It says rx."
        assert (
            TextPart("It says "),
            TextPart("rx", {"anthropic": {"citations": [cited]}}),
            TextPart("."),
        ) == response.parts
        assert VendorEvent("citations_delta", {"type": "citations_delta", "citation": cited}) in decoded(*payloads)

    @pytest.mark.parametrize("pieces", [(), ("",)])
    def test_a_call_without_arguments_has_empty_ones(self, pieces: tuple[str, ...]) -> None:
        """No input_json_delta, or an empty one, means {}."""
        response = answer(message_start(), *tool_block(0, *pieces), *ending("tool_use"))
        assert (ToolCall("toolu_0", "look_up", {}),) == response.tool_calls

    def test_a_call_cut_by_max_tokens_before_its_first_letter_is_no_call(self) -> None:
        """Only the stop reason tells a call without arguments from one whose arguments were cut off."""
        payloads = [message_start(), *tool_block(0, ""), *tool_block(1), *ending("max_tokens")]
        assert (ToolCall("toolu_0", "look_up", {}),) == answer(*payloads).tool_calls

    def test_a_call_cut_by_max_tokens_is_no_call(self) -> None:
        """Cut arguments are never handed out as a call."""
        response = answer(message_start(), *tool_block(0, '{"word": "r'), *ending("max_tokens"))
        assert (response.tool_calls, response.finish_reason) == ((), "length")

    def test_a_finished_answer_with_a_call_that_is_not_json_is_a_protocol_error(self) -> None:
        """A model that means to call gives JSON; ending quietly without the call would hide it."""
        with pytest.raises(errors.ProtocolError, match="look_up"):
            answer(message_start(), *tool_block(0, '{"word": '), *ending("tool_use"))

    def test_input_that_is_whole_at_the_start_is_told_as_one_delta(self) -> None:
        """Calls made from the code execution tool have no deltas; who made them is sent back."""
        caller = {"type": "code_execution_20250825", "tool_id": "srvtoolu_1"}
        payloads = [message_start(), *tool_block(0, input={"word": "rx"}, caller=caller), *ending("tool_use")]
        call = ToolCall("toolu_0", "look_up", {"word": "rx"}, {"anthropic": {"caller": caller}})
        assert [ToolCallStart(0, "toolu_0", "look_up"), ToolCallDelta(0, '{"word":"rx"}'), ToolCallEnd(0, call)] == [
            event for event in decoded(*payloads) if isinstance(event, ToolCallStart | ToolCallDelta | ToolCallEnd)
        ]

    def test_a_message_that_starts_whole(self) -> None:
        """message_start may hold the content and the stop reason, and message_stop follow at once."""
        content = [
            {"type": "text", "text": "One moment."},
            {"type": "tool_use", "id": "toolu_9", "name": "look_up", "input": {"word": "rx"}},
        ]
        response = answer(message_start(content=content, stop_reason="tool_use"), {"type": "message_stop"})
        assert ("One moment.", (ToolCall("toolu_9", "look_up", {"word": "rx"}),), "tool_calls") == (
            response.text,
            response.tool_calls,
            response.finish_reason,
        )

    def test_server_tools_are_told_and_carried_but_are_no_calls(self) -> None:
        """They use the same deltas as client-run calls; a block is told whole once it has ended."""
        use = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
        result = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
        payloads = [
            message_start(),
            block_start(0, **use),
            delta(0, "input_json_delta", partial_json='{"query": '),
            delta(0, "input_json_delta", partial_json='"rx"}'),
            block_stop(0),
            block_start(1, **result),
            block_stop(1),
            *text_block(2, "Found."),
            *ending("pause_turn"),
        ]
        used = {**use, "input": {"query": "rx"}}
        events = decoded(*payloads)
        assert [VendorEvent("server_tool_use", used), VendorEvent("web_search_tool_result", result)] == [
            event for event in events if isinstance(event, VendorEvent)
        ]
        response = answer(*payloads)
        assert (response.tool_calls, response.finish_reason, response.raw_finish_reason) == ((), "other", "pause_turn")
        assert (VendorPart("anthropic", used), VendorPart("anthropic", result), TextPart("Found.")) == response.parts

    def test_a_server_tools_cut_input_is_told_as_text_and_not_carried(self) -> None:
        """Half a block cannot be sent back."""
        payloads = [
            message_start(),
            block_start(0, type="server_tool_use", id="srvtoolu_1", name="web_search", input={}),
            delta(0, "input_json_delta", partial_json='{"query": '),
            block_stop(0),
            *ending("max_tokens"),
        ]
        told = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": '{"query": '}
        assert VendorEvent("server_tool_use", told) in decoded(*payloads)
        assert answer(*payloads).parts == ()

    def test_blocks_we_do_not_know_grow_with_their_deltas(self) -> None:
        """Compaction, redacted thinking and what is invented tomorrow are told whole and carried back."""
        payloads = [
            message_start(),
            block_start(0, type="compaction", content=None),
            delta(0, "compaction_delta", content="Earlier, ", encrypted_content="e1"),
            delta(0, "compaction_delta", content="we spoke.", encrypted_content="e2"),
            block_stop(0),
            block_start(1, type="redacted_thinking", data="opaque"),
            block_stop(1),
            *ending(),
        ]
        blocks: list[Payload] = [
            {"type": "compaction", "content": "Earlier, we spoke.", "encrypted_content": "e2"},
            {"type": "redacted_thinking", "data": "opaque"},
        ]
        assert [VendorEvent(str(block["type"]), block) for block in blocks] == [
            event for event in decoded(*payloads) if isinstance(event, VendorEvent)
        ]
        assert tuple(VendorPart("anthropic", block) for block in blocks) == answer(*payloads).parts

    def test_a_fallback_block_names_the_model_that_answers(self) -> None:
        """The model of message_start was the one asked for."""
        block = block_start(0, type="fallback", **{"from": {"model": "claude-x"}, "to": {"model": "claude-y"}})
        response = answer(message_start(), block, block_stop(0), *text_block(1, "Hi"), *ending())
        assert response.model == "claude-y"

    def test_news_of_the_wire_become_vendor_events(self) -> None:
        """Unknown events and deltas are told, and nothing is told before StreamStart."""
        payloads = [
            {"type": "novelty", "value": 1},
            message_start(),
            block_start(0, type="text", text=""),
            delta(0, "novelty_delta", novelty="x"),
            {"type": "novelty", "value": 2},
            block_stop(0),
            *ending(),
        ]
        events = decoded(*payloads)
        assert StreamStart("msg_1", "claude-x") == events[0]
        assert [
            VendorEvent("novelty", {"type": "novelty", "value": 1}),
            VendorEvent("novelty_delta", {"type": "novelty_delta", "novelty": "x"}),
            VendorEvent("novelty", {"type": "novelty", "value": 2}),
        ] == [event for event in events if isinstance(event, VendorEvent)]

    def test_what_the_ending_says_beyond_our_model_is_told(self) -> None:
        """Stop sequences, refusal details, containers and unusual counts."""
        payloads = [
            message_start(container={"id": "container_1"}),
            {
                "type": "message_delta",
                "delta": {"stop_reason": "stop_sequence", "stop_sequence": "END", "stop_details": None},
                "usage": {"output_tokens": 3, "server_tool_use": {"web_search_requests": 2}, "cache_creation": None},
            },
            {"type": "message_stop", "metrics": {"latency": 5}},
        ]
        assert [
            VendorEvent("message_start", {"container": {"id": "container_1"}}),
            VendorEvent("message_delta", {"stop_sequence": "END"}),
            VendorEvent("usage", {"server_tool_use": {"web_search_requests": 2}}),
            VendorEvent("message_stop", {"metrics": {"latency": 5}}),
        ] == [event for event in decoded(*payloads) if isinstance(event, VendorEvent)]

    def test_usage_is_a_running_total_that_may_leave_counts_out(self) -> None:
        """What an event names replaces what was known, what it leaves out or has as null stays."""
        payloads = [
            message_start(usage={"input_tokens": 20, "cache_creation_input_tokens": 4, "output_tokens": 1}),
            {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 9, "input_tokens": None}},
            *ending("end_turn", input_tokens=30, output_tokens=12),
        ]
        assert [
            Usage(input_tokens=20, output_tokens=1, total_tokens=25),
            Usage(input_tokens=20, output_tokens=9, total_tokens=33),
            Usage(input_tokens=30, output_tokens=12, total_tokens=46),
        ] == [event.usage for event in decoded(*payloads) if isinstance(event, UsageUpdate)]

    def test_a_count_does_not_sink_to_0(self) -> None:
        """Some gateways end with 0 for what the message began with."""
        usage = answer(message_start(), *ending(input_tokens=0, cache_read_input_tokens=0, output_tokens=7)).usage
        assert Usage(input_tokens=20, output_tokens=7, total_tokens=32, cached_input_tokens=5) == usage

    def test_usage_that_is_not_told_is_unknown(self) -> None:
        """Unknown is None, never 0."""
        assert Usage() == answer(message_start(usage=None), *ending(None)).usage

    @pytest.mark.parametrize(
        ("raw", "reason"),
        [
            ("end_turn", "stop"),
            ("stop_sequence", "stop"),
            ("max_tokens", "length"),
            ("model_context_window_exceeded", "length"),
            ("refusal", "refusal"),
            ("pause_turn", "other"),
            ("invented_tomorrow", "other"),
            (None, "other"),
        ],
    )
    def test_stop_reasons_have_our_names_and_keep_their_own(self, raw: str | None, reason: str) -> None:
        """A message with no block at all is a whole answer too."""
        response = answer(message_start(), *ending(raw))
        assert (reason, raw) == (response.finish_reason, response.raw_finish_reason)
