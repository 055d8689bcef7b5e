"""One virtual screen for all tests of user interfaces."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rxllm.testing.plugin import llm_server as llm_server

from .display import virtual_display

collect_ignore = ["programs"]  # they are run, not imported


@pytest.fixture(scope="session")
def display() -> Iterator[str]:
    """The DISPLAY of a virtual screen."""
    with virtual_display() as name:
        yield name
