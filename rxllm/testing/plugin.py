"""The pytest plugin: a scripted server as a fixture. Found by pytest through the package's entry point."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .server import LLMServer


@pytest.fixture
def llm_server() -> Iterator[LLMServer]:
    """Yield an `rxllm.testing.LLMServer`, closed after the test; it echoes prompts unless replies are set."""
    from .server import LLMServer  # not before a test asks for it: pytest loads this file in every run

    with LLMServer() as server:
        yield server
