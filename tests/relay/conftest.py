"""A Redis server for each test module, and one to be killed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..operators.threads import LIMIT
from .processes import RedisServer


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that keeps nothing on disk."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def durable_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that writes everything to a file before it answers."""
    server = RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    yield server
    server.kill()


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """What the relay started has ended when a test has."""
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("rxllm-relay"):
            thread.join(LIMIT)
            assert not thread.is_alive(), thread.name
