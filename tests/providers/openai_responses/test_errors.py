"""The Responses decoder: errors in the stream, and streams that are none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxllm._protocol import Frame
from rxllm.errors import ContextWindowExceededError as _TooLong
from rxllm.errors import (
    LLMError,
    OverloadedError,
    ProtocolError,
    ProviderStreamError,
    RateLimitError,
    StreamInterruptedError,
)
from tests.providers.openai_responses.streams import (
    COUNTS,
    Event,
    added,
    body,
    completed,
    decoder,
    delta,
    plain_answer,
    played,
)
from tests.providers.recordings import play, play_frames


class TestErrors:
    """In-band errors, in every shape, end the stream with what came before as partial."""

    @pytest.mark.parametrize(
        ("event", "kind"),
        [
            ({"type": "error", "error": {"type": "server_error", "message": "Down."}}, ProviderStreamError),
            ({"type": "error", "code": "server_error", "message": "Down.", "param": None}, ProviderStreamError),
            ({"type": "error", "code": "rate_limit_exceeded", "message": "Down."}, RateLimitError),
            (completed(status="failed", error={"code": "server_error", "message": "Down."}), ProviderStreamError),
            (completed(status="failed", error={"code": "context_length_exceeded", "message": "Down."}), _TooLong),
            ({"error": {"message": "Down.", "type": "overloaded_error"}}, OverloadedError),
            ({"type": "response.error", "error": {"message": "Down.", "code": "slow_down"}}, OverloadedError),
            ({"type": "server_error", "error": {"message": "Down."}}, ProviderStreamError),
            ({"type": "response.failed", "status": "failed", "error": {"message": "Down."}}, ProviderStreamError),
        ],
    )
    def test_each_shape(self, event: Event, kind: type[LLMError]) -> None:
        """Nested, flat, or in the response itself; with and without its name before it."""
        for named in (True, False):
            result = play(decoder(), [body(delta("x"), event, named=named and "type" in event)])
            assert type(result.error) is kind
            assert "Down." in str(result.error)
            assert result.response.text == "x"

    def test_an_error_field(self) -> None:
        """An SSE field named error is an error, whatever stands in it."""
        for text in (b'{"error": {"message": "Down."}}', b"Down."):
            result = play(decoder(), [body(delta("x")) + b"error: " + text + b"\n\n"])
            assert isinstance(result.error, ProviderStreamError)
            assert "Down." in str(result.error)

    @pytest.mark.parametrize("status", ["failed", "cancelled"])
    def test_a_failure_without_a_word(self, status: str) -> None:
        """The status is what there is to say."""
        result = played(delta("x"), completed(status=status, usage=COUNTS))
        assert isinstance(result.error, ProviderStreamError if status == "failed" else StreamInterruptedError)
        assert status in str(result.error)
        assert (result.response.raw_finish_reason, result.response.usage.output_tokens) == (status, 5)

    def test_the_word_after_the_failure(self) -> None:
        """Azure says in a second event why the response failed: https://github.com/earendil-works/pi/issues/7983."""
        why = {"type": "error", "error": {"code": "rate_limit_exceeded", "message": "Too fast."}}
        result = played(delta("x"), completed(status="failed", error=None), {"type": "keepalive"}, why)
        assert isinstance(result.error, RateLimitError)
        assert (str(result.error), result.error.transient, result.response.text) == ("Too fast.", True, "x")

    @pytest.mark.parametrize(
        "event",
        [
            delta(7),
            delta({"text": "x"}, of="function_call_arguments"),
            {"type": "response.output_item.added", "item": None},
            {"type": "response.output_item.done"},
        ],
    )
    def test_a_known_event_of_the_wrong_shape(self, event: Event) -> None:
        """It is not the protocol."""
        assert isinstance(played(event, completed()).error, ProtocolError)

    def test_json_that_is_none(self) -> None:
        """Cut JSON inside a stream is not the protocol; nor is JSON without end."""
        cut = body(delta("x")) + b'data: {"type": "response.outp\n\n' + body(completed())
        assert isinstance(play(decoder(), [cut]).error, ProtocolError)
        deep = (
            b'data: {"type":"response.output_text.delta","delta":"x","y":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n\n"
        )
        assert isinstance(play(decoder(), [body(delta("x")) + deep]).error, ProtocolError)

    def test_a_document_where_a_stream_was_expected(self) -> None:
        """An error body with status 200 is that error; any other document is not the protocol."""
        assert "Down." in str(play(decoder(), [b'{"error": {"message": "Down."}}']).error)
        assert isinstance(play(decoder(), [json.dumps(completed()["response"]).encode()]).error, ProtocolError)


_NAMES = """type response item item_id output_index content_index summary_index delta part text arguments name call_id
id status output usage error message content summary annotations logprobs sequence_number refusal incomplete_details"""
_KINDS = """response.created response.output_item.added response.output_item.done response.output_text.delta
response.output_text.done response.content_part.done response.reasoning_summary_text.delta response.refusal.delta
response.function_call_arguments.delta response.completed response.incomplete response.failed error response.x.delta
response.x.done message function_call reasoning web_search_call incomplete"""
_WORDS = st.sampled_from(_KINDS.split()) | st.text(max_size=3)
WILD_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES.split()), inner, max_size=6),
)


class TestAnything:
    """Whatever comes, only an `LLMError` goes out, and the grammar holds."""

    @given(st.lists(st.dictionaries(st.sampled_from(_NAMES.split()), WILD_JSON, min_size=1, max_size=8), max_size=8))
    def test_json_of_any_shape(self, events: list[Event]) -> None:
        """Known names with anything under them."""
        play_frames(decoder(), [Frame(json.dumps(event).encode()) for event in events])

    @given(st.lists(st.tuples(_WORDS, WILD_JSON), max_size=8))
    def test_events_of_any_shape(self, events: list[tuple[str, object]]) -> None:
        """Known events with anything in them."""
        frames = [Frame(json.dumps(event).encode(), name) for name, event in events]
        play_frames(decoder(), frames)

    @given(st.lists(st.binary(max_size=40), max_size=8))
    def test_bytes_of_any_kind(self, payloads: list[bytes]) -> None:
        """No JSON at all."""
        play_frames(decoder(), [Frame(payload) for payload in payloads])

    @given(st.data())
    def test_events_left_out_repeated_and_exchanged(self, data: st.DataObject) -> None:
        """Part of a real stream in any order."""
        events = [
            *plain_answer("one", "two"),
            added(1, "function_call", call_id="c1", name="f"),
            delta("{", 1, "function_call_arguments"),
        ]
        order = data.draw(st.lists(st.sampled_from(events), max_size=20))
        play_frames(decoder(), [Frame(json.dumps(event).encode()) for event in order])
