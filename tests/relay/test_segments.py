"""Frames: how events are numbered, joined, and found again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxllm._core.delta_merge import merge_deltas
from rxllm._core.error_format import ErrorRecord
from rxllm.errors import RateLimitError
from rxllm.events import ReasoningDelta, Response, TextDelta, TokenEvent, ToolCallDelta, Usage, UsageUpdate
from rxllm.relay import StreamGoneError
from rxllm.relay._segments import Ending, ending_from_json, ending_to_json, entries_in, segment_of

EVENTS: st.SearchStrategy[list[TokenEvent]] = st.lists(
    st.one_of(
        st.text(max_size=4).map(TextDelta),
        st.text(max_size=4).map(ReasoningDelta),
        st.builds(ToolCallDelta, st.integers(0, 1), st.text(max_size=3)),
        st.just(UsageUpdate(Usage(output_tokens=1))),
    ),
    min_size=1,
    max_size=30,
)


@given(EVENTS, st.integers(0, 10**17), st.data())
def test_reading_may_begin_after_any_number(events: list[TokenEvent], before: int, data: st.DataObject) -> None:
    """In the middle of what was joined too: what comes is exactly the rest."""
    segment = segment_of(events, before)
    assert (before, before + len(events)) == (segment.before, segment.last)
    seen = data.draw(st.integers(0, len(events)))
    entries = list(entries_in(segment.payload, before + seen))
    assert merge_deltas(events[seen:]) == [entry.event for entry in entries]
    assert not entries or entries[-1].id == segment.last


@given(EVENTS, st.data())
def test_what_was_joined_comes_apart_again(events: list[TokenEvent], data: st.DataObject) -> None:
    """Each event with its own number, wherever the reading begins."""
    segment = segment_of(events, 5)
    seen = data.draw(st.integers(0, len(events)))
    entries = list(entries_in(segment.payload, 5 + seen, joined=False))
    assert list(enumerate(events, 6))[seen:] == [(entry.id, entry.event) for entry in entries]


def test_deltas_are_joined() -> None:
    """A moment's text is one event."""
    segment = segment_of([TextDelta("a"), TextDelta("b"), ReasoningDelta("c")], 0)
    assert [(2, TextDelta("ab")), (3, ReasoningDelta("c"))] == [(e.id, e.event) for e in entries_in(segment.payload, 0)]


def test_a_gap_is_an_error() -> None:
    """What is no longer kept is not skipped in silence."""
    segment = segment_of([TextDelta("c")], 7)
    with pytest.raises(StreamGoneError, match="events 3 to 7 are no longer kept"):
        list(entries_in(segment.payload, 2))


def test_an_ending_keeps_the_error() -> None:
    """With its kind, what it knows, and the answer so far."""
    error = RateLimitError("slow down", retry_after=3.0, status_code=429, partial=Response("Hel"))
    ending = ending_from_json(ending_to_json(Ending("failed", ErrorRecord.of(error))))
    assert ending.error is not None
    again = ending.error.to_error()
    assert isinstance(again, RateLimitError)
    assert (3.0, 429, True, Response("Hel")) == (again.retry_after, again.status_code, again.transient, again.partial)
