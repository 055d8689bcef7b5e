"""Limits that many workers share: what the server gives, and what workers make of it."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reactivex import Observable

from rxllm.batch.shared_limits import LEASE, Lease, LeasedLimit, LeaseRequest, Permit, PermitServer, RateLimits
from rxllm.errors import ConfigurationError, RateLimitError
from rxllm.events import Response, StreamEnd, TokenEvent, Usage

from ..operators.threads import LIMIT, Producer, Seen


def permits(server: PermitServer, request: LeaseRequest, now: float) -> int:
    return len(server.lease(request, now).permits)


@given(
    limit=st.integers(1, 20),
    steps=st.lists(
        st.tuples(st.floats(0, 30), st.integers(1, 9), st.floats(0, LEASE, exclude_max=True), st.integers(0, 9)),
        max_size=60,
    ),
)
def test_no_minute_sees_more_than_the_limit(limit: int, steps: list[tuple[float, int, float, int]]) -> None:
    """However late in its lease a permit is used, and however many are given back."""
    server, now, used = PermitServer(RateLimits(requests_per_minute=limit), 0.0), 0.0, list[float]()
    unused: list[Permit] = []
    for pause, wanted, late, kept in steps:
        now += pause
        lease = server.lease(LeaseRequest(wanted, 1.0, unused=unused), now)
        unused = list(lease.permits[kept:])
        if lease.permits:
            used += [now + late] * min(kept, len(lease.permits))
            now += late  # what is left is given back only after
    used.sort()
    for start in used:
        assert sum(start <= at < start + 60.0 for at in used) <= limit


def test_what_is_given_back_may_be_taken_at_once() -> None:
    """Permits that a worker had no use for are another's."""
    server = PermitServer(RateLimits(requests_per_minute=5), 0.0)
    first = server.lease(LeaseRequest(5, 1.0), 0.0)
    assert 0 == permits(server, LeaseRequest(5, 1.0), 1.0)
    assert 3 == permits(server, LeaseRequest(9, 1.0, unused=first.permits[2:]), 2.0)


def test_tokens_count_as_expected_until_they_are_known() -> None:
    """More than expected is taken from what is left, less is given back."""
    server = PermitServer(RateLimits(tokens_per_minute=100), 0.0)
    one, *others = server.lease(LeaseRequest(4, 20.0), 0.0).permits
    assert 3 == len(others)
    assert 1 == permits(server, LeaseRequest(4, 20.0), 0.0)
    few = [(each, 20.0 - 40.0 / 3) for each in others]
    assert 2 == permits(server, LeaseRequest(4, 20.0, few), 0.0)
    assert 0 == permits(server, LeaseRequest(1, 20.0, [(one, 520.0)]), 30.0)
    assert 0 == permits(server, LeaseRequest(1, 20.0), 62.0)  # those 500 count from when they were known
    assert 1 == permits(server, LeaseRequest(1, 20.0), 92.0)


def test_an_answer_that_needs_more_than_the_limit_goes_alone() -> None:
    """It waits until nothing else is counted, and not for ever."""
    server = PermitServer(RateLimits(tokens_per_minute=10), 0.0)
    assert 1 == permits(server, LeaseRequest(3, 50.0), 0.0)
    assert 0 == permits(server, LeaseRequest(3, 50.0), 30.0)
    assert 1 == permits(server, LeaseRequest(3, 50.0), 62.0)


def test_a_vendor_that_wants_silence_gets_it_from_all() -> None:
    """Told by one worker, kept by each."""
    server = PermitServer(RateLimits(), 0.0)
    server.lease(LeaseRequest(0, 1.0, silence=20.0), 0.0)
    lease = server.lease(LeaseRequest(3, 1.0), 10.0)
    assert (0, 5.0) == (len(lease.permits), lease.wait)
    assert 3 == permits(server, LeaseRequest(3, 1.0), 20.0)


def test_a_ledger_that_takes_the_place_of_a_lost_one_waits() -> None:
    """Until what that one gave has passed."""
    server = PermitServer(RateLimits(requests_per_minute=5), 0.0, blank=False)
    lost = [((7, 7), 5.0)]  # of that one
    assert 0 == permits(server, LeaseRequest(1, 1.0, lost, [(8, 8)]), 60.0)
    assert 1 == permits(server, LeaseRequest(1, 1.0), 61.0)


@pytest.mark.parametrize("field", ["requests_per_minute", "tokens_per_minute"])
def test_a_limit_is_a_number_above_0(field: str) -> None:
    """0 would wait for ever."""
    with pytest.raises(ConfigurationError, match=field):
        RateLimits(**{field: 0})  # type: ignore[arg-type]


class Counted:
    """A server in this process, and how often it was asked."""

    def __init__(self, limits: RateLimits) -> None:
        self.server = PermitServer(limits, time.monotonic())
        self.wishes: list[LeaseRequest] = []
        self.failures = 0

    def lease(self, request: LeaseRequest) -> Lease:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the server is away")
        self.wishes.append(request)
        return self.server.lease(request, time.monotonic())


def answer(tokens: int) -> Observable[TokenEvent]:
    return Producer([StreamEnd(Response("x", usage=Usage(total_tokens=tokens)))]).observable


def run_all(limit: LeasedLimit, streams: list[Observable[TokenEvent]]) -> list[Seen]:
    watchers = [Seen() for _ in streams]
    for watcher, stream in zip(watchers, streams, strict=True):
        watcher.subscribe(limit(stream))
    for watcher in watchers:
        watcher.wait()
    return watchers


def test_permits_are_fetched_many_at_a_time() -> None:
    """A stream costs a fraction of a message to the server."""
    counted = Counted(RateLimits(requests_per_minute=100_000))
    limit = LeasedLimit(counted.lease)
    try:
        for _ in range(10):
            seen = run_all(limit, [answer(7) for _ in range(40)])
            assert all(each.completed for each in seen)
    finally:
        limit.close()
    assert len(counted.wishes) < 200


def test_the_ledger_learns_what_answers_took() -> None:
    """With the next lease after they ended, and expects as much of those to come."""
    counted = Counted(RateLimits(tokens_per_minute=1_000_000))
    limit = LeasedLimit(counted.lease)
    try:
        for _ in range(30):
            run_all(limit, [answer(50) for _ in range(8)])
            if any(request.expected_tokens == 50.0 for request in counted.wishes):
                break
    finally:
        limit.close()
    told = [tokens for request in counted.wishes for _, tokens in request.spent]
    assert told
    assert {50.0} == set(told)
    assert any(request.expected_tokens == 50.0 for request in counted.wishes)


def test_a_ledger_that_is_away_is_asked_again_and_told_everything(caplog: pytest.LogCaptureFixture) -> None:
    """Streams wait for it; none fails, and it is said in the log."""
    counted = Counted(RateLimits(requests_per_minute=1000))
    counted.failures = 1
    limit = LeasedLimit(counted.lease)
    try:
        assert all(each.completed for each in run_all(limit, [answer(10) for _ in range(3)]))
    finally:
        limit.close()
    assert "the server is away" in caplog.text


def test_a_retry_after_is_told_to_the_ledger() -> None:
    """So that other workers keep still too."""
    counted = Counted(RateLimits(requests_per_minute=1000))
    limit = LeasedLimit(counted.lease)
    refused = Producer([], then=lambda observer: observer.on_error(RateLimitError("slow down", retry_after=30.0)))
    seen = Seen()
    try:
        seen.subscribe(limit(refused.observable))
        seen.wait()
        told = threading.Event()
        deadline = time.monotonic() + LIMIT
        while not any(request.silence == 30.0 for request in counted.wishes) and time.monotonic() < deadline:
            told.wait(0.01)
    finally:
        limit.close()
    assert any(request.silence == 30.0 for request in counted.wishes)
    assert 0 == permits(counted.server, LeaseRequest(1, 1.0), time.monotonic())
