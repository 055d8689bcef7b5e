"""Where the examples are, and models for them that say what the tests want."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import rxllm
from rxllm.testing import LLMServer

from ..ui.display import virtual_display

collect_ignore = ["run_hello.py"]  # a program: it needs an argument

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(autouse=True)
def _examples_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """And see each other, as when they are run."""
    monkeypatch.syspath_prepend(str(EXAMPLES))


@pytest.fixture(scope="session")
def display() -> Iterator[str]:
    """The DISPLAY of a virtual screen."""
    with virtual_display() as name:
        yield name


@pytest.fixture
def server() -> Iterator[LLMServer]:
    """A scripted model server."""
    with LLMServer() as server:
        yield server


@pytest.fixture
def models(server: LLMServer) -> dict[str, rxllm.StreamingModel]:
    """Two models of that server, by name."""
    return {
        name: rxllm.create_streaming_model("openai", model=name, base_url=server.base_url(), max_retries=0)
        for name in ("first", "second")
    }
