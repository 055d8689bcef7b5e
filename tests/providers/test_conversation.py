"""Every call has its result behind it, whatever happened to the conversation; and addresses as people paste them."""

from __future__ import annotations

import pytest

from rxllm import ConfigurationError
from rxllm._history import CANCELLED
from rxllm.messages import Message, TextPart, ToolCall, ToolResult
from rxllm.options import Options
from rxllm.providers._conversation import with_results_behind_calls
from rxllm.providers.vendors import vendor_named, wire_for

CALL = Message.assistant(ToolCall("a", "f", {}), ToolCall("b", "g", {}))
A, B, C = ToolResult("a", "1"), ToolResult("b", "2"), ToolResult("c", "3")
OTHER = Message.assistant(ToolCall("c", "h", {}))


def shape(*messages: Message) -> list[object]:
    """Roles, and the contents of results."""
    found: list[object] = []
    for message in with_results_behind_calls(messages):
        results = [part.content for part in message.parts if isinstance(part, ToolResult)]
        found.append(results or message.role)
    return found


@pytest.mark.parametrize(
    ("messages", "wanted"),
    [
        ([CALL, Message.tool(A, B)], ["assistant", ["1", "2"]]),
        ([CALL, Message.tool(B), Message.tool(A)], ["assistant", ["1", "2"]]),
        ([CALL, Message.user("Wait"), Message.tool(A, B)], ["assistant", ["1", "2"], "user"]),
        ([CALL, Message.tool(A), Message.user("Wait"), Message.tool(B)], ["assistant", ["1", "2"], "user"]),
        ([CALL, Message.tool(A), Message.user("Go on")], ["assistant", ["1", CANCELLED], "user"]),
        ([CALL, Message.user("Go on")], ["assistant", [CANCELLED, CANCELLED], "user"]),
        ([Message.user("Hi"), CALL], ["user", "assistant"]),
        ([CALL, Message("user", (A, B, TextPart("And?")))], ["assistant", ["1", "2"], "user"]),
        ([CALL, Message.tool(A, B), CALL, Message.tool(A, B)], ["assistant", ["1", "2"]] * 2),
        ([Message.tool(A), Message.user("Hi")], [["1"], "user"]),
        (
            [Message.assistant(CALL.parts[0]), Message.assistant(CALL.parts[1]), Message.tool(A, B)],
            ["assistant", ["1"], "assistant", ["2"]],
        ),
        (
            [CALL, Message.tool(A), Message.user("Wait"), OTHER, Message.tool(C), Message.tool(B)],
            ["assistant", ["1", "2"], "user", "assistant", ["3"]],
        ),
        ([OTHER, Message.tool(C), Message.tool(C), Message.user("Hi")], ["assistant", ["3"], "user"]),
        ([OTHER, OTHER, Message.tool(C, C)], ["assistant", ["3"]] * 2),
        ([Message("assistant", (*OTHER.parts, C)), Message.user("Hi")], ["assistant", ["3"], "user"]),
    ],
)
def test_results_stand_behind_their_calls(messages: list[Message], wanted: list[object]) -> None:
    """Moved where they belong; what was interrupted says so; a last call stays open."""
    assert shape(*messages) == wanted


def test_nothing_is_done_where_nothing_is_wrong() -> None:
    """A conversation without tools is the same object."""
    messages = [Message.user("Hi"), Message.assistant("Ho")]
    assert with_results_behind_calls(messages) is messages


def test_a_result_of_a_call_that_the_server_holds() -> None:
    """OpenAI's stored responses: only the result is sent."""
    wire = wire_for(vendor_named("openai-responses"), api_key="k")
    options = Options(extra_body={"previous_response_id": "resp_1", "store": True})
    body = wire.request([Message.tool(ToolResult("t9", "1"))], "m", options).body
    assert b'"call_id":"t9"' in body


@pytest.mark.parametrize("provider", ["openai", "anthropic", "mistral", "openai-responses"])
def test_a_result_without_its_call(provider: str) -> None:
    """A trimmed memory: the vendor's 400 would not say which."""
    wire = wire_for(vendor_named(provider), api_key="k")
    with pytest.raises(ConfigurationError, match="'t9'"):
        wire.request([Message.tool(ToolResult("t9", "1")), Message.user("Hi")], "m", Options())


@pytest.mark.parametrize(
    ("provider", "base_url", "url"),
    [
        ("openai-compatible", "https://a.example/v1/chat/completions/", "https://a.example/v1/chat/completions"),
        ("openai", "https://api.openai.com", "https://api.openai.com/v1/chat/completions"),
        ("openai", "https://proxy.example", "https://proxy.example/chat/completions"),
        ("openrouter", "https://openrouter.ai/api", "https://openrouter.ai/api/v1/chat/completions"),
        ("vllm", "http://10.0.0.7:8000", "http://10.0.0.7:8000/v1/chat/completions"),
        ("vllm", "http://10.0.0.7:8000/models/7/v1", "http://10.0.0.7:8000/models/7/v1/chat/completions"),
        ("deepseek", "https://api.deepseek.com/v1", "https://api.deepseek.com/v1/chat/completions"),
        ("openai-responses", "https://api.openai.com/v1/responses", "https://api.openai.com/v1/responses"),
        ("openai-responses", "https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1/responses"),
        ("anthropic", "https://api.anthropic.com/v1/messages", "https://api.anthropic.com/v1/messages"),
        ("anthropic", "https://api.moonshot.ai/anthropic", "https://api.moonshot.ai/anthropic/v1/messages"),
        ("ollama", "http://127.0.0.1:11434/v1", "http://127.0.0.1:11434/api/chat"),
        ("ollama", "http://127.0.0.1:11434/api/chat", "http://127.0.0.1:11434/api/chat"),
        ("ollama", "http://127.0.0.1:11434/v1/chat/completions", "http://127.0.0.1:11434/api/chat"),
        (
            "gemini",
            "https://g.example/v1beta/openai/",
            "https://g.example/v1beta/models/m:streamGenerateContent?alt=sse",
        ),
        (
            "gemini",
            "https://g.example/v1beta/models",
            "https://g.example/v1beta/models/m:streamGenerateContent?alt=sse",
        ),
    ],
)
def test_pasted_addresses(provider: str, base_url: str, url: str) -> None:
    """The address of another surface, of the whole endpoint, or of the host alone."""
    wire = wire_for(vendor_named(provider), api_key="k", base_url=base_url)
    assert wire.request([Message.user("Hi")], "m", Options()).url == url


def test_the_address_of_the_other_api() -> None:
    """It cannot be right, and the error names what is."""
    with pytest.raises(ConfigurationError, match="openai-responses"):
        wire_for(vendor_named("openai"), api_key="k", base_url="https://api.openai.com/v1/responses")
