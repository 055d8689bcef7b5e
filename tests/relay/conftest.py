"""A Redis server for each test module, and one to be killed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

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
    """What the relay started in a test has ended when the test has."""
    before = threading.enumerate()
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("rxllm-relay") and thread not in before:
            thread.join(LIMIT)
            assert not thread.is_alive(), thread.name


@pytest.fixture(autouse=True)
def clients_are_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The clients that a test makes end with it: garbage collection would report their sockets in a later test."""
    made: list[redis.Redis] = []
    original = redis.Redis.__init__

    def noted(client: redis.Redis, *args: object, **options: object) -> None:
        original(client, *args, **options)  # type: ignore[arg-type]  # passed on
        made.append(client)

    monkeypatch.setattr(redis.Redis, "__init__", noted)
    yield
    for client in made:
        client.close()
