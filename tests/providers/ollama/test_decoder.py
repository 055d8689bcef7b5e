"""The Ollama /api/chat wire: what is read from it."""

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
from rxllm.messages import ReasoningPart, TextPart, ToolCall
from rxllm.providers.ollama import OllamaDecoder
from tests.providers.recordings import Payload, WireReader, play, play_frames, recordings

RECORDINGS = recordings("ollama")

READER = WireReader(lambda: OllamaDecoder("ollama"))
frames, decoded, answer = READER.frames, READER.decoded, READER.answer


def line(content: str = "", /, **fields: object) -> Payload:
    """A line of the wire; `fields` are the message's, save "done" and what belongs to it."""
    top = {name: fields.pop(name) for name in list(fields) if name not in ("thinking", "tool_calls", "images")}
    message = {"role": "assistant", "content": content, **fields}
    return {"model": "llama-x", "created_at": "2026-01-02T03:04:05.6Z", "message": message, "done": False, **top}


def call(name: str, arguments: object, /, **fields: object) -> Payload:
    return line(tool_calls=[{**fields, "function": {"name": name, "arguments": arguments}}])


DONE = line(done=True, done_reason="stop", total_duration=9000, prompt_eval_count=8, eval_count=4)
WHOLE: list[Payload] = [
    line(thinking="Let me "),
    line(thinking="see."),
    line("Looking"),
    line(" it up…"),
    call("look_up", {"word": "rx"}, id="call_1"),
    DONE,
]


class TestDecoder:
    """Lines of the wire to token events."""

    def test_an_answer_with_thoughts_text_and_a_call(self) -> None:
        """Each event says what is new; what the last line says beyond our model is told as it is."""
        called = ToolCall("call_1", "look_up", {"word": "rx"})
        usage = Usage(input_tokens=8, output_tokens=4, total_tokens=12)
        response = Response(
            text="Looking it up…",
            reasoning="Let me see.",
            tool_calls=(called,),
            finish_reason="tool_calls",
            raw_finish_reason="stop",
            usage=usage,
            model="llama-x",
            provider="ollama",
            parts=(ReasoningPart("Let me see."), TextPart("Looking it up…"), called),
        )
        assert decoded(*WHOLE) == [
            StreamStart(None, "llama-x"),
            ReasoningDelta("Let me "),
            ReasoningDelta("see."),
            TextDelta("Looking"),
            TextDelta(" it up…"),
            ToolCallStart(0, "call_1", "look_up"),
            ToolCallDelta(0, '{"word":"rx"}'),
            ToolCallEnd(0, called),
            UsageUpdate(usage),
            VendorEvent("done", {"total_duration": 9000}),
            StreamEnd(response),
        ]

    def test_the_last_line_counts_without_its_line_end_if_it_is_whole(self) -> None:
        """A missing line feed loses nothing; half a line is a truncation."""
        body = b"\n".join(json.dumps(payload).encode() for payload in WHOLE)
        assert play(OllamaDecoder("ollama"), [body], "ndjson").events == tuple(decoded(*WHOLE))
        assert isinstance(play(OllamaDecoder("ollama"), [body[:-9]], "ndjson").error, errors.StreamInterruptedError)

    def test_the_last_line_may_hold_text(self) -> None:
        """Text, thoughts and a call may come with done, in one line."""
        whole = line("Hi", thinking="Hm.", done=True, done_reason="stop")
        assert (answer(whole).reasoning, answer(whole).text) == ("Hm.", "Hi")

    def test_text_and_thoughts_in_one_line(self) -> None:
        """The thought came first."""
        assert answer(line("a"), line("b", thinking="Hm."), DONE).parts == (
            TextPart("a"),
            ReasoningPart("Hm."),
            TextPart("b"),
        )

    def test_lines_of_the_older_api(self) -> None:
        """Some proxies answer a chat in the form of /api/generate; their text is not lost."""
        payloads: list[Payload] = [
            {"model": "m", "response": None, "done": False},
            {"model": "m", "response": "", "thinking": "Hm.", "done": False},
            {"model": "m", "response": "Hi", "done": False},
            {"model": "m", "response": "", "done": True, "done_reason": "length"},
        ]
        response = answer(*payloads)
        assert (response.reasoning, response.text, response.finish_reason) == ("Hm.", "Hi", "length")

    @pytest.mark.parametrize("beside", [{}, {"message": {"role": "assistant", "content": ""}}])
    def test_thinking_beside_the_message(self, beside: Payload) -> None:
        """Where other servers have it."""
        response = answer({"model": "m", "thinking": "Hm.", "done": False, **beside}, line("Hi"), {"done": True})
        assert (response.reasoning, response.text, response.finish_reason) == ("Hm.", "Hi", "stop")

    def test_keys_in_any_order(self) -> None:
        """Servers differ."""
        assert decoded(*(dict(reversed(payload.items())) for payload in WHOLE)) == decoded(*WHOLE)

    def test_calls_without_ids_get_ids_and_stay_apart(self) -> None:
        """The same function with the same arguments twice is two calls; their index is no number of ours."""
        payloads = [
            call("add", {"x": 1}),
            line(tool_calls=[{"function": {"index": 5, "name": "add", "arguments": {"x": 1}}}]),
        ]
        assert answer(*payloads, DONE).tool_calls == (
            ToolCall("call_20260102T0304056Z_0", "add", {"x": 1}),
            ToolCall("call_20260102T0304056Z_1", "add", {"x": 1}, {"ollama": {"function": {"index": 5}}}),
        )

    @pytest.mark.parametrize("arguments", ["", None, {}, "{}", "null"])
    def test_arguments_that_are_nothing_are_empty(self, arguments: object) -> None:
        """Older servers send an empty text."""
        assert answer(call("now", arguments), DONE).tool_calls[0].arguments == {}

    def test_arguments_as_json_text_are_read(self) -> None:
        """The API sends an object; servers that imitate it send text."""
        assert answer(call("look_up", '{"word": "rx"}'), DONE).tool_calls[0].arguments == {"word": "rx"}

    def test_arguments_that_are_no_object_are_a_protocol_error(self) -> None:
        """A finished answer with a call that cannot be made is not a good one; one cut by its length may have one."""
        with pytest.raises(errors.ProtocolError, match="look_up"):
            decoded(call("look_up", '{"word": '), DONE)
        assert answer(call("look_up", '{"word": '), {**DONE, "done_reason": "length"}).tool_calls == ()

    def test_a_call_without_a_name_is_a_protocol_error(self) -> None:
        """There is nothing to call."""
        with pytest.raises(errors.ProtocolError, match="name"):
            decoded(line(tool_calls=[{"function": {"arguments": {}}}]), DONE)

    @pytest.mark.parametrize(
        ("raw", "reason"),
        [("stop", "stop"), ("length", "length"), ("load", "other"), ("unload", "other"), (None, "stop")],
    )
    def test_done_reasons_have_our_names_and_keep_their_own(self, raw: str | None, reason: str) -> None:
        """A model that was only loaded says nothing; old servers give no reason."""
        response = answer({"model": "m", "created_at": "x", "done_reason": raw, "done": True})
        assert (response.finish_reason, response.raw_finish_reason, response.model) == (reason, raw, "m")

    def test_counts_that_are_left_out_are_unknown(self) -> None:
        """A cached prompt is not counted by older servers: that is not 0."""
        assert answer(line("Hi"), line(done=True, eval_count=4)).usage == Usage(output_tokens=4)
        assert answer(line("Hi"), line(done=True)).usage == Usage()

    def test_cached_tokens_are_part_of_the_prompt(self) -> None:
        """Newer servers tell them."""
        end = line(done=True, prompt_eval_count=20, prompt_eval_cached_count=15, eval_count=4)
        assert answer(line("Hi"), end).usage == Usage(20, 4, 24, cached_input_tokens=15)

    def test_news_of_the_wire_become_vendor_events(self) -> None:
        """Unknown fields are told, once as long as they stay the same."""
        payloads = [
            {**line("a"), "remote_model": "big"},
            {**line("b"), "remote_model": "big"},
            line("c", images=["iVBORw=="]),
            DONE,
        ]
        assert [event for event in decoded(*payloads) if isinstance(event, VendorEvent)] == [
            VendorEvent("remote_model", {"remote_model": "big"}),
            VendorEvent("images", {"images": ["iVBORw=="]}),
            VendorEvent("done", {"total_duration": 9000}),
        ]

    @pytest.mark.parametrize("before", [[], WHOLE[:4]])
    def test_an_error_line_is_the_vendors_error(self, before: list[Payload]) -> None:
        """HTTP 200 and then an error, first or mid-answer."""
        error: Payload = {"error": "an error was encountered while running the model"}
        played = play_frames(OllamaDecoder("ollama"), frames(*before, error))
        assert isinstance(played.error, errors.ProviderStreamError)
        assert "while running the model" in str(played.error)
        assert played.response.text == ("Looking it up…" if before else "")

    @pytest.mark.parametrize("data", [b"}{", b"\x00", b"[" * 100_000])
    def test_bytes_that_are_not_json_are_a_protocol_error(self, data: bytes) -> None:
        """No error of another kind escapes."""
        played = play_frames(OllamaDecoder("ollama"), [*frames(WHOLE[0]), Frame(data)])
        assert isinstance(played.error, errors.ProtocolError)

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"[]",
            b"null",
            b"{}",
            b'{"message": null, "created_at": null, "done": false}',
            b'{"message": {"role": "assistant", "content": null, "thinking": null, "tool_calls": null}, "done": null}',
            b'{"message": {"tool_calls": [null]}}',
        ],
    )
    def test_json_that_says_nothing_is_passed_over(self, data: bytes) -> None:
        """Nulls, empties and other types of JSON, before and between the lines that say something."""
        for at in (0, 3):
            played = play_frames(OllamaDecoder("ollama"), [*frames(*WHOLE[:at]), Frame(data), *frames(*WHOLE[at:])])
            assert (played.error, played.response.text) == (None, "Looking it up…")

    def test_what_follows_the_end_says_nothing(self) -> None:
        """The last line may come twice, or with garbage behind it."""
        played = play_frames(OllamaDecoder("ollama"), [*frames(*WHOLE, DONE), Frame(b"}{")])
        assert list(played.events) == decoded(*WHOLE)

    def test_an_emoji_cut_into_two_halves_is_put_together(self) -> None:
        """Text can always be encoded."""
        halves = [
            Frame(b'{"message":{"content":"' + piece + b'"},"done":false}') for piece in (rb"a\ud83c", rb"\udf0db")
        ]
        played = play_frames(OllamaDecoder("ollama"), [*halves, *frames(DONE)])
        assert played.response.text == "a🌍b"
