"""Text of others on a terminal."""

from __future__ import annotations

import io
import logging
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reactivex import Observer

from rxllm._core.stream_errors import emit_error, unexpected_error
from rxllm._text_without_controls import inert_text
from rxllm.errors import ProtocolError


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


def test_log_lines_are_inert(caplog: pytest.LogCaptureFixture) -> None:
    """What a server says in an error cannot write to the terminal that shows the log."""
    emit_error(Observer(), ProtocolError("\x1b]52;c;Z290Y2hh\x07 broken"))
    logging.getLogger("rxllm").warning("a store failed: %s, %s", OSError("\x1b]0;gotcha\x07"), "\x9b2J")
    assert len(caplog.messages) == 2
    assert "broken" in caplog.messages[0]
    assert "\u241b]0;gotcha\u2407" in caplog.messages[1]
    assert not {"\x1b", "\x07", "\x9b"} & set("".join(caplog.messages))


def test_tracebacks_in_the_log_are_inert() -> None:
    """An error's text is often what a server or a model said."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    log = logging.getLogger("rxllm")
    log.addHandler(handler)
    try:
        unexpected_error(ValueError("\x1b]52;c;Z290Y2hh\x07"), is_open=True)  # at level DEBUG
        log.error("a request failed", exc_info=ValueError("\x1b]0;gotcha\x07"))
    finally:
        log.removeHandler(handler)
    assert "ValueError: \u241b]0;gotcha\u2407" in written.getvalue()
    assert not {"\x1b", "\x07"} & set(written.getvalue())
