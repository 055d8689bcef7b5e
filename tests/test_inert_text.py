"""Text of others on a terminal."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from rxllm._inert_text import inert_text


@given(st.text())
def test_no_control_character_passes(text: str) -> None:
    """But the new line and the tab, which text is made of."""
    controls = {character for character in inert_text(text) if unicodedata.category(character) == "Cc"}
    assert controls <= {"\n", "\t"}


@given(st.text(), st.text())
def test_how_a_stream_is_cut_does_not_matter(left: str, right: str) -> None:
    """Each character is judged by itself."""
    assert inert_text(left) + inert_text(right) == inert_text(left + right)


@given(st.text(st.characters(exclude_categories=["Cc", "Cf"])))
def test_ordinary_text_is_left_alone(text: str) -> None:
    """In any script."""
    assert inert_text(text) == text
