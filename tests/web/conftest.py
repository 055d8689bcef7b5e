"""The scripted language-model server, and a service in front of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rxllm.testing import LLMServer
from rxllm.web import Service

from .running import model_of, running


@pytest.fixture
def llm() -> Iterator[LLMServer]:
    with LLMServer() as server:
        yield server


@pytest.fixture
def service(llm: LLMServer) -> Service:
    return Service({"m": model_of(llm)}, linger=30.0)


@pytest.fixture
def url(service: Service) -> Iterator[str]:
    with running(service) as address:
        yield address
