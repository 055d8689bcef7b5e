"""The cookbook's snippets run as they are printed, against a server that plays the vendor."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rxllm.messages import ToolCall
from rxllm.testing import LLMServer, RecordedRequest, Reply

from ..recipes import recipes, run

RECIPES = recipes("cookbook.md")


def vendor(request: RecordedRequest) -> Reply:
    """Asks the librarian, if there is one, once; echoes else."""
    body = request.body.decode()
    if '"name":"ask_librarian"' in body and '"role":"tool"' not in body:
        return Reply(tool_calls=[ToolCall("call_1", "ask_librarian", {"question": "Hamsun?"})])
    return Reply(request.prompt)


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_works(title: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From its imports to its last line."""
    monkeypatch.chdir(tmp_path)
    with LLMServer(default=vendor) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url())
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        run(RECIPES[title])
        assert server.wait_for_request()


def test_recipes_say_what_they_should(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Some of what they print: order, reduction, the inner turn."""
    with LLMServer(default=vendor) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url())
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        printed: dict[str, str] = {}
        for start in ("A chain", "A panel", "Map-reduce", "An assistant"):
            (recipe,) = [text for title, text in RECIPES.items() if title.startswith(start)]
            run(recipe)
            printed[start] = capsys.readouterr().out
    assert "Write a poem about A theme for a poem" == printed["A chain"]
    assert printed["A panel"].index("gpt-5.4-mini: ") < printed["A panel"].index("gpt-5.4: ")
    assert [str(number) for number in range(10)] == re.findall(r"number (\d)", printed["Map-reduce"])
    assert "Hamsun?" == printed["An assistant"]
