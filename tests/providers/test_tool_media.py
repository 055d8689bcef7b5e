"""Images and files in tool results: in each wire's own form, behind the result, or named in a text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rxllm import AudioPart, DocumentPart, ImagePart, ToolCall
from rxllm.assistant import Assistant
from rxllm.testing import LLMServer, Reply
from tests.assistant.turns import PROVIDERS, model_on

IMAGE = ImagePart(data=b"png", media_type="image/png")
DOCUMENT = DocumentPart(data=b"pdf", media_type="application/pdf", name="a.pdf")
SOUND = AudioPart(data=b"wav", media_type="audio/wav")


def look() -> object:
    """Look."""
    return ["A cat.", IMAGE]


def read() -> object:
    """Read."""
    return [DOCUMENT, SOUND]


def second_request(provider: str) -> Any:
    """The body of the request with the results of both tools."""
    calls = [ToolCall("call_1", "look", {}), ToolCall("call_2", "read", {})]
    with LLMServer(Reply(tool_calls=calls), "Fine.") as server, model_on(server, provider) as model:
        Assistant(model, tools=[look, read]).chat("?")
        return json.loads(server.requests[1].body)


def test_anthropic() -> None:
    """Blocks in the result; it takes no sound."""
    results = second_request("anthropic")["messages"][-1]["content"]
    first, second = (block["content"] for block in results)
    assert [block["type"] for block in first] == ["text", "image"]
    assert [block["type"] for block in second] == ["text", "document"]
    assert second[0]["text"] == "[audio/wav, 3 bytes: this model cannot be given it]"


def test_openai_responses() -> None:
    """Parts in the output; it takes no sound."""
    outputs = [item["output"] for item in second_request("openai-responses")["input"][-2:]]
    assert [part["type"] for part in outputs[0]] == ["input_text", "input_image"]
    assert [part["type"] for part in outputs[1]] == ["input_text", "input_file"]


def test_openai_chat() -> None:
    """Text in the results, which stay together; the rest in a user message behind them."""
    messages = second_request("openai")["messages"][-3:]
    assert [message["role"] for message in messages] == ["tool", "tool", "user"]
    assert messages[0]["content"] == "A cat."
    assert [part["type"] for part in messages[2]["content"]] == ["text", "image_url", "text", "file", "input_audio"]
    assert messages[2]["content"][0]["text"] == "From the tool look:"


def test_gemini() -> None:
    """The same, as parts."""
    parts = [part for content in second_request("gemini")["contents"][2:] for part in content["parts"]]
    kinds = [next(iter(part)) for part in parts]
    assert kinds == ["functionResponse", "functionResponse", "text", "inlineData", "text", "inlineData", "inlineData"]


def test_ollama() -> None:
    """Images in a user message; it takes nothing else."""
    messages = second_request("ollama")["messages"][-3:]
    assert [message["role"] for message in messages] == ["tool", "tool", "user"]
    assert messages[2]["images"] == ["cG5n"]
    assert "application/pdf, 3 bytes" in messages[1]["content"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_image_alone(provider: str) -> None:
    """Needs no text."""
    with (
        LLMServer(Reply(tool_calls=[ToolCall("call_1", "see", {})]), "Fine.") as server,
        model_on(server, provider) as model,
    ):

        def see() -> ImagePart:
            return IMAGE

        assert Assistant(model, tools=[see]).chat("?").text == "Fine."
        assert b"cG5n" in server.requests[1].body
