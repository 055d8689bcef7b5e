"""The page on assistants: its snippets run as they are printed, and say what the page says."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rxllm.messages import ToolCall
from rxllm.testing import LLMServer, RecordedRequest, Reply

from ..recipes import DOCS, recipes, run

RECIPES = recipes("assistants.md")
CALLS: dict[str, dict[str, object]] = {
    "weather": {"city": "Oslo"},
    "forecast": {"place": {"city": "Oslo"}},
    "look_up": {"word": "fjord"},
    "download": {"url": "http://a.test"},
    "search": {"query": "fjord"},
    "delete_file": {"path": "a.txt"},
    "camera": {},
}
SAYS = {
    "Ask, and watch the turn": ("[weather {'city': 'Oslo'}]", "[-> sunny in Oslo]", "tokens: "),
    "Ask, and watch the turn (2)": ("It is done.",),
    "Give it tools": ("download 10 %", "download 100 %", "search page 2"),
    "Give it tools (2)": ("It is done.",),
    "Ask the user before a tool runs": ("It is done.",),
    "Ask the user before a tool runs (2)": ("allow delete_file {'path': 'a.txt'} ?",),
    "Stop a turn": ("['user', 'assistant']",),
    "Remember": ("It is done.", "['ada']"),
    "Keep within the model's context": (
        "400000 128000 ['documents', 'json_schema', 'reasoning', 'tools', 'vision'] 20",
        "It is done.",
    ),
    "Get a value, not a text": ("City(name='Os", "City(name='Oslo', inhabitants=700000)"),
    "See what it does: listeners, logs, OpenTelemetry": ("3\n",),
    "When it goes wrong": ("has no answer after 3 requests", "spent: "),
}
"""Some of what each snippet prints."""


def vendor(request: RecordedRequest) -> Reply:
    """Calls the tools it is offered, all at once, one time (but for one that asks for more); gives JSON where asked."""
    body = request.body.decode()
    if "JSON" in request.prompt:
        return Reply(pieces=['{"name": "Os', 'lo", "inhabi', 'tants": 700000}'])
    if "thousand" in request.prompt:
        return Reply(" ".join(map(str, range(1000))), delay=0.01)
    if '"name":"again"' in body:
        return Reply(tool_calls=[ToolCall("call_0", "again", {})])
    offered = [name for name in CALLS if f'"name":"{name}"' in body]
    if offered and '"role":"tool"' not in body:
        return Reply(tool_calls=[ToolCall(f"call_{name}", name, CALLS[name]) for name in offered])
    return Reply("It is done.")


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """The root logger as it was: a snippet sets it up, as a program does."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("title", RECIPES)
def test_a_snippet_works(
    title: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From its imports to its last line, printing what it should; no tool of it fails."""
    if "rxllm.otel" in RECIPES[title]:
        pytest.importorskip("opentelemetry", reason="the extra otel is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.input", lambda question: "y")
    with LLMServer(default=vendor) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url())
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        run(RECIPES[title])
        results = [
            message["content"]
            for request in server.requests
            for message in request.json["messages"]
            if message["role"] == "tool"
        ]
    printed = capsys.readouterr().out
    assert all(said in printed for said in SAYS[title]), printed
    assert not [result for result in results if "Error" in result or "not valid" in result]


def test_every_section_is_listed() -> None:
    """The list at the top has a link to each, in order."""
    text = (DOCS / "assistants.md").read_text()
    listed = re.findall(r"^- \[(.*?)\]\(#(.*?)\)$", text, re.MULTILINE)
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert titles == [title for title, _ in listed]
    assert [re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles] == [a for _, a in listed]
