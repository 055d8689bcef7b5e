"""The Chat Completions decoder: every dialect, on streams written here and on the shared recordings."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxllm._protocol import Frame
from rxllm.errors import (
    ContextWindowExceededError,
    LLMError,
    OverloadedError,
    ProtocolError,
    ProviderStreamError,
    RateLimitError,
    StreamInterruptedError,
)
from rxllm.events import ReasoningDelta, StreamEnd, StreamStart, TextDelta, TokenEvent, Usage, UsageUpdate, VendorEvent
from rxllm.messages import ReasoningPart, TextPart, VendorPart
from tests.providers.openai_chat.streams import DONE, body, chunk, decoder, events, played, tool
from tests.providers.recordings import CUTS, Cut, Played, Recording, at_random, play, play_frames, recordings
from tests.shared import needs_shared

_NAMES = """choices delta content index tool_calls function name arguments usage error message type id finish_reason
reasoning_details prompt_tokens x_groq refusal text logprobs"""
WILD_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES.split()), inner, max_size=5),
)


class TestAnswer:
    """Text, from the first chunk to the end."""

    def test_a_plain_answer(self) -> None:
        """Role, pieces, finish_reason, usage in a chunk without choices, [DONE]."""
        usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
        result = played(
            chunk({"role": "assistant", "content": ""}),
            chunk({"content": "Hel"}),
            chunk({"content": "lo"}),
            chunk(finish="stop"),
            json.dumps({"id": "c-1", "choices": [], "usage": usage}),
            DONE,
        )
        counted = Usage(5, 2, 7)
        assert result.events[:-1] == (
            StreamStart("c-1", "m-1"),
            TextDelta("Hel"),
            TextDelta("lo"),
            UsageUpdate(counted),
        )
        response = result.response
        assert (response.text, response.finish_reason, response.raw_finish_reason) == ("Hello", "stop", "stop")
        assert (response.usage, response.id, response.model, response.provider) == (counted, "c-1", "m-1", "acme")
        assert response.parts == (TextPart("Hello"),)

    def test_text_on_the_finishing_chunk(self) -> None:
        """A finish_reason does not hide the text beside it."""
        assert events(chunk({"content": "Hi"}), chunk({"content": "!"}, "stop"), DONE) == (
            TextDelta("Hi"),
            TextDelta("!"),
        )

    def test_the_first_id_and_model_that_are_there_hold(self) -> None:
        """An opening chunk without id waits; a change midway is passed over."""
        opening = json.dumps({"id": "", "model": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]})
        result = played(opening, chunk({"content": "a"}), chunk({"content": "b"}, "stop", id="c-2", model="m-2"), DONE)
        assert result.events[:3] == (
            StreamStart("c-1", "m-1"),
            VendorEvent("prompt_filter_results", {"prompt_filter_results": [{"prompt_index": 0}]}),
            TextDelta("a"),
        )
        assert (result.response.id, result.response.model) == ("c-1", "m-1")

    def test_other_candidates_are_not_the_answer(self) -> None:
        """Candidate 0 is the answer; what others say is told as it came."""
        said = events(
            chunk({"content": "no"}, index=1),
            chunk({"content": "yes"}, index=None),
            chunk(finish="stop", index=1),
            chunk(finish="stop"),
            DONE,
        )
        assert [TextDelta("yes")] == [event for event in said if isinstance(event, TextDelta)]
        assert [event.data["index"] for event in said if isinstance(event, VendorEvent)] == [1, 1]

    def test_nulls_and_emptiness_say_nothing(self) -> None:
        """Nulls where values could stand, empty deltas and payloads of other types bring no event."""
        empty = {"role": "assistant", "content": None, "refusal": None, "tool_calls": None, "reasoning_content": ""}
        nothing = (
            *("[]", '"text"', "7", "null", "{}", '{"type": "ping"}', '{"type": "keepalive"}', '{"choices": null}'),
            *('{"choices": [null, {}]}', chunk(None), chunk(empty, usage=None, system_fingerprint=None)),
            json.dumps({"choices": [{"index": 0, "delta": None, "logprobs": {"content": None, "refusal": None}}]}),
        )
        assert events(*nothing, chunk({"content": "x"}, "stop"), DONE) == (TextDelta("x"),)

    def test_a_whole_message_where_deltas_were_asked_for(self) -> None:
        """A server that does not stream, and wraps its answer into one event, has answered all the same."""
        choice = {"index": 0, "message": {"role": "assistant", "content": "All."}, "finish_reason": "stop"}
        assert events(json.dumps({"object": "chat.completion", "choices": [choice]}), DONE) == (TextDelta("All."),)

    def test_a_legacy_completion(self) -> None:
        """Text right in the choice counts where there is neither delta nor message; beside a delta it is the same."""
        pieces = [json.dumps({"choices": [{"index": 0, "text": text, "finish_reason": None}]}) for text in ("a", "b")]
        both = {"index": 0, "delta": {"content": "c"}, "text": "c", "finish_reason": "stop"}
        said = events(*pieces, json.dumps({"choices": [both]}), DONE)
        assert said == (TextDelta("a"), TextDelta("b"), TextDelta("c"))

    def test_the_message_beside_a_delta_is_passed_over(self) -> None:
        """Some repeat the whole answer so far in every chunk."""
        choice = {"index": 0, "delta": {"content": "a"}, "message": {"content": "a"}, "finish_reason": None}
        whole = {"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}
        payloads = (json.dumps({"choices": [choice]}), json.dumps({"choices": [whole]}), DONE)
        assert events(*payloads) == (TextDelta("a"),)

    def test_a_character_cut_over_two_deltas_is_put_together(self) -> None:
        """Text can always be encoded."""
        halves = [chunk({"content": "@"}).replace("@", half) for half in ("a\\ud83c", "\\udf0db")]
        assert events(*halves, chunk(finish="stop"), DONE) == (TextDelta("a"), TextDelta("🌍b"))


class TestReasoning:
    """Wherever it stands."""

    @pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "reasoning_text"])
    def test_under_each_name(self, field: str) -> None:
        """The field is kept with the part, for vendors that want it back."""
        result = played(chunk({field: "Hm"}), chunk({field: "m.", "content": "Yes"}), chunk(finish="stop"), DONE)
        assert result.events[1:4] == (ReasoningDelta("Hm"), ReasoningDelta("m."), TextDelta("Yes"))
        assert result.response.parts == (ReasoningPart("Hmm.", {"openai-chat": {"field": field}}), TextPart("Yes"))

    @pytest.mark.parametrize(
        "thought",
        [{"content": "Hm"}, {"type": "text", "text": "Hm"}, [{"type": "summary_text", "text": "H"}, {"text": "m"}]],
    )
    def test_as_an_object_or_a_list(self, thought: object) -> None:
        """The words in it are the piece of reasoning."""
        assert events(chunk({"reasoning": thought}), chunk({"content": "x"}, "stop"), DONE) == (
            *map(ReasoningDelta, ["Hm"]), TextDelta("x"),
        )  # fmt: skip

    def test_said_twice_counts_once(self) -> None:
        """The same words under several names are one piece."""
        details = [{"type": "reasoning.text", "text": "Hm", "index": 0}]
        twice = {"reasoning": "Hm", "reasoning_content": "Hm", "reasoning_details": details}
        assert events(chunk(twice), chunk(finish="stop"), DONE) == (ReasoningDelta("Hm"),)

    def test_in_details_alone(self) -> None:
        """Texts and summaries speak, ciphers do not; all go back joined by entry."""
        pieces = (
            {"type": "reasoning.text", "text": "A", "index": 0},
            {"type": "reasoning.text", "text": "B", "index": 0, "signature": "s"},
            {"type": "reasoning.summary", "summary": "C"},
            {"type": "reasoning.encrypted", "data": "xx"},
            {"type": "reasoning.encrypted", "data": "yy"},
        )
        result = played(*(chunk({"reasoning_details": [piece]}) for piece in pieces), chunk(finish="stop"), DONE)
        assert result.response.reasoning == "ABC"
        joined = {"type": "reasoning.text", "index": 0, "signature": "s", "text": "AB"}
        assert result.response.parts[-1] == VendorPart(
            "openai-chat", {"reasoning_details": [joined, pieces[2], pieces[3], pieces[4]]}
        )

    def test_in_a_content_list(self) -> None:
        """Lists and plain text may take turns, and one list can hold both kinds."""
        thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}], "closed": True}
        summary = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Ha"}]}
        reference = {"type": "reference", "reference_ids": [1]}
        said = events(
            chunk({"content": [thinking]}),
            chunk({"content": [summary, {"type": "text", "text": "So"}, reference]}),
            chunk({"content": ["…", None, {"type": "refusal", "refusal": "No"}]}),
            chunk({"content": {"type": "output_text", "text": " so"}}),
            chunk({"content": " it is"}),
            chunk(finish="stop"),
            DONE,
        )
        assert said == (
            ReasoningDelta("Hm"),
            ReasoningDelta("Ha"),
            TextDelta("So"),
            VendorEvent("reference", reference),
            TextDelta("…"),
            VendorEvent("refusal", {"refusal": "No"}),
            TextDelta(" so"),
            TextDelta(" it is"),
        )

    def test_in_any_chunk_after_the_first_piece(self) -> None:
        """Reasoning and text beside each other keep their order, chunk after chunk."""
        both = chunk({"reasoning_content": "a", "content": "b"})
        assert events(both, both, chunk(finish="stop"), DONE) == (ReasoningDelta("a"), TextDelta("b")) * 2

    def test_think_tags_are_text(self) -> None:
        """Nobody asked for them to be split off."""
        assert events(chunk({"content": "<think>"}, "stop"), DONE) == (TextDelta("<think>"),)


class TestEndings:
    """[DONE] or a finish_reason; anything else is an interruption."""

    @pytest.mark.parametrize(
        ("raw", "reason"),
        [
            *(
                ("stop", "stop"),
                ("eos_token", "stop"),
                ("STOP", "stop"),
                ("length", "length"),
                ("max_tokens", "length"),
            ),
            *(("model_length", "length"), ("tool_calls", "tool_calls"), ("function_call", "tool_calls")),
            *(("content_filter", "content_filter"), ("refusal", "refusal")),
        ],
    )
    def test_finish_reasons(self, raw: str, reason: str) -> None:
        """Ours beside the vendor's own word."""
        calls = [tool(id="t", name="f", arguments="{}")] if reason == "tool_calls" else []
        response = played(chunk({"content": "x"}), *calls, chunk(finish=raw), DONE).response
        assert (response.finish_reason, response.raw_finish_reason) == (reason, raw)

    def test_a_refusal_is_told_and_named(self) -> None:
        """It is no text; the finish_reason says so though the wire says stop."""
        result = played(
            chunk({"content": "", "refusal": "I"}), chunk({"refusal": " can't"}), chunk(finish="stop"), DONE
        )
        assert VendorEvent("refusal", {"refusal": " can't"}) in result.events
        assert (result.response.text, result.response.finish_reason) == ("", "refusal")
        assert result.response.parts == (VendorPart("openai-chat", {"refusal": "I can't"}),)

    def test_a_finish_reason_said_twice(self) -> None:
        """One end, and nothing after it."""
        result = played(chunk({"content": "x"}, "stop"), chunk(finish="stop"), DONE, DONE, chunk({"content": "y"}))
        assert [StreamEnd] == [type(event) for event in result.events if isinstance(event, StreamEnd)]
        assert result.response.text == "x"

    def test_no_done(self) -> None:
        """A finish_reason is enough."""
        assert played(chunk({"content": "x"}), chunk(finish="stop")).error is None

    def test_no_finish_reason(self) -> None:
        """[DONE] is enough; what the vendor did not say stays unsaid."""
        response = played(chunk({"content": "x"}), DONE).response
        assert (response.finish_reason, response.raw_finish_reason) == ("stop", None)

    @pytest.mark.parametrize("payloads", [(), (DONE,), (chunk({"content": "x"}),), ('{"choices": []}', DONE)])
    def test_neither(self, payloads: tuple[str, ...]) -> None:
        """Without an answer or without its end the stream was interrupted."""
        result = played(*payloads)
        assert isinstance(result.error, StreamInterruptedError)
        assert result.error.transient

    def test_a_finish_reason_that_is_the_word_null(self) -> None:
        """It is none, on every chunk: cut off after it, the answer is not whole."""
        assert isinstance(played(chunk({"content": "x"}, "null")).error, StreamInterruptedError)
        response = played(chunk({"content": "x"}, "stop"), chunk({}, "null")).response
        assert (response.finish_reason, response.raw_finish_reason) == ("stop", "stop")

    def test_every_truncation_is_an_error_before_the_finish_reason_and_none_after(self) -> None:
        """Cut anywhere, the answer is either known to be whole, or said not to be."""
        stream = body(chunk({"content": "one"}), chunk({"content": "two"}), chunk(finish="stop"), DONE)
        last = chunk(finish="stop").encode()
        whole_at = stream.index(last) + len(last)
        for end in range(len(stream)):
            result = play(decoder(), [stream[:end]])
            assert isinstance(result.error, StreamInterruptedError) == (end < whole_at), end
            assert "onetwo".startswith(result.response.text)

    def test_closing_what_has_ended(self) -> None:
        """Brings nothing more, and is no interruption; empty events bring nothing either."""
        ended = decoder()
        for frame in (Frame(b""), Frame(chunk({"content": "x"}, "stop").encode()), Frame(b"[DONE]")):
            ended.feed(frame)
        assert (ended.finished, ended.close()) == (True, ())

    def test_half_an_event_after_the_finish_reason(self) -> None:
        """The answer was whole: only its usage was lost."""
        stream = body(chunk({"content": "x"}), chunk(finish="stop")) + b'data: {"choices": [], "usa'
        assert play(decoder(), [stream]).error is None


class TestErrors:
    """In-band errors, in every shape, end the stream with what came before as partial."""

    @pytest.mark.parametrize(
        ("payload", "kind"),
        [
            ({"error": {"message": "Down.", "type": "server_error"}}, ProviderStreamError),
            ({"error": {"message": "Down.", "code": 429}}, RateLimitError),
            ({"error": {"message": "Down.", "type": "overloaded_error"}}, OverloadedError),
            ({"error": {"message": "Down.", "code": "context_length_exceeded"}}, ContextWindowExceededError),
            ({"error": "Down."}, ProviderStreamError),
            ({"errors": [{"message": "Down."}]}, ProviderStreamError),
            ({"object": "error", "message": "Down.", "code": 500}, ProviderStreamError),
            ({"detail": "Down."}, ProviderStreamError),
            ({"error_code": 18, "error_msg": "Down."}, ProviderStreamError),
            ({"choices": None, "base_resp": {"status_code": 429, "status_msg": "Down."}}, RateLimitError),
            ({"choices": [], "x_groq": {"id": "r", "error": "Down."}}, ProviderStreamError),
            (
                {"choices": [{"delta": {"content": ""}, "finish_reason": "error"}], "error": {"message": "Down."}},
                LLMError,
            ),
            ({"choices": [{"delta": {}, "error": {"message": "Down."}, "finish_reason": "error"}]}, LLMError),
        ],
    )
    def test_shapes(self, payload: object, kind: type[LLMError]) -> None:
        """The vendor's message is kept, the error is of the class it deserves."""
        result = played(chunk({"content": "So far"}), json.dumps(payload), DONE)
        assert isinstance(result.error, kind)
        assert "Down." in str(result.error)
        assert result.response.text == "So far"

    def test_an_error_in_the_last_piece_of_text(self) -> None:
        """The text is in the partial answer: https://github.com/genkit-ai/genkit/pull/6079."""
        result = played(chunk({"content": "So "}), chunk({"content": "far"}, "error", error={"message": "Down."}))
        assert isinstance(result.error, ProviderStreamError)
        assert result.response.text == "So far"

    @pytest.mark.parametrize(
        "data", ['{"error": {"message": "Down."}}', '{"message": "Down."}', '"Down."', "Down.", '{"reason": "Down."}']
    )
    def test_an_event_named_error(self, data: str) -> None:
        """Whatever stands in it is the error."""
        result = play_frames(decoder(), [Frame(chunk({"content": "x"}).encode()), Frame(data.encode(), "error")])
        assert isinstance(result.error, ProviderStreamError)
        assert "Down." in str(result.error)

    @pytest.mark.parametrize(
        "reason", ["error", "abort", "network_error", "insufficient_system_resource", "time_limit"]
    )
    def test_a_finish_reason_that_says_broken_off(self, reason: str) -> None:
        """It is no answer, it may succeed later, and a whole call before it is not handed out."""
        call = tool(id="c", name="f", arguments='{"a": 1}')
        result = played(chunk({"content": "x"}), call, chunk(finish=reason), DONE)
        assert isinstance(result.error, StreamInterruptedError)
        assert result.error.transient
        assert (result.response.text, result.response.tool_calls) == ("x", ())

    @pytest.mark.parametrize("reason", ["error", "network_error"])
    def test_a_later_finish_reason_does_not_make_a_broken_answer_whole(self, reason: str) -> None:
        """Gateways close such a stream as any other."""
        result = played(chunk({"content": "Half"}), chunk({"content": " of"}, reason), chunk({}, "stop"), DONE)
        assert isinstance(result.error, StreamInterruptedError)
        assert result.response.text == "Half of"

    def test_a_status_of_success_is_no_error(self) -> None:
        """MiniMax tells one with every chunk."""
        fine = chunk({"content": "x"}, "stop", base_resp={"status_code": 0, "status_msg": ""})
        assert events(fine, DONE) == (TextDelta("x"),)

    def test_usage_told_with_the_error_is_kept(self) -> None:
        """What was spent was spent."""
        result = played(chunk({"content": "x"}), chunk(error={"message": "m"}, usage={"prompt_tokens": 3}))
        assert result.response.usage == Usage(input_tokens=3)

    def test_json_that_is_none(self) -> None:
        """A whole event that is not JSON is not the protocol."""
        result = played(chunk({"content": "x"}), '{"choices": [', chunk(finish="stop"), DONE)
        assert isinstance(result.error, ProtocolError)

    def test_a_bare_answer_is_not_a_stream(self) -> None:
        """A JSON document in place of the stream is said to be one."""
        answer = {"object": "chat.completion", "choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}
        result = play(decoder(), [json.dumps(answer).encode()])
        assert isinstance(result.error, ProtocolError)

    @pytest.mark.parametrize("depth", [500, 5_000, 100_000])
    def test_nesting_without_end(self, depth: int) -> None:
        """JSON of any depth is read or refused, never more."""
        deep = chunk({"content": "y"})[:-1] + ', "x": ' + "[" * depth + "]" * depth + "}"
        result = played(chunk({"content": "x"}), deep, deep, chunk(finish="stop"), DONE)
        assert result.error is None or isinstance(result.error, ProtocolError)


class TestUsage:
    """The last word holds; null is not zero."""

    def test_details(self) -> None:
        """Cached and reasoning tokens where they are told; costs and the like beside."""
        counts = {
            "prompt_tokens": 10,
            "completion_tokens": 20,
            "total_tokens": 30,
            "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 7, "audio_tokens": 2},
            "cost": 0.5,
        }
        said = events(chunk({"content": "x"}, "stop", usage=counts), DONE)
        assert said[:2] == (
            UsageUpdate(Usage(10, 20, 30, 4, 7)),
            VendorEvent("usage", {"cost": 0.5, "completion_tokens_details": {"audio_tokens": 2}}),
        )

    @pytest.mark.parametrize("name", ["cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens"])
    def test_other_names(self, name: str) -> None:
        """Vendors have names of their own for cached input."""
        usage = {"prompt_tokens": 1, name: 1, "reasoning_tokens": 2}
        assert played(chunk({"content": "x"}, "stop", usage=usage)).response.usage == Usage(1, None, None, 1, 2)

    def test_running_totals(self) -> None:
        """On every chunk, with nulls inside, and last chunks with zeros or without any."""
        said = events(
            chunk({"content": "a"}, usage={"prompt_tokens": 3, "completion_tokens": None}),
            chunk({"content": "b"}, usage={"prompt_tokens": 3, "completion_tokens": 1}),
            chunk({"content": "c"}, "stop", usage={"prompt_tokens": 3, "completion_tokens": 2}),
            json.dumps({"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0}}),
            json.dumps({"choices": [], "usage": None, "moderation": {"flagged": True}}),
            DONE,
        )
        assert [event.usage for event in said if isinstance(event, UsageUpdate)] == [
            *(Usage(3, None), Usage(3, 1), Usage(3, 2))
        ]
        assert VendorEvent("moderation", {"flagged": True}) in said

    def test_inside_the_choice(self) -> None:
        """Moonshot's place for it."""
        choice = {"index": 0, "delta": {"content": "x"}, "finish_reason": "stop", "usage": {"prompt_tokens": 3}}
        assert played(json.dumps({"choices": [choice]})).response.usage == Usage(3)

    def test_under_x_groq(self) -> None:
        """Groq's own place for it."""
        usage = {"prompt_tokens": 3, "completion_tokens": 4}
        assert played(chunk({"content": "x"}, "stop", x_groq={"usage": usage})).response.usage == Usage(3, 4)


class TestVendorEvents:
    """What is not modelled and says something is told, once."""

    def test_what_every_chunk_repeats_is_told_once(self) -> None:
        """Citations come with each piece of text."""
        first, second = ["https://a.example"], ["https://a.example", "https://b.example"]
        said = events(
            *(chunk({"content": word}, citations=first) for word in "abc"), chunk(finish="stop", citations=second), DONE
        )
        assert [event for event in said if isinstance(event, VendorEvent)] == [
            VendorEvent("citations", {"citations": first}),
            VendorEvent("citations", {"citations": second}),
        ]

    def test_padding_and_envelopes_are_not_told(self) -> None:
        """Obfuscation, fingerprints, token ids and null logprobs say nothing to anybody."""
        noise = {"obfuscation": "aGx", "p": "abc", "created": 1, "system_fingerprint": "fp", "usage": None}
        delta = {"content": "x", "role": "assistant", "token_id": 5, "channel": "final", "name": "assistant"}
        assert events(*(chunk(delta, **noise) for _ in range(3)), chunk(finish="stop"), DONE) == (TextDelta("x"),) * 3

    def test_pieces_are_told_each(self) -> None:
        """Annotations, server tools and logprobs grow by the chunk: equal ones are two."""
        logprobs = {"content": [{"token": "x", "logprob": -0.1}]}
        choice = {"index": 0, "delta": {"content": "x", "annotations": [1]}, "logprobs": logprobs}
        said = events(*(json.dumps({"choices": [choice]}) for _ in range(2)), DONE)
        assert (
            said
            == (TextDelta("x"), VendorEvent("annotations", {"annotations": [1]}), VendorEvent("logprobs", logprobs)) * 2
        )

    def test_a_payload_of_another_kind(self) -> None:
        """An event without choices that is no error and no keep-alive is told whole."""
        news = {"type": "search_progress", "done": 3}
        assert VendorEvent("search_progress", news) in events(json.dumps(news), chunk({"content": "x"}), DONE)


class TestAnyCut:
    """How the bytes arrive is invisible, and whatever arrives is an answer or one of our errors."""

    STREAM = body(
        chunk({"role": "assistant", "content": None}),
        chunk({"reasoning": "Hm… 🎉"}),
        chunk({"content": "Grüße"}),
        tool(id="t", name="f", arguments='{"a":'),
        tool(arguments="1}"),
        chunk(finish="tool_calls", usage={"prompt_tokens": 1}),
        DONE,
    )

    @pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.__name__)
    def test_cuts(self, cut: Cut) -> None:
        """Whole, byte by byte, at random."""
        assert play(decoder(), [self.STREAM]) == play(decoder(), cut(self.STREAM))

    @given(st.lists(st.sampled_from(STREAM.split(b"\n\n")), max_size=12), st.binary(max_size=20), st.integers(0, 400))
    def test_shuffled_and_spoiled(self, blocks: Iterable[bytes], junk: bytes, at: int) -> None:
        """Events in any order, with bytes of any kind among them."""
        stream = b"\n\n".join(blocks)
        play(decoder(), [stream[:at] + junk + stream[at:]])

    @given(WILD_JSON)
    def test_json_of_any_shape(self, value: object) -> None:
        """Known names with unknown values are read or passed over, or are an error of ours."""
        for payload in (value, {"choices": [value]}, {"choices": [{"delta": value}]}):
            played(chunk({"content": "x"}), json.dumps(payload), DONE)


RECORDINGS = recordings("openai-chat")


@needs_shared
@pytest.mark.parametrize("recording", RECORDINGS, ids=str)
def test_recordings_cut_off(recording: Recording) -> None:
    """Cut anywhere, what is given out is the beginning of the answer, and an end is never made up."""
    whole = play(decoder(), [recording.body])
    for end in range(0, len(recording.body), max(1, len(recording.body) // 40)):
        part = play(decoder(), at_random(recording.body[:end]))
        assert whole.response.text.startswith(part.response.text)
        assert part.error is not None or any(word in recording.body[:end] for word in (b'"finish_reason"', b"[DONE]"))


@needs_shared
@pytest.mark.parametrize("recording", RECORDINGS, ids=str)
def test_the_short_way_reads_as_the_long_way(recording: Recording) -> None:
    """A field that says nothing keeps a chunk off the fast road, and changes nothing but when vendor events come."""
    detour = recording.body.replace(b'data: {"', b'data: {"nothing":null,"')
    short, long = play(decoder(), [recording.body]), play(decoder(), [detour])
    assert _without_vendor_events(short) == _without_vendor_events(long)
    assert {str(event) for event in short.events} == {str(event) for event in long.events}


def _without_vendor_events(result: Played) -> list[TokenEvent]:
    return [event for event in result.events if not isinstance(event, VendorEvent)]
