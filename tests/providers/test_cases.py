"""The shared cases of public bug reports, met over HTTP as a user meets them; each right, or argued with here."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.shared import SHARED, needs_shared

CASES = SHARED / "cases"

ARGUED: Mapping[str, str] = {
    "call-split-name": (
        "Expects the pieces of a function's name to be joined. OpenAI's reference shows the name whole in the first "
        "chunk of a call, and many servers repeat it whole in every chunk (call-name-every-chunk): joined, their tools "
        "would be called weatherweather. One client reports pieces; another looked for them and found none "
        "(openclaw/openclaw pull request 130532)."
    ),
    "sse-heartbeat-timestamp": (
        "Expects an event whose data is no JSON to be passed over. The data of a chunk is a JSON object "
        "(https://platform.openai.com/docs/api-reference/chat-streaming), and such text is nearly always an error in "
        "plain words, or half an event: passed over, a part of the answer would be missing in silence."
    ),
}
"""Expectations that we do not share, and why."""


@pytest.fixture(scope="module")
def runner() -> Any:
    """The cases' own runner."""
    spec = importlib.util.spec_from_file_location("shared_cases", CASES / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def server(runner: Any) -> Iterator[Any]:
    """A server that answers what a case says."""
    served = runner.Server()
    yield served
    served._http.shutdown()
    served._http.server_close()


@needs_shared
@pytest.mark.parametrize("name", sorted(path.stem for path in CASES.glob("*.json")))
def test_a_case(name: str, runner: Any, server: Any) -> None:
    """What the user sees and what was sent is as expected; where we argue, it is not."""
    case = json.loads((CASES / f"{name}.json").read_bytes())
    assert bool(runner.run(case, server)) == (name in ARGUED)
