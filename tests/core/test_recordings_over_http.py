"""Real streams over real HTTP: whole, byte by byte and cut at random, they are what the decoder makes of their bytes.

That the decoders make the right thing of them is the business of `tests/providers`.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence

import msgspec
import pytest

import rxllm
from rxllm.events import StreamEnd, TokenEvent, VendorEvent
from rxllm.providers.vendors import vendor_named, wire_for
from rxllm.testing import LLMServer, RawReply

from ..providers.recordings import Recording, play, recordings
from ..raw_server import LIMIT
from ..shared import needs_shared

PROVIDERS = {
    "openai-chat": "openai-compatible",
    "openai-responses": "openai-responses",
    "anthropic": "anthropic",
    "gemini": "gemini",
    "ollama": "ollama",
}
RECORDINGS = [(wire, recording) for wire in PROVIDERS for recording in recordings(wire)]
BYTE_BY_BYTE_LIMIT = 3_000


@pytest.fixture(scope="module")
def server() -> Iterator[LLMServer]:
    """One server for all recordings."""
    with LLMServer() as running:
        yield running


def cuts_of(body: bytes) -> Iterator[Sequence[int] | int | None]:
    yield None
    if len(body) <= BYTE_BY_BYTE_LIMIT:
        yield 1
    dice = random.Random(len(body))
    yield [dice.choice((1, 5, 60, 700, 5000)) for _ in range(len(body) // 500 + 1)]


def received(server: LLMServer, provider: str, reply: RawReply) -> tuple[list[TokenEvent], Exception | None]:
    server.enqueue(reply)
    model = rxllm.create_streaming_model(
        provider, model="m", api_key="k", base_url=server.base_url(provider), max_retries=0
    )
    events: list[TokenEvent] = []
    errors: list[Exception] = []
    ended = threading.Event()

    def on_error(error: Exception) -> None:
        errors.append(error)
        ended.set()

    model.stream("?").subscribe(events.append, on_error, ended.set)
    assert ended.wait(LIMIT)
    model.close()
    return events, errors[0] if errors else None


def comparable(events: Sequence[TokenEvent]) -> list[TokenEvent]:
    kept = [event for event in events if event != VendorEvent("keep_alive", {})]
    return [
        StreamEnd(msgspec.structs.replace(event.response, timing=None)) if isinstance(event, StreamEnd) else event
        for event in kept
    ]


@needs_shared
@pytest.mark.parametrize(("wire", "recording"), RECORDINGS, ids=lambda value: str(value))
def test_a_recording_over_http(wire: str, recording: Recording, server: LLMServer) -> None:
    """The transport adds nothing, loses nothing, and ends with the same error."""
    provider = PROVIDERS[wire]
    vendor = vendor_named(provider)
    decoder = wire_for(vendor, base_url=server.base_url(provider), api_key="k").decoder()
    expected = play(decoder, [recording.body], "ndjson" if wire == "ollama" else "sse")
    for cuts in cuts_of(recording.body):
        events, error = received(server, provider, RawReply(recording.body, cuts=cuts))
        assert comparable(events) == list(expected.events)
        assert (type(error), str(error)) == (type(expected.error), str(expected.error))
        if isinstance(error, rxllm.LLMError):
            assert error.partial is not None
            assert error.partial.text == expected.response.text
