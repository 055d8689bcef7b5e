"""What every wire promises: on one answer in its form, and on the shared recordings of its vendors."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from rxllm._protocol import Decoder, Frame, Wire
from rxllm._transport.framing import NDJSONFraming, SSEFraming
from rxllm.errors import ProtocolError, StreamInterruptedError
from rxllm.events import ReasoningDelta, Response, TextDelta, TokenEvent, ToolCallEnd, UsageUpdate
from rxllm.messages import Message, ToolCall
from rxllm.options import Options
from rxllm.providers.vendors import vendor_named, wire_for
from rxllm.testing import RecordedRequest, Reply
from rxllm.testing._script import script_of
from tests.framed import framed
from tests.providers.recordings import CUTS, Recording, check, play, play_frames, recordings
from tests.shared import needs_shared

REPLY = Reply("Looking it up…", reasoning="Let me see.", tool_calls=[ToolCall("call_1", "look_up", {"word": "rx"})])

DISAGREEMENTS = {
    # message_start for msg_second comes while block 1 of msg_first is open, and then blocks 0 and 1 start again:
    # two answers in one stream. Joining them would hand out one answer that no model gave.
    "vercel-anthropic-spliced-message-start": ProtocolError,
}
"""Recordings whose expectation we do not share: the error that we raise, and what in the bytes says so."""


class Subject(NamedTuple):
    """A wire, and the frames of `REPLY` on it."""

    provider: str
    wire: Wire
    frames: list[Frame]

    def decoder(self) -> Decoder:
        return self.wire.decoder()


def subject(provider: str) -> Subject:
    wire = wire_for(vendor_named(provider), api_key="k")
    sent = wire.request([Message.user("Hi")], "m", Options())
    request = RecordedRequest("POST", sent.url, {}, sent.body, 1)
    chunks = [chunk.data for chunk in script_of(REPLY, request).chunks]
    framing = SSEFraming() if sent.framing == "sse" else NDJSONFraming()
    return Subject(provider, wire, [frame for frame in framed(framing, chunks) if frame.data])


every_wire = pytest.mark.parametrize(
    "wire",
    [subject(name) for name in ("openai", "openai-responses", "anthropic", "gemini", "ollama")],
    ids=lambda wire: str(wire.provider),
)
RECORDINGS = [
    (wire, recording)
    for wire in ("openai-chat", "openai-responses", "anthropic", "gemini", "ollama")
    for recording in recordings(wire)
]


@every_wire
def test_the_whole_answer(wire: Subject) -> None:
    """Its text, reasoning and call."""
    response = play_frames(wire.decoder(), wire.frames).response
    assert (response.text, response.reasoning, response.finish_reason) == (
        "Looking it up…",
        "Let me see.",
        "tool_calls",
    )
    assert [(call.name, call.arguments) for call in response.tool_calls] == [("look_up", {"word": "rx"})]


@every_wire
def test_each_answer_has_a_decoder_of_its_own(wire: Subject) -> None:
    """The events of one stream do not reach the next."""
    first, second = wire.decoder(), wire.decoder()
    for frame in wire.frames:
        first.feed(frame)
    assert second.partial() == Response(provider=wire.provider)


@every_wire
def test_asking_for_the_partial_response_changes_nothing(wire: Subject) -> None:
    """partial() may be called at any moment."""
    decoder = wire.decoder()
    events: list[TokenEvent] = []
    for frame in wire.frames:
        events += decoder.feed(frame)
        decoder.partial()
    if not decoder.finished:
        events += decoder.close()
    assert tuple(events) == play_frames(wire.decoder(), wire.frames).events


@every_wire
def test_after_its_end_a_decoder_says_nothing(wire: Subject) -> None:
    """close() ends the answer once; frames that follow are passed over."""
    decoder = wire.decoder()
    for frame in wire.frames:
        decoder.feed(frame)
    decoder.close()
    assert decoder.finished
    assert (list(decoder.close()), list(decoder.feed(wire.frames[1]))) == ([], [])


@every_wire
def test_a_stream_cut_after_any_event_is_interrupted(wire: Subject) -> None:
    """Unless its finish reason has come. What came before the cut is in the partial response."""
    whole = play_frames(wire.decoder(), wire.frames).response
    for length in range(len(wire.frames)):
        events, response, error = play_frames(wire.decoder(), wire.frames[:length])
        if error is None:
            assert (response.text, response.tool_calls) == (whole.text, whole.tool_calls)
            assert length >= len(wire.frames) - 2
        else:
            assert isinstance(error, StreamInterruptedError)
        assert "".join(event.text for event in events if isinstance(event, TextDelta)) == response.text
        assert "".join(event.text for event in events if isinstance(event, ReasoningDelta)) == response.reasoning
        assert tuple(event.call for event in events if isinstance(event, ToolCallEnd)) == response.tool_calls
        usages = [event.usage for event in events if isinstance(event, UsageUpdate)]
        assert not usages or usages[-1] == response.usage


@needs_shared
@pytest.mark.parametrize(("wire", "recording"), RECORDINGS, ids=str)
def test_every_recording_gives_what_is_expected_however_it_is_cut(wire: str, recording: Recording) -> None:
    """Text, reasoning, calls, finish reason, usage and error are those of the vendor's own SDK."""
    expected = recording.expected
    ended = expected["finish_reason"] or expected["error"] or expected.get("block_reason")
    for cut in CUTS:
        decoder = subject(wire.replace("openai-chat", "openai")).decoder()
        played = play(decoder, cut(recording.body), "ndjson" if wire == "ollama" else "sse")
        if recording.name in DISAGREEMENTS:
            assert isinstance(played.error, DISAGREEMENTS[recording.name])
        else:
            check(played, expected, interrupted=not ended and b"[DONE]" not in recording.body)
