"""Opens a response in both ways: a thread waits for its head, or reads it in parts, as the reactor does."""

from __future__ import annotations

import select

import pytest

from rxllm._protocol import WireRequest
from rxllm._transport.body import Body
from rxllm._transport.connections import Call
from rxllm._transport.http import Transport

from ..raw_server import LIMIT

_polls = False


@pytest.fixture(autouse=True, params=["waiting", "polling"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is promised of a response holds in both ways. Import it into a test module."""
    monkeypatch.setattr("tests.transport.opening._polls", request.param == "polling")


def open_response(transport: Transport, request: WireRequest, call: Call) -> Body:
    """Send a request and return the body of its response."""
    pending = transport.send(request, call)
    fd = pending.fileno()
    pending.set_blocking(fd is None or not _polls)
    while True:
        if not pending.is_blocking:
            assert select.select([fd], [], [], LIMIT)[0]
        body = pending.read()
        if body is not None:
            if not pending.is_blocking:
                body.set_blocking(True)
            return body
