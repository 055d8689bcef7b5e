"""The cookbook's snippets run as they are printed, against a server that plays the vendor."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rxllm.messages import ToolCall
from rxllm.testing import LLMServer, RecordedRequest, Reply

COOKBOOK = (Path(__file__).resolve().parents[1] / "docs" / "cookbook.md").read_text()
RECIPES = dict(re.findall(r"^## (.+?)\n.*?^```python\n(.*?)^```", COOKBOOK, re.MULTILINE | re.DOTALL))
CALLS = {"weather": {"city": "Oslo"}, "ask_librarian": {"question": "Hamsun?"}, "delete_file": {"path": "a.txt"}}


def vendor(request: RecordedRequest) -> Reply:
    """Calls the tools it is offered, once; gives JSON where JSON is asked for; echoes else."""
    body = request.body.decode()
    if "JSON" in request.prompt:
        return Reply('{"name": "Oslo", "inhabitants": 700000}')
    for name, arguments in CALLS.items():
        if f'"name":"{name}"' in body and '"role":"tool"' not in body:
            return Reply(tool_calls=[ToolCall("call_1", name, dict(arguments))])
    return Reply(request.prompt)


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_works(title: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From its imports to its last line."""
    if "rxllm.otel" in RECIPES[title]:
        pytest.importorskip("opentelemetry", reason="the extra otel is not installed")
    monkeypatch.chdir(tmp_path)
    with LLMServer(default=vendor) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url())
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        _run(RECIPES[title])
        assert server.wait_for_request()


def test_recipes_say_what_they_should(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Some of what they print: order, reduction, the inner turn."""
    with LLMServer(default=vendor) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url())
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        printed: dict[str, str] = {}
        for start in ("A conversation", "A chain", "A panel", "Ask before", "Map-reduce", "An assistant"):
            (recipe,) = [text for title, text in RECIPES.items() if title.startswith(start)]
            _run(recipe)
            printed[start] = capsys.readouterr().out
    assert "[-> sunny in Oslo]" in printed["A conversation"]
    assert "Write a poem about A theme for a poem" == printed["A chain"]
    assert printed["A panel"].index("gpt-4o-mini: ") < printed["A panel"].index("gpt-4o: ")
    assert [str(number) for number in range(10)] == re.findall(r"number (\d)", printed["Map-reduce"])
    assert printed["Ask before"].startswith("allow delete_file {'path': 'a.txt'} ?")
    assert "Hamsun?" == printed["An assistant"]


def _run(recipe: str) -> None:
    exec(compile(recipe, "cookbook", "exec", dont_inherit=True), {"__name__": "__main__"})  # noqa: S102  our own
