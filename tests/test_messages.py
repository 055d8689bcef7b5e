"""Messages: they hold what vendors understand, and survive JSON unchanged."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxllm.errors import ConfigurationError
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
from rxllm.prompt import messages_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
FIELDS = st.dictionaries(st.text(), JSON, max_size=3)
VENDOR = st.none() | st.dictionaries(st.sampled_from(["anthropic", "gemini"]), FIELDS, max_size=2)
PARTS: st.SearchStrategy[Part] = st.one_of(
    st.builds(TextPart, st.text(), VENDOR),
    st.builds(ReasoningPart, st.text(), VENDOR),
    st.builds(ToolCall, st.text(), st.text(), FIELDS, VENDOR),
    st.builds(ToolResult, st.text(), st.text(), st.text(), st.booleans()),
    st.builds(VendorPart, st.text(), FIELDS),
    st.builds(ImagePart, data=st.binary(), media_type=st.just("image/png")),
    st.builds(DocumentPart, url=st.text(), name=st.none() | st.text()),
    st.builds(AudioPart, data=st.binary(), media_type=st.just("audio/wav")),
)
MESSAGES = st.builds(
    Message, st.sampled_from(["system", "user", "assistant", "tool"]), st.lists(PARTS, max_size=4).map(tuple)
)


@given(st.lists(MESSAGES, max_size=3))
def test_a_conversation_survives_json(messages: list[Message]) -> None:
    """Bytes, vendor fields and tool arguments come back as they were."""
    assert messages_from_json(messages_to_json(messages)) == tuple(messages)


def test_other_json_is_refused() -> None:
    """What is no conversation is a ValueError, not a half-read one."""
    with pytest.raises(ValueError, match="object"):
        messages_from_json("[1]")


@pytest.mark.parametrize("part", [ImagePart, DocumentPart, AudioPart])
@pytest.mark.parametrize("fields", [{}, {"url": "https://a", "data": b"b", "media_type": "x/y"}, {"data": b"b"}])
def test_media_needs_one_source(part: type[Part], fields: dict[str, object]) -> None:
    """Neither, both, or bytes of an unknown type: said when the part is made."""
    with pytest.raises(ValueError, match="needs"):
        part(**fields)


def test_text_joins_the_text_parts() -> None:
    """Only visible text counts."""
    message = Message.assistant("a", ReasoningPart("hidden"), TextPart("b"), ToolCall("1", "f", {}))
    assert message.text == "ab"
    assert message.tool_calls == (ToolCall("1", "f", {}),)


def test_an_ending_is_one_of_two() -> None:
    """And it is not written where there is none."""
    with pytest.raises(ConfigurationError, match="ending"):
        Message("assistant", (), "done")  # type: ignore[arg-type]
    broken = Message("assistant", (TextPart("x"),), "stopped")
    assert messages_from_json(messages_to_json([broken])) == (broken,)
    assert messages_of(json.loads(messages_to_json([broken]))) == (broken,)
    assert "ending" not in messages_to_json([Message.user("x")])
