"""The Anthropic Messages wire: errors, and what gateways, proxies and broken servers make of it."""

from __future__ import annotations

import json

import pytest

from rxllm import errors
from rxllm._protocol import Frame
from rxllm.events import TextDelta
from rxllm.messages import ReasoningPart, TextPart, ToolCall
from rxllm.providers.anthropic import AnthropicDecoder
from tests.providers.anthropic.test_decoder import (
    WHOLE,
    Payload,
    answer,
    block_start,
    block_stop,
    decoded,
    delta,
    ending,
    frames,
    message_start,
    text_block,
)
from tests.providers.recordings import play, play_frames


class TestFaults:
    """Errors and oddities."""

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
        """A gateway's [DONE] is no stop_reason."""
        played = play_frames(AnthropicDecoder("a"), [*frames(*WHOLE[:-2]), Frame(b""), Frame(b"[DONE]")])
        assert isinstance(played.error, errors.StreamInterruptedError)

    def test_the_same_message_may_start_twice(self) -> None:
        """Some proxies repeat message_start."""
        assert decoded(*WHOLE) == decoded(WHOLE[0], *WHOLE)

    @pytest.mark.parametrize(
        "first",
        [
            {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 7}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "novelty", "x": 1}},
            delta(0, "text_delta", text="Hi"),
        ],
    )
    def test_a_message_that_starts_late_has_no_start(self, first: Payload) -> None:
        """StreamStart is first or not at all, and what message_start tells is not lost."""
        response = answer(first, message_start(), *ending())  # answer() checks the grammar
        assert (response.id, response.usage.input_tokens) == ("msg_1", 20)

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

    @pytest.mark.parametrize("is_stopped", [True, False])
    def test_a_signature_behind_the_text_is_that_of_the_thought(self, is_stopped: bool) -> None:
        """Apart from its thought it would be refused; the next thought has its own."""
        late = [
            message_start(),
            block_start(0, type="thinking", thinking="", signature=""),
            delta(0, "thinking_delta", thinking="Hm"),
            *([block_stop(0)] if is_stopped else []),
            *text_block(1, "Hi"),
            delta(0, "signature_delta", signature="s"),
            *([] if is_stopped else [block_stop(0)]),
            block_start(2, type="thinking", thinking="", signature=""),
            delta(2, "signature_delta", signature="t"),
            block_stop(2),
            *ending(),
        ]
        assert (
            ReasoningPart("Hm", {"anthropic": {"signature": "s"}}),
            TextPart("Hi"),
            ReasoningPart("", {"anthropic": {"signature": "t"}}),
        ) == answer(*late).parts

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
            Frame(b'{"error": {"message": "upstream went away"}}', is_document=True),
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
