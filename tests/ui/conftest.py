"""One virtual screen for all tests of user interfaces."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from rxllm.testing.plugin import llm_server as llm_server

from .display import virtual_display
from .kinds import TOOLKIT

collect_ignore = ["programs"]  # they are run, not imported


@pytest.fixture(scope="session")
def display() -> Iterator[str]:
    """The DISPLAY of a virtual screen; that of the tests that run these, for a toolkit in a process of its own."""
    if TOOLKIT:  # GTK ends the process when its screen goes
        yield os.environ["DISPLAY"]
        return
    with virtual_display() as name:
        yield name
