"""The Gemini generateContent wire: what is read from it, and what is asked on it."""

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
    Part,
    ReasoningPart,
    TextPart,
    ToolCall,
    ToolResult,
    VendorPart,
    messages_from_json,
    messages_to_json,
)
from rxllm.options import JsonFormat, Options, Tool
from rxllm.providers.gemini import Gemini, GeminiDecoder
from tests.providers.recordings import CUTS, Cut, Recording, check, play, play_frames, recordings
from tests.shared import needs_shared

RECORDINGS = recordings("gemini")

DISAGREEMENTS: dict[str, str] = {}
"""Recordings whose expectation we do not share, and what in the bytes says so. None so far: those that
end without a finishReason are expected without one, and are interrupted streams by the design."""

Payload = dict[str, object]
COUNTS = {"promptTokenCount": 8, "candidatesTokenCount": 4, "thoughtsTokenCount": 2, "totalTokenCount": 14}


def chunk(*parts: Payload, finish: str | None = None, counts: Payload | None = None, **candidate: object) -> Payload:
    """A chunk of the wire with one candidate."""
    finished = {"finishReason": finish} if finish else {}
    content = {"content": {"role": "model", "parts": list(parts)}} if parts else {}
    payload: Payload = {"candidates": [{**content, **finished, **candidate}]}
    if counts is not None:
        payload["usageMetadata"] = counts
    return {**payload, "modelVersion": "gemini-x", "responseId": "r-1"}


def frames(*payloads: Payload) -> list[Frame]:
    return [Frame(json.dumps(payload).encode()) for payload in payloads]


def decoded(*payloads: Payload) -> list[TokenEvent]:
    """All events of a whole stream."""
    played = play_frames(GeminiDecoder("gemini"), frames(*payloads))
    if played.error is not None:
        raise played.error
    return list(played.events)


def answer(*payloads: Payload) -> Response:
    """The response at the end of a whole stream."""
    end = decoded(*payloads)[-1]
    assert isinstance(end, StreamEnd)
    return end.response


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


class TestRecordings:
    """The shared recordings, decoded as the vendors' own SDKs decode them."""

    @needs_shared
    @pytest.mark.parametrize("cut", CUTS)
    @pytest.mark.parametrize("recording", RECORDINGS, ids=str)
    def test_every_recording_gives_what_is_expected_however_it_is_cut(self, recording: Recording, cut: Cut) -> None:
        """Text, reasoning, calls, finish reason, usage and error are the reference's."""
        expected = recording.expected
        ended = expected["finish_reason"] or expected["error"] or expected.get("block_reason")
        check(play(GeminiDecoder("gemini"), cut(recording.body)), expected, interrupted=not ended)

    @needs_shared
    @pytest.mark.parametrize("recording", RECORDINGS, ids=str)
    def test_every_recorded_answer_can_be_sent_back(self, recording: Recording) -> None:
        """A conversation goes on after any answer: every signature and server-side part goes back as it came."""
        response = play(GeminiDecoder("gemini"), [recording.body]).response
        restored = messages_from_json(messages_to_json([response.message]))[0]
        sent = asked(Message.user("go on"), restored)["contents"]
        back = sent[1]["parts"] if len(sent) > 1 else []
        assert sorted(_signatures(recording.body)) == sorted(
            part["thoughtSignature"] for part in back if "thoughtSignature" in part
        )


def _signatures(body: bytes) -> list[str]:
    """The signatures in a recorded body, whatever its framing."""
    found: list[str] = []
    text = body.decode().replace("\r\n", "\n").replace("\r", "\n").replace("\ndata: ", "\ndata:")
    for event in text.split("\n\n"):
        data = "\n".join(line[5:] for line in event.split("\n") if line.startswith("data:"))
        payload = json.loads(data) if data else {}
        for candidate in payload.get("candidates", []):
            parts = candidate.get("content", {}).get("parts", [])
            found += [part["thoughtSignature"] for part in parts if "thoughtSignature" in part]
    return found


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

    @pytest.mark.parametrize("length", range(len(WHOLE)))
    def test_a_stream_cut_after_any_chunk_is_interrupted(self, length: int) -> None:
        """Without a finishReason nothing is whole; the partial response has the vendor's last count."""
        played = play_frames(GeminiDecoder("gemini"), frames(*WHOLE[:length]))
        assert isinstance(played.error, errors.StreamInterruptedError)
        assert "".join(e.text for e in played.events if isinstance(e, TextDelta)) == played.response.text
        assert "".join(e.text for e in played.events if isinstance(e, ReasoningDelta)) == played.response.reasoning
        assert tuple(e.call for e in played.events if isinstance(e, ToolCallEnd)) == played.response.tool_calls
        assert played.response.usage.output_tokens == [None, 1, 2, 3, 3][length]

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

    def test_asking_for_the_partial_response_changes_nothing(self) -> None:
        """partial() may be called at any moment."""
        decoder = GeminiDecoder("gemini")
        events: list[TokenEvent] = []
        for frame in frames(*WHOLE):
            events += decoder.feed(frame)
            decoder.partial()
        assert [*events, *decoder.close()] == decoded(*WHOLE)

    def test_after_its_end_a_decoder_says_nothing(self) -> None:
        """close() ends the answer once."""
        decoder = GeminiDecoder("gemini")
        for frame in frames(*WHOLE):
            decoder.feed(frame)
        decoder.close()
        assert decoder.finished
        assert (list(decoder.close()), list(decoder.feed(frames(WHOLE[1])[0]))) == ([], [])

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

    def test_arguments_that_come_leaf_by_leaf(self) -> None:
        """Vertex streams them under JSON paths; their JSON text is written as they come."""
        payloads = [
            chunk({"functionCall": {"name": "cook", "willContinue": True}, "thoughtSignature": "s"}),
            chunk(leaf("$.steps[0].text", stringValue="Boil ", willContinue=True)),
            chunk(leaf("$.steps[0].text", stringValue='"water".', willContinue=True)),
            chunk(leaf("$.steps[0].text", stringValue="")),
            chunk(leaf("$.steps[0].minutes", numberValue=3)),
            chunk({"functionCall": {"willContinue": True}}),
            chunk(leaf("$.steps[1]['text']", stringValue="Eat.")),
            chunk(leaf("$.hot", boolValue=True)),
            chunk(leaf("$.note", nullValue="NULL_VALUE")),
            chunk({"functionCall": {}}),
            chunk({"functionCall": {"name": "serve"}}),
            chunk({"text": ""}, finish="STOP"),
        ]
        events = decoded(*payloads)
        arguments = {"steps": [{"text": 'Boil "water".', "minutes": 3}, {"text": "Eat."}], "hot": True, "note": None}
        pieces = [event.arguments for event in events if isinstance(event, ToolCallDelta) and event.index == 0]
        assert json.loads("".join(pieces)) == arguments
        assert pieces[0] == '{"steps":[{"text":"Boil '
        assert [(call.name, call.arguments) for call in answer(*payloads).tool_calls] == [
            ("cook", arguments),
            ("serve", {}),
        ]

    @pytest.mark.parametrize(
        "last",
        [
            chunk(leaf("$.b", more=False, stringValue="2")),
            chunk(leaf("$.b", stringValue="2")),
            chunk(leaf("$.b", stringValue="2", willContinue=True)),
        ],
    )
    def test_the_end_of_streamed_arguments_may_never_come(self, last: Payload) -> None:
        """The empty functionCall that ends them is left out at times; STOP ends them too."""
        payloads = [
            chunk({"functionCall": {"name": "cook", "willContinue": True}}),
            chunk(leaf("$.a", stringValue="1")),
            last,
        ]
        response = answer(*payloads, chunk({"text": ""}, finish="STOP"))
        assert [call.arguments for call in response.tool_calls] == [{"a": "1", "b": "2"}]
        assert answer(*payloads, chunk({"functionCall": {"name": "x"}}, finish="STOP")).tool_calls[0].name == "cook"

    @pytest.mark.parametrize("ending", [[], [chunk(finish="MAX_TOKENS")], [chunk(finish="MALFORMED_FUNCTION_CALL")]])
    def test_streamed_arguments_that_are_cut_are_no_call(self, ending: list[Payload]) -> None:
        """Neither at the end of the body, nor at the end of the tokens."""
        payloads = [
            chunk({"functionCall": {"name": "cook", "willContinue": True}}),
            chunk(leaf("$.a", stringValue="1", willContinue=True)),
            *ending,
        ]
        played = play_frames(GeminiDecoder("gemini"), frames(*payloads))
        assert played.response.tool_calls == ()
        assert not [event for event in played.events if isinstance(event, ToolCallEnd)]

    def test_leaves_that_jump_back_are_right_in_the_call(self) -> None:
        """JSON text cannot be written out of order: the deltas stop, the call is whole."""
        payloads = [
            chunk({"functionCall": {"name": "cook", "willContinue": True}}),
            chunk(leaf("$.a.x", stringValue="1")),
            chunk(leaf("$.b", stringValue="2")),
            chunk(leaf("$.a.y", stringValue="3")),
            chunk({"functionCall": {}}, finish="STOP"),
        ]
        assert answer(*payloads).tool_calls[0].arguments == {"a": {"x": "1", "y": "3"}, "b": "2"}
        pieces = [event.arguments for event in decoded(*payloads) if isinstance(event, ToolCallDelta)]
        assert "".join(pieces) == '{"a":{"x":"1"},"b":"2"'

    @pytest.mark.parametrize("path", ["$", "a", "$.a[", "$[0]", "$.a[7]", "$.s.t", "$.l.x", None])
    def test_paths_that_lead_nowhere_are_protocol_errors(self, path: str | None) -> None:
        """No path, no object at the root, a list with holes, a leaf inside a leaf, a key of a list."""
        payloads = [
            chunk({"functionCall": {"name": "cook", "willContinue": True}}),
            chunk(leaf("$.s", stringValue="1")),
            chunk(leaf("$.l[0]", stringValue="1")),
            chunk({"functionCall": {"partialArgs": [{"jsonPath": path, "stringValue": "1"}]}}),
        ]
        with pytest.raises(errors.ProtocolError):
            decoded(*payloads)

    def test_a_piece_of_a_call_that_never_began_says_nothing(self) -> None:
        """An ending without a beginning is passed over."""
        assert answer(chunk({"functionCall": {}}, finish="STOP")).tool_calls == ()

    @pytest.mark.parametrize("args", ['{"word": ', "rx", [1]])
    def test_arguments_that_are_no_object_are_a_protocol_error(self, args: object) -> None:
        """A finished answer with a call that cannot be made is not a good one."""
        with pytest.raises(errors.ProtocolError, match="look_up"):
            decoded(chunk({"functionCall": {"name": "look_up", "args": args}}, finish="STOP"))

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
        frame = Frame(json.dumps(error, indent=2).encode(), bare=bare)
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


def asked(*messages: Message, model: str = "gemini-x", **options: object) -> Payload:
    """The body that is sent for a conversation."""
    body: Payload = json.loads(request(*messages, model=model, **options).body)
    return body


def request(*messages: Message, model: str = "gemini-x", **options: object) -> WireRequest:
    root = "https://generativelanguage.googleapis.com"
    wire = Gemini(provider="gemini", base_url=root, api_key="k", headers={})
    return wire.request(messages or (Message.user("Hi"),), model, Options(**options))


HI: Payload = {"role": "user", "parts": [{"text": "Hi"}]}


class TestRequest:
    """Conversations and options to requests."""

    def test_each_answer_has_a_decoder_of_its_own(self) -> None:
        """What one stream said is nothing to the next."""
        wire = Gemini(provider="gemini", base_url="https://generativelanguage.googleapis.com", api_key=None, headers={})
        first, second = wire.decoder(), wire.decoder()
        first.feed(frames(WHOLE[0])[0])
        assert second.partial() == Response(provider="gemini")

    def test_the_plainest_request(self) -> None:
        """Nothing is said that was not asked for; the key is in a header, never in the address."""
        sent = request(Message.user("Hi"), model="gemini-x")
        root = "https://generativelanguage.googleapis.com/v1beta"
        assert sent.url == f"{root}/models/gemini-x:streamGenerateContent?alt=sse"
        assert sent.headers == {
            "x-goog-api-key": "k",
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
        }
        assert sent.framing == "sse"
        assert json.loads(sent.body) == {"contents": [HI]}

    @pytest.mark.parametrize(
        ("base_url", "model", "path"),
        [
            ("http://localhost:8080", "m", "/v1beta/models/m"),
            ("http://localhost:8080/v1beta/", "m", "/v1beta/models/m"),
            ("http://localhost:8080/v1", "models/m", "/v1/models/m"),
            ("http://localhost:8080/x", "tunedModels/a b", "/x/v1beta/tunedModels/a%20b"),
        ],
    )
    def test_addresses(self, base_url: str, model: str, path: str) -> None:
        """A version in the base URL stays; a model may name its collection."""
        wire = Gemini(provider="g", base_url=base_url, api_key=None, headers={"X-Team": "a"})
        sent = wire.request([Message.user("Hi")], model, Options())
        assert sent.url == f"http://localhost:8080{path}:streamGenerateContent?alt=sse"
        assert set(sent.headers) == {"Content-Type", "Accept", "X-Team"}

    def test_every_option(self) -> None:
        """Each option under the name that the API has for it; extra_body is merged into objects."""
        tool = Tool("look_up", "Look a word up.", {"type": "object", "properties": {"word": {"type": "string"}}})
        sent = asked(
            temperature=0.5,
            max_tokens=100,
            top_p=0.9,
            top_k=40,
            frequency_penalty=0.1,
            presence_penalty=0.2,
            stop=("END",),
            seed=7,
            reasoning="low",
            response_format=JsonFormat({"type": "object"}),
            tools=(tool, Tool("now")),
            tool_choice="required",
            extra_body={"generationConfig": {"candidateCount": 1}, "cachedContent": "c"},
        )
        assert sent == {
            "contents": [HI],
            "generationConfig": {
                "temperature": 0.5,
                "maxOutputTokens": 100,
                "topP": 0.9,
                "topK": 40,
                "frequencyPenalty": 0.1,
                "presencePenalty": 0.2,
                "stopSequences": ["END"],
                "seed": 7,
                "thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": True},
                "responseMimeType": "application/json",
                "responseJsonSchema": {"type": "object"},
                "candidateCount": 1,
            },
            "tools": [
                {
                    "functionDeclarations": [
                        {
                            "name": "look_up",
                            "description": "Look a word up.",
                            "parametersJsonSchema": tool.parameters,
                        },
                        {"name": "now"},
                    ]
                }
            ],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
            "cachedContent": "c",
        }

    def test_json_without_a_schema(self) -> None:
        """The media type alone asks for JSON."""
        assert asked(response_format=JsonFormat())["generationConfig"] == {"responseMimeType": "application/json"}

    @pytest.mark.parametrize(
        ("choice", "strict", "sent"),
        [
            (None, None, None),
            (None, True, {"mode": "VALIDATED"}),
            ("auto", None, {"mode": "AUTO"}),
            ("auto", True, {"mode": "VALIDATED"}),
            ("none", True, {"mode": "NONE"}),
            ("required", True, {"mode": "ANY"}),
            ("look_up", None, {"mode": "ANY", "allowedFunctionNames": ["look_up"]}),
        ],
    )
    def test_tool_choices(self, choice: str | None, strict: bool | None, sent: Payload | None) -> None:
        """The three modes, or the one tool to call; strict tools are kept to their schemas."""
        body = asked(tools=(Tool("look_up", strict=strict),), tool_choice=choice)
        assert body.get("toolConfig") == (sent and {"functionCallingConfig": sent})

    @pytest.mark.parametrize(
        ("model", "reasoning", "sent"),
        [
            ("gemini-3-pro", "high", {"thinkingLevel": "HIGH", "includeThoughts": True}),
            ("gemini-2.5-flash", "low", {"thinkingBudget": 1024, "includeThoughts": True}),
            ("gemini-2.5-flash", 500, {"thinkingBudget": 500, "includeThoughts": True}),
            ("gemini-2.5-flash", -1, {"thinkingBudget": -1, "includeThoughts": True}),
            ("gemini-2.5-flash", 0, {"thinkingBudget": 0}),
        ],
    )
    def test_reasoning(self, model: str, reasoning: object, sent: Payload) -> None:
        """A budget is a budget; an effort is a level where the model knows levels."""
        assert asked(model=model, reasoning=reasoning)["generationConfig"] == {"thinkingConfig": sent}

    def test_system_messages_stand_beside_the_conversation(self) -> None:
        """Wherever they stood, in their order."""
        sent = asked(Message.system("Be brief."), Message.user("Hi"), Message.system(""), Message.system("Be kind."))
        assert sent == {
            "contents": [HI],
            "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "Be kind."}]},
        }

    def test_roles_alternate_and_results_name_their_function(self) -> None:
        """Results of one step are one turn; a result's name is that of the call it answers."""
        own = {"gemini": {"functionCall": {"id": "fc-1"}}}
        conversation = [
            Message.user("Hi"),
            Message.user("Look up rx."),
            Message.assistant(
                ToolCall("fc-1", "look_up", {"word": "rx"}, own),
                ToolCall("call_2", "now", {}),
            ),
            Message.tool(ToolResult("fc-1", "found")),
            Message.tool(ToolResult("call_2", "no clock", is_error=True), ToolResult("x", "5", name="count")),
        ]
        assert asked(*conversation)["contents"] == [
            {"role": "user", "parts": [{"text": "Hi"}, {"text": "Look up rx."}]},
            {
                "role": "model",
                "parts": [
                    {"functionCall": {"name": "look_up", "args": {"word": "rx"}, "id": "fc-1"}},
                    {"functionCall": {"name": "now", "args": {}}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"id": "fc-1", "name": "look_up", "response": {"output": "found"}}},
                    {"functionResponse": {"name": "now", "response": {"error": "no clock"}}},
                    {"functionResponse": {"name": "count", "response": {"output": "5"}}},
                ],
            },
        ]

    def test_a_result_of_an_unknown_call_needs_a_name(self) -> None:
        """The API matches results by function name."""
        with pytest.raises(errors.ConfigurationError, match=r"ToolResult.*call_9.*name="):
            asked(Message.tool(ToolResult("call_9", "5")))

    def test_a_decoded_answer_is_sent_back_as_it_came(self) -> None:
        """Signatures, server-side parts and ids: nothing is lost, nothing is made up."""
        parts: list[Payload] = [
            {"text": "Hm.", "thought": True, "thoughtSignature": "s0"},
            {"executableCode": {"language": "PYTHON", "code": "print(1)"}, "thoughtSignature": "s1"},
            {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1\n"}},
            {"text": "One."},
            {"functionCall": {"name": "look_up", "args": {"a": [1, None]}, "id": "fc-1"}, "thoughtSignature": "s2"},
            {"functionCall": {"name": "look_up", "args": {}}},
            {"text": "", "thoughtSignature": "s3"},
        ]
        said = answer(chunk(*parts, finish="STOP")).message
        restored = messages_from_json(messages_to_json([said]))[0]
        assert asked(Message.user("Hi"), restored)["contents"][1] == {"role": "model", "parts": parts}

    def test_calls_of_another_model_pass_gemini_3(self) -> None:
        """It refuses a step whose first call has no signature, unless told not to check."""
        said = Message.assistant(ToolCall("call_1", "now", {}), ToolCall("call_2", "now", {}))
        call = {"functionCall": {"name": "now", "args": {}}}
        unchecked = {**call, "thoughtSignature": "skip_thought_signature_validator"}
        for model, first in (("gemini-3-pro", unchecked), ("gemini-2.5-pro", call)):
            assert asked(Message.user("Hi"), said, model=model)["contents"][1]["parts"] == [first, call]

    def test_what_other_vendors_carry_is_left_out(self) -> None:
        """Thoughts without our signature and other wires' items mean nothing here."""
        said = Message(
            "assistant",
            (
                ReasoningPart("Hm.", {"anthropic": {"signature": "x"}}),
                VendorPart("anthropic", {"type": "redacted_thinking"}),
                TextPart("Hello", {"anthropic": {"citations": []}}),
            ),
        )
        assert asked(Message.user("Hi"), said)["contents"][1] == {"role": "model", "parts": [{"text": "Hello"}]}

    @pytest.mark.parametrize(
        ("part", "sent"),
        [
            (
                ImagePart(data=b"\x89PNG", media_type="image/png"),
                {"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}},
            ),
            (
                ImagePart(url="data:image/png;base64,iVBORw=="),
                {"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}},
            ),
            (
                ImagePart(url="https://example.com/cat.PNG?size=2"),
                {"fileData": {"mimeType": "image/png", "fileUri": "https://example.com/cat.PNG?size=2"}},
            ),
            (
                ImagePart(url="https://example.com/cat", media_type="image/avif"),
                {"fileData": {"mimeType": "image/avif", "fileUri": "https://example.com/cat"}},
            ),
            (
                DocumentPart(url="https://example.com/v1/files/abc", name="A"),
                {"fileData": {"fileUri": "https://example.com/v1/files/abc", "displayName": "A"}},
            ),
            (
                AudioPart(data=b"RIFF", media_type="audio/wav"),
                {"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}},
            ),
        ],
    )
    def test_images_documents_and_sound(self, part: Part, sent: Payload) -> None:
        """In the request as bytes, or by address with the media type that its ending tells."""
        assert asked(Message.user(part))["contents"][0]["parts"] == [sent]

    def test_parts_that_the_api_does_not_take_are_refused(self) -> None:
        """The error names the part and says what to do."""
        with pytest.raises(errors.ConfigurationError, match=r"ImagePart.*detail"):
            asked(Message.user(ImagePart(data=b"x", media_type="image/png", detail="high")))
        with pytest.raises(errors.ConfigurationError, match=r"AudioPart.*system"):
            asked(Message("system", (AudioPart(data=b"x", media_type="audio/wav"),)), Message.user("Hi"))

    def test_a_conversation_needs_something_said(self) -> None:
        """Instructions alone are refused by the API, so they are refused here."""
        with pytest.raises(errors.ConfigurationError, match="at least one message"):
            asked(Message.system("Be brief."))
