"""Whatever bytes come, a stream ends as the grammar says: a whole answer, or one typed error."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rxllm
from rxllm._protocol import Framing
from rxllm.providers.vendors import vendor_named, wire_for
from rxllm.testing import LLMServer, RawReply, Reply

from ..providers.recordings import play
from ..raw_server import LIMIT

WIRES = ["openai-compatible", "openai-responses", "anthropic", "gemini", "ollama"]
WORDS = st.from_regex(
    "choices|delta|content|index|finish_reason|usage|error|message|type|id|model|tool_calls|function|name|arguments"
    "|candidates|parts|text|functionCall|finishReason|usageMetadata|promptFeedback|done|done_reason|response|output"
    "|item|output_index|item_id|content_block|thinking|signature|partial_json|stop_reason|reasoning|reasoning_details"
    "|message_start|content_block_start|content_block_delta|message_delta|message_stop|ping|response.completed|stop"
    "|response.output_text.delta|response.output_item.added|text_delta|input_json_delta|function_call|code|status",
    fullmatch=True,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 10**20) | st.floats(allow_nan=False) | WORDS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=12,
)


def decoder_of(wire: str):  # type: ignore[no-untyped-def]  # a Decoder
    return wire_for(vendor_named(wire), base_url="http://127.0.0.1:9", api_key="k").decoder()


def framing_of(wire: str) -> Framing:
    return "ndjson" if wire == "ollama" else "sse"


def as_body(wire: str, payloads: list[object]) -> bytes:
    lines = [json.dumps(payload).encode() for payload in payloads]
    if wire == "ollama":
        return b"".join(line + b"\n" for line in lines)
    return b"".join(b"data: " + line + b"\n\n" for line in lines)


@pytest.mark.parametrize("wire", WIRES)
@given(body=st.binary(max_size=200))
def test_any_bytes(wire: str, body: bytes) -> None:
    """Garbage is never an exception of another kind, and never a whole answer."""
    played = play(decoder_of(wire), [body], framing_of(wire))
    assert isinstance(played.error, rxllm.LLMError)


@pytest.mark.parametrize("wire", WIRES)
@given(payloads=st.lists(JSON, max_size=6))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_json(wire: str, payloads: list[object]) -> None:
    """Valid JSON of any shape, with the wire's own words in the wrong places: `play` checks the grammar."""
    played = play(decoder_of(wire), [as_body(wire, payloads)], framing_of(wire))
    assert played.error is None or isinstance(played.error, rxllm.LLMError)


@pytest.fixture(scope="module")
def server() -> Iterator[LLMServer]:
    """One server for all examples."""
    with LLMServer(default=Reply(pieces=[f"{n} " for n in range(30)])) as running:
        yield running


class TestInterleavings:
    """However dispose falls among the events, the observer sees a prefix of the stream, and no end."""

    @settings(deadline=None, max_examples=60)
    @given(at=st.integers(0, 33), elsewhere=st.booleans())
    def test_dispose_at_any_event(self, server: LLMServer, at: int, elsewhere: bool) -> None:
        """On the producing thread or on another one."""
        model = rxllm.create_streaming_model("openai-compatible", model="m", base_url=server.base_url())
        seen: list[rxllm.TokenEvent] = []
        ended: list[object] = []
        reached = threading.Event()
        disposed = threading.Event()

        def on_next(event: rxllm.TokenEvent) -> None:
            assert not disposed.is_set()
            seen.append(event)
            if len(seen) == at:
                if elsewhere:
                    reached.set()
                    disposed_by_other.wait(LIMIT)
                else:
                    ready.wait(LIMIT)
                    subscription.dispose()
                    reached.set()

        ready, disposed_by_other = threading.Event(), threading.Event()
        subscription = model.stream("?").subscribe(on_next, ended.append, lambda: (ended.append("done"), reached.set()))
        ready.set()
        if at == 0:
            subscription.dispose()
        else:
            assert reached.wait(LIMIT)
            subscription.dispose()
            disposed_by_other.set()
        if ended == ["done"]:
            assert isinstance(seen[-1], rxllm.StreamEnd)
        else:
            assert ended == []
            assert at == 0 or len(seen) == at

    def test_a_raw_answer_in_any_cut(self, server: LLMServer) -> None:
        """Over HTTP as in memory: each size of chunk gives the same text."""
        body = 'data: {"choices":[{"index":0,"delta":{"content":"é🌍"}}]}\r\n\r\ndata: [DONE]\r\n\r\n'.encode()
        model = rxllm.create_streaming_model("openai-compatible", model="m", base_url=server.base_url())
        for size in range(1, 40):
            server.enqueue(RawReply(body, cuts=size))
            assert model.chat("?").text == "é🌍"
