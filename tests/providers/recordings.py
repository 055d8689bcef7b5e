"""How a decoder is held against streams: played in any cut, and compared with what is expected.

The shared recordings (absent outside the developers' machines, see `tests.shared`) and the streams
that tests write themselves are played by the same `play`, so both prove the same things.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from rxllm._protocol import Decoder, Frame, Framing
from rxllm._transport.framing import NDJSONFraming, SSEFraming
from rxllm.errors import LLMError, StreamInterruptedError
from rxllm.events import (
    ReasoningDelta,
    Response,
    StreamEnd,
    StreamReset,
    StreamStart,
    TextDelta,
    TokenEvent,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    UsageUpdate,
)
from tests.framed import framed
from tests.shared import SHARED

Expectation = dict[str, object]
Payload = dict[str, object]


class Recording(NamedTuple):
    """A recorded body and what an independent reader got out of it."""

    name: str
    body: bytes
    expected: Expectation

    def __str__(self) -> str:
        return self.name


class Played(NamedTuple):
    """What a decoder made of a body; `response` is StreamEnd's, or the partial one."""

    events: tuple[TokenEvent, ...]
    response: Response
    error: LLMError | None


def recordings(wire: str) -> list[Recording]:
    """The shared recordings of a wire, such as "openai-chat"; none where they are not on this machine."""
    streams = SHARED / "wire" / "streams" / wire
    expected = SHARED / "wire" / "expected" / wire
    return [
        Recording(path.stem, path.read_bytes(), json.loads((expected / f"{path.stem}.json").read_bytes()))
        for path in sorted(streams.glob("*"))
    ]


def whole(body: bytes) -> list[bytes]:
    """The body in one block."""
    return [body]


def byte_by_byte(body: bytes) -> Iterator[bytes]:
    """The body, a byte a block."""
    return (body[at : at + 1] for at in range(len(body)))


def at_random(body: bytes) -> Iterator[bytes]:
    """The body in blocks of random sizes, the same for the same body."""
    dice = random.Random(len(body))
    at = 0
    while at < len(body):
        size = dice.choice((1, 2, 3, 7, 40, 300, 4000))
        yield body[at : at + size]
        at += size


Cut = Callable[[bytes], Iterable[bytes]]
CUTS: tuple[Cut, ...] = (whole, byte_by_byte, at_random)


def play(decoder: Decoder, blocks: Iterable[bytes], framing: Framing = "sse") -> Played:
    """Feed a body to a decoder as the stream core does: up to its terminal event, or to the end."""
    return play_frames(decoder, framed(SSEFraming() if framing == "sse" else NDJSONFraming(), blocks))


def play_frames(decoder: Decoder, frames: Iterable[Frame]) -> Played:
    """Feed frames to a decoder, to its terminal event and on: after that, nothing may come of them."""
    events: list[TokenEvent] = []
    error: LLMError | None = None
    try:
        for frame in frames:
            if not frame.data:
                continue
            ended = decoder.finished
            new = decoder.feed(frame)
            assert not (ended and new), f"events after the terminal one: {new}"
            events += new
        if not decoder.finished:
            events += decoder.close()
    except LLMError as problem:
        error = problem
    assert_grammar(events, complete=error is None)
    last = events[-1] if events else None
    return Played(tuple(events), last.response if isinstance(last, StreamEnd) else decoder.partial(), error)


class WireReader(NamedTuple):
    """Reads streams of payloads with the decoder of one wire; `named`: SSE events are named by their type."""

    decoder: Callable[[], Decoder]
    named: bool = False

    def frames(self, *payloads: Payload) -> list[Frame]:
        return [Frame(json.dumps(payload).encode(), str(payload["type"]) if self.named else "") for payload in payloads]

    def decoded(self, *payloads: Payload) -> list[TokenEvent]:
        """All events of a whole stream."""
        played = play_frames(self.decoder(), self.frames(*payloads))
        if played.error is not None:
            raise played.error
        return list(played.events)

    def answer(self, *payloads: Payload) -> Response:
        """The response at the end of a whole stream."""
        end = self.decoded(*payloads)[-1]
        assert isinstance(end, StreamEnd)
        return end.response


def assert_grammar(events: list[TokenEvent], *, complete: bool) -> None:
    """StreamStart at most once and first; StreamEnd once and last if `complete`, else never; calls well formed."""
    starts = [at for at, event in enumerate(events) if isinstance(event, StreamStart)]
    assert starts in ([], [0]), f"StreamStart at {starts}"
    ends = [at for at, event in enumerate(events) if isinstance(event, StreamEnd)]
    assert ends == ([len(events) - 1] if complete else []), f"StreamEnd at {ends} of {len(events)} events"
    open_calls: dict[int, str] = {}
    seen: set[int] = set()
    for event in events:
        match event:
            case ToolCallStart(index=index):
                assert index not in seen, f"tool call {index} starts twice"
                seen.add(index)
                open_calls[index] = ""
            case ToolCallDelta(index=index, arguments=piece):
                assert index in open_calls, f"arguments for the tool call {index}, which is not open"
                open_calls[index] += piece
            case ToolCallEnd(index=index):
                assert index in open_calls, f"end of the tool call {index}, which is not open"
                del open_calls[index]
            case TextDelta(text=piece) | ReasoningDelta(text=piece):
                assert piece, "an empty delta"
                piece.encode()
            case StreamReset():
                raise AssertionError("a decoder never resets")
            case _:
                pass


def check(played: Played, expected: Expectation, *, interrupted: bool = False) -> None:
    """Compare as the recordings' README says; `interrupted`: the body stops before its terminal event."""
    error = expected.get("error")
    if interrupted:
        assert isinstance(played.error, StreamInterruptedError), f"not interrupted: {played.error!r}"
    elif isinstance(error, dict):
        assert played.error is not None, "the vendor's in-band error was not raised"
        assert not isinstance(played.error, StreamInterruptedError)
        assert error["message"] in str(played.error)
    elif played.error is not None:
        raise played.error
    assert _told(expected, played.response) == _said(expected, played)


def _told(expected: Expectation, response: Response) -> dict[str, object]:
    """What is expected, without what the reference does not know."""
    told: dict[str, object] = {"text": expected["text"], "response.text": expected["text"]}
    if expected.get("reasoning") is not None:
        told |= {"reasoning": expected["reasoning"], "response.reasoning": expected["reasoning"]}
    calls = [
        {key: call.get(key) for key in ("name", "arguments", "id") if call.get(key) is not None}
        for call in _objects(expected["tool_calls"])
        if call["arguments"] is not None
    ]
    told |= {"tool_calls": calls, "response.tool_calls": calls}
    if expected.get("error") is None:
        told["finish_reason"] = expected["finish_reason"]
    usage = expected.get("usage")
    if isinstance(usage, dict):
        told |= {key: usage[key] for key in ("input_tokens", "output_tokens") if usage.get(key) is not None}
        told["usage event"] = response.usage
    if expected.get("model") is not None:
        told["model"] = expected["model"]
    return told


def _said(expected: Expectation, played: Played) -> dict[str, object]:
    """What the decoder said of the same things."""
    events, response, _ = played
    with_id = [call.get("id") is not None for call in _objects(expected["tool_calls"]) if call["arguments"] is not None]
    ended = [event.call for event in events if isinstance(event, ToolCallEnd)]

    def calls(of: Iterable[object]) -> list[dict[str, object]]:
        made: list[dict[str, object]] = []
        for at, call in enumerate(of):
            wants_id = at >= len(with_id) or with_id[at]
            keys = ("name", "arguments", "id") if wants_id else ("name", "arguments")
            made.append({key: getattr(call, key) for key in keys})
        return made

    usages = [event.usage for event in events if isinstance(event, UsageUpdate)]
    said: dict[str, object] = {
        "text": "".join(event.text for event in events if isinstance(event, TextDelta)),
        "response.text": response.text,
        "reasoning": "".join(event.text for event in events if isinstance(event, ReasoningDelta)),
        "response.reasoning": response.reasoning,
        "tool_calls": calls(ended),
        "response.tool_calls": calls(response.tool_calls),
        "finish_reason": response.raw_finish_reason,
        "input_tokens": response.usage.input_tokens,
        "output_tokens": response.usage.output_tokens,
        "usage event": usages[-1] if usages else None,
        "model": response.model,
    }
    return {key: said[key] for key in _told(expected, response)}


def _objects(value: object) -> list[dict[str, object]]:
    assert isinstance(value, list)
    return value
