"""The Gemini generateContent wire: what is read from it."""

from __future__ import annotations

import json

import pytest

from rxllm import errors
from rxllm._protocol import Frame
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
from rxllm.providers.gemini import GeminiDecoder
from tests.providers.recordings import Payload, WireReader, play, play_frames, recordings

RECORDINGS = recordings("gemini")

READER = WireReader(lambda: GeminiDecoder("gemini"))
frames, decoded, answer = READER.frames, READER.decoded, READER.answer
COUNTS = {"promptTokenCount": 8, "candidatesTokenCount": 4, "thoughtsTokenCount": 2, "totalTokenCount": 14}


def chunk(*parts: Payload, finish: str | None = None, counts: Payload | None = None, **candidate: object) -> Payload:
    """A chunk of the wire with one candidate."""
    finished = {"finishReason": finish} if finish else {}
    content = {"content": {"role": "model", "parts": list(parts)}} if parts else {}
    payload: Payload = {"candidates": [{**content, **finished, **candidate}]}
    if counts is not None:
        payload["usageMetadata"] = counts
    return {**payload, "modelVersion": "gemini-x", "responseId": "r-1"}


def leaf(path: str, more: bool = True, **value: object) -> Payload:
    """A piece of streamed arguments; `more`: further ones follow."""
    piece: Payload = {"partialArgs": [{"jsonPath": path, **value}]}
    return {"functionCall": {**piece, "willContinue": True} if more else piece}


WHOLE: list[Payload] = [
    chunk({"text": "Let me see.", "thought": True}, counts={**COUNTS, "candidatesTokenCount": 1}),
    chunk({"text": "Looking"}, counts={**COUNTS, "candidatesTokenCount": 2}),
    chunk({"text": " it up…"}, counts={**COUNTS, "candidatesTokenCount": 3}),
    chunk({"functionCall": {"id": "fc-1", "name": "look_up", "args": {"word": "rx"}}, "thoughtSignature": "c2ln"}),
    chunk({"text": ""}, finish="STOP", counts=COUNTS),
]


class TestDecoder:
    """Chunks of the wire to token events."""

    def test_an_answer_with_thoughts_text_and_a_call(self) -> None:
        """Each event says what is new; usage is told when it first comes and at the end, not with every chunk."""
        call = ToolCall(
            "fc-1", "look_up", {"word": "rx"}, {"gemini": {"thoughtSignature": "c2ln", "functionCall": {"id": "fc-1"}}}
        )
        usage = Usage(input_tokens=8, output_tokens=4, total_tokens=14, reasoning_tokens=2)
        response = Response(
            text="Looking it up…",
            reasoning="Let me see.",
            tool_calls=(call,),
            finish_reason="tool_calls",
            raw_finish_reason="STOP",
            usage=usage,
            id="r-1",
            model="gemini-x",
            provider="gemini",
            parts=(ReasoningPart("Let me see."), TextPart("Looking it up…"), call),
        )
        assert decoded(*WHOLE) == [
            StreamStart("r-1", "gemini-x"),
            ReasoningDelta("Let me see."),
            UsageUpdate(Usage(input_tokens=8, output_tokens=1, total_tokens=14, reasoning_tokens=2)),
            TextDelta("Looking"),
            TextDelta(" it up…"),
            ToolCallStart(0, "fc-1", "look_up"),
            ToolCallDelta(0, '{"word":"rx"}'),
            ToolCallEnd(0, call),
            UsageUpdate(usage),
            StreamEnd(response),
        ]

    def test_a_stream_cut_inside_a_chunk_is_interrupted(self) -> None:
        """Also after a finishReason: more may have been on its way."""
        body = b"data: " + json.dumps(WHOLE[-1]).encode() + b'\n\ndata: {"candidates": [{"content"'
        assert isinstance(play(GeminiDecoder("gemini"), [body]).error, errors.StreamInterruptedError)

    def test_a_finish_reason_ends_nothing_before_the_body_does(self) -> None:
        """Older servers say STOP on every chunk, and text may follow it."""
        response = answer(
            chunk({"text": "a"}, finish="STOP"), chunk({"text": "b"}), chunk({"text": "c"}, finish="STOP")
        )
        assert response.text == "abc"

    def test_text_with_a_signature_is_a_part_of_its_own(self) -> None:
        """Signatures go back with their part, so that part is not joined with others, even an empty one."""
        response = answer(
            chunk({"text": "a"}),
            chunk({"text": "b"}),
            chunk({"text": "c", "thoughtSignature": "s1"}),
            chunk({"text": "d"}),
            chunk({"text": "", "thoughtSignature": "s2"}, finish="STOP"),
        )
        assert response.text == "abcd"
        assert response.parts == (
            TextPart("ab"),
            TextPart("c", {"gemini": {"thoughtSignature": "s1"}}),
            TextPart("d"),
            TextPart("", {"gemini": {"thoughtSignature": "s2"}}),
        )

    def test_calls_without_ids_get_ids_and_stay_apart(self) -> None:
        """The same function with the same arguments twice is two calls; missing arguments are none."""
        same = {"functionCall": {"name": "look_up", "args": {"word": "rx"}}}
        response = answer(chunk(same, same), chunk({"functionCall": {"name": "now"}}, finish="STOP"))
        assert [(call.id, call.name, call.arguments) for call in response.tool_calls] == [
            ("call_r-1_0", "look_up", {"word": "rx"}),
            ("call_r-1_1", "look_up", {"word": "rx"}),
            ("call_r-1_2", "now", {}),
        ]

    @pytest.mark.parametrize("first", [{"args": {"word": "rx"}}, {}])
    @pytest.mark.parametrize("signed", [0, 1])
    def test_a_call_that_comes_again_with_its_id(self, first: Payload, signed: int) -> None:
        """It is one call, and its signature is kept; another call with this id is another one."""
        whole = {"name": "look_up", "id": "c1", "args": {"word": "rx"}}
        pair: list[Payload] = [{"functionCall": {"name": "look_up", "id": "c1", **first}}, {"functionCall": whole}]
        pair[signed] = {**pair[signed], "thoughtSignature": "s"}
        other = {"functionCall": {**whole, "args": {"word": "gemini"}}}
        calls = answer(*map(chunk, pair), chunk(other, finish="STOP")).tool_calls
        assert [call.arguments for call in calls] == [{"word": "rx"}, {"word": "gemini"}]
        assert calls[0].vendor == {"gemini": {"functionCall": {"id": "c1"}, "thoughtSignature": "s"}}

    def test_server_side_parts_are_told_and_carried_but_are_no_calls(self) -> None:
        """Code execution, server tools, images and what is invented tomorrow."""
        parts: list[Payload] = [
            {"executableCode": {"language": "PYTHON", "code": "print(6 * 7)"}},
            {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "42\n"}},
            {"thoughtSignature": "s", "toolCall": {"toolType": "SEARCH", "id": "t1"}},
            {"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}},
            {"novelty": {"x": 1}},
        ]
        payloads = [chunk(*parts, {"text": "42"}, finish="STOP")]
        events = [event for event in decoded(*payloads) if isinstance(event, VendorEvent)]
        names = ["executableCode", "codeExecutionResult", "toolCall", "inlineData", "novelty"]
        assert events == [VendorEvent(name, part) for name, part in zip(names, parts, strict=True)]
        response = answer(*payloads)
        assert (response.text, response.tool_calls) == ("42", ())
        assert response.parts == (*(VendorPart("gemini", part) for part in parts), TextPart("42"))

    def test_news_beside_text_are_told_and_carried_with_it(self) -> None:
        """A field that we do not know makes text no less text; a null one is nothing."""
        part: Payload = {"text": "a", "novelty": {"x": 1}, "functionCall": None}
        payloads = [chunk(part, {"text": "b", "executableCode": None}, finish="STOP")]
        assert VendorEvent("novelty", {"x": 1}) in decoded(*payloads)
        assert answer(*payloads).parts == (TextPart("a", {"gemini": {"novelty": {"x": 1}}}), TextPart("b"))

    def test_what_a_candidate_says_beyond_its_parts_is_told_once(self) -> None:
        """Ratings, grounding and citations; the wire repeats ratings on every chunk."""
        ratings = [{"category": "HARM_CATEGORY_HATE_SPEECH", "probability": "NEGLIGIBLE"}]
        grounding = {"webSearchQueries": ["rx"]}
        events = decoded(
            chunk({"text": "a"}, safetyRatings=ratings, citationMetadata=None),
            chunk({"text": "b"}, safetyRatings=ratings),
            chunk({"text": "c"}, finish="STOP", groundingMetadata=grounding, finishMessage="done"),
        )
        assert [event for event in events if isinstance(event, VendorEvent)] == [
            VendorEvent("safetyRatings", {"safetyRatings": ratings}),
            VendorEvent("groundingMetadata", grounding),
            VendorEvent("finishMessage", {"finishMessage": "done"}),
        ]

    def test_further_candidates_are_told_but_not_mixed_in(self) -> None:
        """The answer is candidate 0; an index that is missing is 0."""
        other = {"index": 1, "content": {"parts": [{"text": "other"}]}}
        first = {"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}
        payloads: list[Payload] = [chunk({"text": "b"}), {"candidates": [first, other]}]
        assert VendorEvent("candidate", other) in decoded(*payloads)
        assert answer(*payloads).text == "ba"

    def test_counts_that_we_do_not_model_are_told_at_the_end(self) -> None:
        """Tool use is counted apart from the prompt."""
        payloads = [chunk({"text": "a"}, finish="STOP", counts={**COUNTS, "toolUsePromptTokenCount": 243})]
        assert VendorEvent("usageMetadata", {"toolUsePromptTokenCount": 243}) in decoded(*payloads)

    @pytest.mark.parametrize(
        ("counts", "known"),
        [
            (b'{"promptTokenCount":8,"candidatesTokenCount":4,"trafficType":"\xbc"}', (8, 4)),
            (b'{"promptTokenCount":8,"candidatesTokenCount":1e999}', (8, None)),
            (b"1e999", (None, None)),
        ],
    )
    def test_counts_that_are_hardly_json_hurt_nobody(self, counts: bytes, known: tuple[int | None, ...]) -> None:
        """They are read late: what is wrong with them then is no error of the partial answer's or of the end's."""
        text = b'{"candidates":[{"content":{"parts":[{"text":"Hi"}]}}],"usageMetadata":' + counts + b"}"
        decoder = GeminiDecoder("gemini")
        decoder.feed(*frames(chunk({"text": "Oh. "})))
        decoder.feed(Frame(text))
        partial = decoder.partial()
        assert (partial.text, partial.usage.input_tokens, partial.usage.output_tokens) == ("Oh. Hi", *known)
        played = play_frames(GeminiDecoder("gemini"), [*frames(chunk(finish="STOP")), Frame(text)])
        assert played.error is None
        assert (played.response.usage.input_tokens, played.response.usage.output_tokens) == known

    def test_chunks_without_counts_keep_those_that_came(self) -> None:
        """Some chunks only name the kind of traffic; what was never counted is unknown, not 0."""
        payloads = [
            chunk({"text": "a"}, counts={"promptTokenCount": 8, "totalTokenCount": 8, "cachedContentTokenCount": 5}),
            chunk({"text": ""}, finish="STOP", counts={"trafficType": "ON_DEMAND"}),
        ]
        assert answer(*payloads).usage == Usage(input_tokens=8, total_tokens=8, cached_input_tokens=5)

    def test_a_blocked_prompt_is_a_whole_answer_without_text(self) -> None:
        """HTTP 200, no candidate, and no finishReason: the reason is in the vendor event."""
        feedback = {"blockReason": "SAFETY", "blockReasonMessage": "no"}
        events = decoded({"promptFeedback": feedback, "usageMetadata": COUNTS})
        assert VendorEvent("promptFeedback", feedback) in events
        response = answer({"promptFeedback": feedback})
        assert (response.text, response.finish_reason, response.raw_finish_reason) == ("", "content_filter", None)

    @pytest.mark.parametrize(
        ("raw", "reason"),
        [
            ("STOP", "stop"),
            ("MAX_TOKENS", "length"),
            ("SAFETY", "content_filter"),
            ("RECITATION", "content_filter"),
            ("MALFORMED_FUNCTION_CALL", "other"),
            ("INVENTED_TOMORROW", "other"),
        ],
    )
    def test_finish_reasons_have_our_names_and_keep_their_own(self, raw: str, reason: str) -> None:
        """A candidate without content may say why it stopped."""
        response = answer(chunk({"text": "a"}), chunk(finish=raw))
        assert (response.finish_reason, response.raw_finish_reason) == (reason, raw)

    def test_an_unspecified_finish_reason_is_none(self) -> None:
        """The enum's zero value says nothing."""
        played = play_frames(GeminiDecoder("gemini"), frames(chunk({"text": "a"}, finish="FINISH_REASON_UNSPECIFIED")))
        assert isinstance(played.error, errors.StreamInterruptedError)

    @pytest.mark.parametrize("before", [[], WHOLE[:3]])
    @pytest.mark.parametrize("bare", [False, True])
    def test_an_error_in_the_stream_is_the_vendors_error(self, before: list[Payload], bare: bool) -> None:
        """As an event, or as a bare JSON document after the events."""
        error = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
        frame = Frame(json.dumps(error, indent=2).encode(), is_document=bare)
        played = play_frames(GeminiDecoder("gemini"), [*frames(*before), frame])
        assert isinstance(played.error, errors.OverloadedError)
        assert "The model is overloaded." in str(played.error)
        assert played.response.text == ("Looking it up…" if before else "")

    def test_a_named_error_event_is_an_error_whatever_is_in_it(self) -> None:
        """Gateways put bare text in it."""
        played = play_frames(GeminiDecoder("gemini"), [*frames(*WHOLE[:2]), Frame(b"upstream went away", "error")])
        assert "upstream went away" in str(played.error)

    def test_an_answer_that_does_not_stream_is_a_protocol_error(self) -> None:
        """Without alt=sse the API answers with one JSON array."""
        played = play(GeminiDecoder("gemini"), [json.dumps(WHOLE).encode()])
        assert isinstance(played.error, errors.ProtocolError)

    @pytest.mark.parametrize("data", [b"}{", b"\x00", b"[" * 100_000])
    def test_bytes_that_are_not_json_are_a_protocol_error(self, data: bytes) -> None:
        """No error of another kind escapes."""
        played = play_frames(GeminiDecoder("gemini"), [*frames(WHOLE[0]), Frame(data)])
        assert isinstance(played.error, errors.ProtocolError)

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"[DONE]",
            b"[]",
            b"null",
            b'"x"',
            b"{}",
            b'{"candidates": null}',
            b'{"candidates": [{"content": null, "index": 0}]}',
            b'{"candidates": [{"content": {}}]}',
            b'{"candidates": [{"content": {"parts": null, "role": "model"}}]}',
            b'{"candidates": [{"content": {"parts": [{}, null, {"text": null}, {"novelty": null}]}}]}',
            b'{"candidates": [{"finishReason": null, "safetyRatings": null}], "usageMetadata": null}',
        ],
    )
    def test_json_that_says_nothing_is_passed_over(self, data: bytes) -> None:
        """Nulls, empties and other types of JSON, before and between the chunks that say something."""
        for at in (0, 2):
            played = play_frames(GeminiDecoder("gemini"), [*frames(*WHOLE[:at]), Frame(data), *frames(*WHOLE[at:])])
            response = played.response
            assert (played.error, response.text, len(response.tool_calls)) == (None, "Looking it up…", 1)

    def test_an_emoji_cut_into_two_halves_is_put_together(self) -> None:
        """Text can always be encoded."""
        halves = [
            Frame(b'{"candidates":[{"content":{"parts":[{"text":"' + piece + b'"}]}}]}')
            for piece in (rb"a\ud83c", rb"\udf0db")
        ]
        played = play_frames(GeminiDecoder("gemini"), [*frames(WHOLE[0]), *halves, *frames(WHOLE[-1])])
        assert played.response.text == "a🌍b"
