"""Prompts: every form that callers use stands for the same messages; every other is refused."""

from __future__ import annotations

import pytest

from rxllm.errors import ConfigurationError
from rxllm.messages import ImagePart, Message, ReasoningPart, TextPart, ToolCall, ToolResult
from rxllm.prompt import Prompt, messages_of


@pytest.mark.parametrize(
    "prompt",
    [
        "hi",
        Message.user("hi"),
        {"role": "user", "content": "hi"},
        ["hi"],
        [Message.user("hi")],
        [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        [{"role": "user", "content": ["hi"]}],
        [{"role": "user", "parts": [{"type": "text", "text": "hi"}]}],
    ],
)
def test_all_forms_of_a_question_are_one(prompt: Prompt) -> None:
    """Text, a message, a dict, and sequences of them."""
    assert messages_of(prompt) == (Message.user("hi"),)


def test_a_conversation_in_openai_form_is_understood() -> None:
    """A history kept for the OpenAI SDK works as it is, tool calls and images included."""
    history = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a/b.png"}}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": {"y": 2}},
    ]
    assert messages_of(history) == (
        Message.system("Be brief."),
        Message.user(ImagePart(url="https://a/b.png")),
        Message.assistant(ToolCall("1", "f", {"x": 1})),
        Message.tool(ToolResult("1", '{"y":2}')),
    )


def test_parts_pass_through() -> None:
    """Parts may stand in a dict's content."""
    parts = [TextPart("a"), ReasoningPart("b", {"anthropic": {"signature": "s"}})]
    assert messages_of({"role": "assistant", "content": parts}) == (Message("assistant", tuple(parts)),)


@pytest.mark.parametrize(
    "prompt",
    [
        None,
        7,
        [],
        [7],
        {"content": "hi"},
        {"role": "robot", "content": "hi"},
        {"role": ["user"], "content": "hi"},
        {"role": "user", "content": 7},
        {"role": "user", "content": [{"type": "smell"}]},
        {"role": "tool", "content": "no id"},
        {"role": "assistant", "tool_calls": [{"id": "1"}]},
        {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{"}}]},
        {"role": "assistant", "tool_calls": 3},
        {"role": "user", "parts": "x"},
    ],
)
def test_what_is_no_prompt_is_refused(prompt: object) -> None:
    """A wrong prompt is a ConfigurationError with a message, never a crash of another kind."""
    with pytest.raises(ConfigurationError) as caught:
        messages_of(prompt)  # type: ignore[arg-type]  # the point of the test
    assert str(caught.value)
