"""The Anthropic Messages wire: what is read from it, and what is asked on it."""

from __future__ import annotations

import json

import pytest

from rxllm import errors
from rxllm._wire import Frame, WireRequest
from rxllm.events import (
    ReasoningDelta,
    Response,
    StreamEnd,
    StreamStart,
    TextDelta,
    TokenEvent,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    Usage,
    UsageUpdate,
    VendorEvent,
)
from rxllm.messages import (
    AudioPart,
    DocumentPart,
    ImagePart,
    Message,
    ReasoningPart,
    TextPart,
    ToolCall,
    ToolResult,
    VendorPart,
    messages_from_json,
    messages_to_json,
)
from rxllm.options import JsonFormat, Options, Tool
from rxllm.providers._anthropic_request import MAX_TOKENS, MAX_TOKENS_THINKING
from rxllm.providers.anthropic import Anthropic, AnthropicDecoder
from tests.providers.recordings import CUTS, Cut, Recording, check, play, play_frames, recordings
from tests.shared import needs_shared

RECORDINGS = recordings("anthropic")

DISAGREEMENTS = {
    "vercel-anthropic-spliced-message-start": (
        errors.ProtocolError,
        "message_start for msg_second comes while block 1 of msg_first is open, and then blocks 0 and 1 start again: "
        "two answers in one stream. Joining them would hand out one answer that no model gave.",
    ),
}
"""Recordings whose expectation we do not share: the error we raise, and what in the bytes says so."""

Payload = dict[str, object]


def frames(*payloads: Payload) -> list[Frame]:
    """Events of the wire, named by their type."""
    return [Frame(json.dumps(payload).encode(), str(payload["type"])) for payload in payloads]


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


def decoded(*payloads: Payload) -> list[TokenEvent]:
    """All events of a whole stream."""
    played = play_frames(AnthropicDecoder("anthropic"), frames(*payloads))
    if played.error is not None:
        raise played.error
    return list(played.events)


def answer(*payloads: Payload) -> Response:
    """The response at the end of a whole stream."""
    end = decoded(*payloads)[-1]
    assert isinstance(end, StreamEnd)
    return end.response


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


class TestRecordings:
    """The shared recordings, decoded as the vendors' own SDKs decode them."""

    @needs_shared
    @pytest.mark.parametrize("cut", CUTS)
    @pytest.mark.parametrize("recording", RECORDINGS, ids=str)
    def test_every_recording_gives_what_is_expected_however_it_is_cut(self, recording: Recording, cut: Cut) -> None:
        """Text, reasoning, calls, finish reason, usage and error are the reference's, or the table says why not."""
        expected = recording.expected
        played = play(AnthropicDecoder("anthropic"), cut(recording.body))
        if recording.name in DISAGREEMENTS:
            assert isinstance(played.error, DISAGREEMENTS[recording.name][0])
            return
        check(played, expected, interrupted=expected["finish_reason"] is None and expected["error"] is None)

    @needs_shared
    @pytest.mark.parametrize("recording", RECORDINGS, ids=str)
    def test_every_recorded_answer_can_be_sent_back(self, recording: Recording) -> None:
        """A conversation goes on after any answer, and saving it as JSON in between loses nothing."""
        said = play(AnthropicDecoder("anthropic"), [recording.body]).response.message
        conversation = messages_from_json(messages_to_json([Message.user("go on"), said]))
        body = asked(*conversation)
        assert conversation == (Message.user("go on"), said)
        assert {"user"} | ({"assistant"} if len(body["messages"]) > 1 else set()) == {
            turn["role"] for turn in body["messages"]
        }


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

    @pytest.mark.parametrize("length", range(len(WHOLE)))
    def test_a_stream_cut_after_any_event_is_interrupted(self, length: int) -> None:
        """Only message_stop makes an answer whole; what came before the cut is in the partial response."""
        played = play_frames(AnthropicDecoder("anthropic"), frames(*WHOLE[:length]))
        assert isinstance(played.error, errors.StreamInterruptedError)
        assert "".join(e.text for e in played.events if isinstance(e, TextDelta)) == played.response.text
        assert "".join(e.text for e in played.events if isinstance(e, ReasoningDelta)) == played.response.reasoning
        assert tuple(e.call for e in played.events if isinstance(e, ToolCallEnd)) == played.response.tool_calls
        usages = [e.usage for e in played.events if isinstance(e, UsageUpdate)]
        assert (usages[-1] if usages else Usage()) == played.response.usage

    def test_a_stream_cut_inside_an_event_is_interrupted(self) -> None:
        """Half an event is a truncation, not a protocol error."""
        body = b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","mod'
        assert isinstance(play(AnthropicDecoder("a"), [body]).error, errors.StreamInterruptedError)

    def test_the_stop_reason_of_an_answer_cut_before_its_end_is_in_the_partial_response(self) -> None:
        """message_delta may have come although message_stop did not."""
        played = play_frames(AnthropicDecoder("a"), frames(*WHOLE[:-1]))
        assert isinstance(played.error, errors.StreamInterruptedError)
        assert (played.response.finish_reason, played.response.raw_finish_reason) == ("tool_calls", "tool_use")

    def test_keys_in_any_order_and_events_without_a_name(self) -> None:
        """The payload's type decides, wherever it stands; the event name is only a fallback."""
        reordered = [Frame(json.dumps(dict(reversed(payload.items()))).encode()) for payload in WHOLE]
        unnamed = [
            Frame(json.dumps({key: value for key, value in payload.items() if key != "type"}).encode(), named.event)
            for payload, named in zip(WHOLE, frames(*WHOLE), strict=True)
        ]
        for variant in (reordered, unnamed):
            assert decoded(*WHOLE) == list(play_frames(AnthropicDecoder("anthropic"), variant).events)

    def test_what_follows_the_end_says_nothing(self) -> None:
        """Gateways add [DONE] or repeat the last event."""
        after = [Frame(b"[DONE]", "data"), *frames({"type": "message_stop"}), Frame(b"}{")]
        assert decoded(*WHOLE) == list(play_frames(AnthropicDecoder("anthropic"), [*frames(*WHOLE), *after]).events)

    def test_done_and_empty_payloads_before_the_end_do_not_end_it(self) -> None:
        """A gateway's [DONE] is no message_stop."""
        played = play_frames(AnthropicDecoder("a"), [*frames(*WHOLE[:-1]), Frame(b""), Frame(b"[DONE]")])
        assert isinstance(played.error, errors.StreamInterruptedError)

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
            delta(0, "compaction_delta", content="we spoke."),
            block_stop(0),
            block_start(1, type="redacted_thinking", data="opaque"),
            block_stop(1),
            *ending(),
        ]
        blocks: list[Payload] = [
            {"type": "compaction", "content": "Earlier, we spoke.", "encrypted_content": "e1"},
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

    def test_the_same_message_may_start_twice(self) -> None:
        """Some proxies repeat message_start."""
        assert decoded(*WHOLE) == decoded(WHOLE[0], *WHOLE)

    def test_another_message_inside_the_first_is_a_protocol_error(self) -> None:
        """Two answers spliced into one stream would mix their blocks."""
        with pytest.raises(errors.ProtocolError, match="msg_2"):
            decoded(*WHOLE[:5], message_start(id="msg_2"))

    def test_gateways_that_leave_out_block_ends_and_starts(self) -> None:
        """The next start of an index or the end of the message ends a block; text needs no start."""
        lenient = [
            delta(0, "text_delta", text="Hi"),
            message_start(),
            block_start(1, type="tool_use", id="toolu_1", name="look_up", input={}),
            delta(1, "input_json_delta", partial_json="{}"),
            *ending("tool_use"),
        ]
        response = answer(*lenient)
        assert ("Hi", (ToolCall("toolu_1", "look_up", {}),), "claude-x") == (
            response.text,
            response.tool_calls,
            response.model,
        )

    @pytest.mark.parametrize(
        "payload",
        [delta(7, "input_json_delta", partial_json="{"), block_start(0, type="tool_use", id="toolu_1", name=None)],
    )
    def test_calls_that_belong_to_nothing_are_protocol_errors(self, payload: Payload) -> None:
        """Arguments of a block that never began, and a call without a name."""
        with pytest.raises(errors.ProtocolError):
            decoded(message_start(), payload)

    @pytest.mark.parametrize("before", [[], WHOLE[:9]])
    def test_an_error_event_is_the_vendors_error(self, before: list[Payload]) -> None:
        """HTTP 200 and then an error, first or mid-answer, is the class its type deserves."""
        error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
        played = play_frames(AnthropicDecoder("a"), frames(*before, error))
        assert isinstance(played.error, errors.OverloadedError)
        assert "Overloaded" in str(played.error)
        assert ("Looking" if before else "") == played.response.text

    @pytest.mark.parametrize(
        "frame",
        [
            Frame(b"upstream went away", "error"),
            Frame(b'{"error": {"message": "upstream went away"}}'),
            Frame(b'{"type": "error", "error": {"type": "api_error", "message": "upstream went away"}}'),
            Frame(b'{"error": {"message": "upstream went away"}}', bare=True),
        ],
    )
    def test_errors_in_other_shapes(self, frame: Frame) -> None:
        """Gateways put bare text, untyped objects or whole JSON documents where an event should be."""
        played = play_frames(AnthropicDecoder("a"), [*frames(WHOLE[0]), frame])
        assert isinstance(played.error, errors.LLMError)
        assert "upstream went away" in str(played.error)

    def test_an_answer_that_does_not_stream_is_a_protocol_error(self) -> None:
        """A JSON document where events were asked for."""
        document = json.dumps({"type": "message", "content": [{"type": "text", "text": "Hi"}]}).encode()
        played = play(AnthropicDecoder("a"), [document])
        assert isinstance(played.error, errors.ProtocolError)

    @pytest.mark.parametrize("data", [b"}{", b"\x00", b"[" * 100_000, b'{"type": "ping"'])
    def test_bytes_that_are_not_json_are_a_protocol_error(self, data: bytes) -> None:
        """No error of another kind escapes."""
        played = play_frames(AnthropicDecoder("a"), [Frame(data)])
        assert isinstance(played.error, errors.ProtocolError)

    @pytest.mark.parametrize("data", [b"[]", b"null", b"7", b'"x"', b"{}"])
    def test_json_that_says_nothing_is_passed_over(self, data: bytes) -> None:
        """Other types of JSON, and an empty object."""
        played = play_frames(AnthropicDecoder("anthropic"), [*frames(*WHOLE[:8]), Frame(data), *frames(*WHOLE[8:])])
        assert played.response.text == "Looking it up…"

    def test_nulls_where_values_are_expected_are_passed_over(self) -> None:
        """A null is nothing said."""
        nulls: list[Payload] = [
            {"type": "content_block_delta", "index": 1, "delta": None},
            delta(1, "text_delta", text=None),
            delta(1, "thinking_delta", thinking=None),
            delta(1, "input_json_delta", partial_json=None),
            delta(1, "signature_delta", signature=None),
        ]
        empty_end: Payload = {"type": "message_delta", "delta": None, "usage": None}
        assert decoded(*WHOLE) == decoded(*WHOLE[:9], *nulls, *WHOLE[9:-1], empty_end, WHOLE[-1])

    def test_an_emoji_cut_into_two_halves_is_put_together(self) -> None:
        """Text can always be encoded; a half that stays alone becomes U+FFFD."""
        halves = [
            Frame(b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"' + piece + b'"}}')
            for piece in (rb"a\ud83c", rb"\udf0db", rb"\udf0dc", rb"d")
        ]
        played = play_frames(AnthropicDecoder("a"), [*frames(message_start()), *halves, *frames(*ending())])
        assert played.response.text == "a🌍b\ufffdcd"
        assert (
            played.response.text.encode()
            == "".join(event.text for event in played.events if isinstance(event, TextDelta)).encode()
        )


def asked(*messages: Message, model: str = "claude-x", **options: object) -> Payload:
    """The body that is sent for a conversation."""
    body: Payload = json.loads(request(*messages, model=model, **options).body)
    return body


def request(*messages: Message, model: str = "claude-x", **options: object) -> WireRequest:
    wire = Anthropic(provider="anthropic", base_url="https://api.anthropic.com", api_key="k", headers={})
    return wire.request(messages or (Message.user("Hi"),), model, Options(**options))


HI: Payload = {"role": "user", "content": [{"type": "text", "text": "Hi"}]}


class TestRequest:
    """Conversations and options to requests."""

    def test_each_answer_has_a_decoder_of_its_own(self) -> None:
        """What one stream said is nothing to the next."""
        wire = Anthropic(provider="anthropic", base_url="https://api.anthropic.com", api_key=None, headers={})
        first, second = wire.decoder(), wire.decoder()
        first.feed(frames(WHOLE[0])[0])
        assert second.partial() == Response(provider="anthropic")

    def test_the_plainest_request(self) -> None:
        """max_tokens is demanded, so it has a default; nothing else is said that was not asked for."""
        sent = request(Message.user("Hi"))
        assert sent.url == "https://api.anthropic.com/v1/messages"
        assert sent.headers == {
            "x-api-key": "k",
            "anthropic-version": "2023-06-01",
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
        }
        assert sent.framing == "sse"
        assert json.loads(sent.body) == {
            "model": "claude-x",
            "max_tokens": MAX_TOKENS,
            "messages": [HI],
            "stream": True,
        }

    @pytest.mark.parametrize(
        "base_url", ["http://localhost:8080", "http://localhost:8080/v1", "http://localhost:8080/v1/"]
    )
    def test_the_version_in_a_base_url_is_not_doubled(self, base_url: str) -> None:
        """Without a key none is sent; the caller's headers overrule ours whatever their case."""
        wire = Anthropic(provider="a", base_url=base_url, api_key=None, headers={"Anthropic-Version": "2024-01-01"})
        sent = wire.request([Message.user("Hi")], "m", Options())
        assert sent.url == "http://localhost:8080/v1/messages"
        assert {"Content-Type", "Accept", "Anthropic-Version"} == set(sent.headers)

    def test_every_option(self) -> None:
        """Each option under the name that the API has for it."""
        tool = Tool("look_up", "Look a word up.", {"type": "object", "properties": {"word": {"type": "string"}}})
        sent = asked(
            temperature=0.5,
            max_tokens=100,
            top_p=0.9,
            top_k=40,
            stop=("END",),
            tools=(tool,),
            tool_choice="required",
            response_format=JsonFormat({"type": "object", "properties": {"a": {"type": "object"}}}),
            reasoning="low",
            extra_body={"metadata": {"user_id": "u"}, "output_config": {"effort": "max"}},
        )
        closed = {"type": "object", "additionalProperties": False}
        assert {
            "model": "claude-x",
            "max_tokens": 100,
            "messages": [HI],
            "thinking": {"type": "adaptive", "display": "summarized"},
            "output_config": {
                "effort": "max",
                "format": {"type": "json_schema", "schema": {**closed, "properties": {"a": closed}}},
            },
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 40,
            "stop_sequences": ["END"],
            "tools": [{"name": "look_up", "description": "Look a word up.", "input_schema": tool.parameters}],
            "tool_choice": {"type": "any"},
            "stream": True,
            "metadata": {"user_id": "u"},
        } == sent

    @pytest.mark.parametrize(
        ("choice", "sent"),
        [
            ("auto", {"type": "auto"}),
            ("none", {"type": "none"}),
            ("required", {"type": "any"}),
            ("look_up", {"type": "tool", "name": "look_up"}),
        ],
    )
    def test_tool_choices(self, choice: str, sent: Payload) -> None:
        """The three modes, or the one tool to call."""
        assert sent == asked(tools=(Tool("look_up"),), tool_choice=choice)["tool_choice"]

    def test_a_strict_tool_has_closed_objects(self) -> None:
        """Strict schemas must say that nothing else may be in their objects; data in them is left alone."""
        parameters = {
            "type": "object",
            "properties": {
                "enum": {"type": "object"},
                "b": {"anyOf": [{"type": "object"}, {"const": {"type": "object"}}]},
            },
        }
        closed = {"type": "object", "additionalProperties": False}
        assert {
            **closed,
            "properties": {"enum": closed, "b": {"anyOf": [closed, {"const": {"type": "object"}}]}},
        } == asked(tools=(Tool("t", "", parameters, strict=True),))["tools"][0]["input_schema"]

    @pytest.mark.parametrize(
        ("model", "reasoning", "max_tokens", "sent"),
        [
            ("claude-opus-5", "high", None, (MAX_TOKENS_THINKING, "adaptive", None, "high")),
            ("claude-opus-4-6", "low", 500, (500, "adaptive", None, "low")),
            ("claude-sonnet-4-5-20250929", "high", None, (24_576 + MAX_TOKENS, "enabled", 24_576, None)),
            ("anthropic/claude-haiku-4.5", "medium", None, (8192 + MAX_TOKENS, "enabled", 8192, None)),
            ("claude-3-7-sonnet-latest", "high", 10_000, (10_000, "enabled", 5000, None)),
            ("claude-opus-5", 3000, None, (3000 + MAX_TOKENS, "enabled", 3000, None)),
            ("claude-opus-5", 3000, 4000, (4000, "enabled", 3000, None)),
            ("claude-opus-5", 0, None, (MAX_TOKENS, "disabled", None, None)),
        ],
    )
    def test_reasoning(
        self, model: str, reasoning: object, max_tokens: int | None, sent: tuple[int, str, int | None, str | None]
    ) -> None:
        """A budget is a budget and leaves room for the answer; an effort is one where the model knows efforts."""
        body = asked(model=model, reasoning=reasoning, max_tokens=max_tokens)
        effort = body.get("output_config", {}).get("effort")
        thinking = body["thinking"]
        assert sent == (body["max_tokens"], thinking["type"], thinking.get("budget_tokens"), effort)

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("seed", 1),
            ("frequency_penalty", 0.1),
            ("presence_penalty", 0.1),
            ("response_format", JsonFormat()),
        ],
    )
    def test_options_that_the_api_does_not_have_are_refused(self, option: str, value: object) -> None:
        """The error names the option and the provider; nothing is dropped in silence."""
        with pytest.raises(errors.ConfigurationError, match=f"{option}= .*'anthropic'"):
            asked(**{option: value})

    def test_system_messages_stand_beside_the_conversation(self) -> None:
        """One piece is plain text; several, or one with fields of its own, are blocks."""
        cached = TextPart("Be kind.", {"anthropic": {"cache_control": {"type": "ephemeral"}}})
        assert asked(Message.system("Be brief."), Message.user("Hi"))["system"] == "Be brief."
        assert asked(Message.system("Be brief."), Message.user("Hi"), Message("system", (cached,)))["system"] == [
            {"type": "text", "text": "Be brief."},
            {"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}},
        ]

    def test_roles_alternate(self) -> None:
        """Tool results are said by the user, and neighbours of one role are one turn; empty text is left out."""
        call = ToolCall("toolu_1", "look_up", {"word": "rx"})
        conversation = [
            Message.user("Hi"),
            Message.user("Look up rx."),
            Message.assistant("", call),
            Message.tool(ToolResult("toolu_1", "not found", "look_up", is_error=True)),
            Message.user("And now?"),
        ]
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "not found", "is_error": True}
        assert [
            {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "Look up rx."}]},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"word": "rx"}}],
            },
            {"role": "user", "content": [result, {"type": "text", "text": "And now?"}]},
        ] == asked(*conversation)["messages"]

    def test_a_decoded_answer_is_sent_back_as_it_came(self) -> None:
        """Thoughts with their signature, server tools, citations, calls with their caller: nothing is lost."""
        cited = {"type": "char_location", "cited_text": "rx"}
        blocks: list[Payload] = [
            {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "opaque"},
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "rx"}},
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
            {"type": "text", "text": "Found.", "citations": [cited]},
            {"type": "thinking", "thinking": "", "signature": "b21pdHRlZA=="},
            {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {}, "caller": {"type": "direct"}},
        ]
        said = answer(message_start(content=blocks, stop_reason="tool_use"), {"type": "message_stop"}).message
        restored = messages_from_json(messages_to_json([said]))[0]
        assert {"role": "assistant", "content": blocks} == asked(Message.user("Hi"), restored)["messages"][1]

    def test_what_other_vendors_carry_is_left_out(self) -> None:
        """Unsigned thoughts and other wires' items mean nothing here."""
        said = Message(
            "assistant",
            (
                ReasoningPart("Hm.", {"gemini": {"thoughtSignature": "x"}}),
                VendorPart("openai-responses", {"type": "reasoning"}),
                TextPart("Hello", {"gemini": {"thoughtSignature": "x"}}),
            ),
        )
        assert asked(Message.user("Hi"), said)["messages"][1] == {
            "role": "assistant",
            "content": [{"type": "text", "text": "Hello"}],
        }

    @pytest.mark.parametrize(
        ("part", "block"),
        [
            (
                ImagePart(url="https://example.com/cat.png"),
                {"type": "image", "source": {"type": "url", "url": "https://example.com/cat.png"}},
            ),
            (
                ImagePart(data=b"\x89PNG", media_type="image/png"),
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}},
            ),
            (
                ImagePart(url="data:image/png;base64,iVBORw=="),
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}},
            ),
            (
                DocumentPart(url="https://example.com/a.pdf", name="A"),
                {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}, "title": "A"},
            ),
            (
                DocumentPart(data=b"%PDF", media_type="application/pdf"),
                {
                    "type": "document",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
                },
            ),
            (
                DocumentPart(data="é".encode(), media_type="text/markdown"),
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "é"}},
            ),
            (
                DocumentPart(url="data:,a%20b"),
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a b"}},
            ),
        ],
    )
    def test_images_and_documents(self, part: ImagePart | DocumentPart, block: Payload) -> None:
        """By address, as bytes, or in a data: URL."""
        assert [block] == asked(Message.user(part))["messages"][0]["content"]

    @pytest.mark.parametrize(
        ("part", "named"),
        [
            (AudioPart(data=b"RIFF", media_type="audio/wav"), "AudioPart"),
            (DocumentPart(data=b"PK", media_type="application/zip"), "DocumentPart.*application/zip"),
            (ImagePart(url="https://example.com/cat.png", detail="low"), "ImagePart.*detail"),
            (ImagePart(url="data:image/png;base64,%%%"), "ImagePart.*base64"),
            (ImagePart(url="data:image/png"), "ImagePart.*comma"),
        ],
    )
    def test_parts_that_the_api_does_not_take_are_refused(
        self, part: AudioPart | DocumentPart | ImagePart, named: str
    ) -> None:
        """The error names the part and says what to do."""
        with pytest.raises(errors.ConfigurationError, match=named):
            asked(Message.user(part))

    def test_a_system_message_is_text(self) -> None:
        """Anything else in it is refused."""
        with pytest.raises(errors.ConfigurationError, match=r"ImagePart.*system"):
            asked(Message("system", (ImagePart(url="https://example.com/cat.png"),)), Message.user("Hi"))

    def test_a_conversation_needs_something_said(self) -> None:
        """Instructions alone are refused by the API, so they are refused here."""
        with pytest.raises(errors.ConfigurationError, match="at least one message"):
            asked(Message.system("Be brief."))
