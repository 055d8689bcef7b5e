"""A stream cut at any byte never looks complete, on any wire."""

from __future__ import annotations

import pytest
import requests

import rxllm
from rxllm.options import Options
from rxllm.providers.vendors import vendor_named, wire_for
from rxllm.testing import LLMServer, Reply

from ..providers.recordings import play
from ..raw_server import LIMIT

PIECES = ["Hé", "llo ", "🌍, ", "how ", "are you?"]
CALL = rxllm.ToolCall("call_1", "look_up", {"city": "Tromsø", "days": [1, 2]})


@pytest.mark.parametrize("provider", ["openai-compatible", "openai-responses", "anthropic", "gemini", "ollama"])
@pytest.mark.parametrize("calls", [(), (CALL,)], ids=["text", "tool call"])
def test_every_byte_offset(provider: str, calls: tuple[rxllm.ToolCall, ...]) -> None:
    """Cut before its terminal event: an interruption, with a true part of the answer. After it: the whole answer."""
    with LLMServer(Reply(pieces=PIECES, reasoning="Think.", tool_calls=calls)) as server:
        wire = wire_for(vendor_named(provider), base_url=server.base_url(provider), api_key="k")
        request = wire.request((rxllm.Message.user("?"),), "m", Options())
        body = requests.post(request.url, data=request.body, headers=request.headers, timeout=LIMIT).content
    framing = request.framing
    whole = play(wire.decoder(), [body], framing)
    assert whole.error is None
    assert (whole.response.text, whole.response.tool_calls != ()) == ("".join(PIECES), bool(calls))
    interrupted = 0
    for end in range(len(body)):
        played = play(wire.decoder(), [body[:end]], framing)
        if played.error is None:
            assert played.response.text == whole.response.text
            assert played.response.tool_calls == whole.response.tool_calls
            assert played.response.finish_reason == whole.response.finish_reason
        else:
            interrupted += 1
            assert isinstance(played.error, rxllm.StreamInterruptedError)
            assert whole.response.text.startswith(played.response.text)
            assert played.response.tool_calls in ((), whole.response.tool_calls)
    assert interrupted > len(body) // 2
