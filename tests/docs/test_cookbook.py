"""The cookbook's snippets run as they are printed, against a server that plays the vendor."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from rxllm.messages import ToolCall
from rxllm.testing import LLMServer, RecordedRequest, Reply

from ..recipes import recipes, run

RECIPES = recipes("cookbook.md")


def vendor(request: RecordedRequest) -> Reply:
    """Asks the librarian, if there is one, once; echoes else."""
    body = request.body.decode()
    if '"response_format"' in body and "kettle" in request.prompt:
        return Reply('{"product": "kettle", "stars": 5}')
    if "What do you see?" in body:
        return Reply("a cat", delay=0.02)
    if '"name":"ask_librarian"' in body and '"role":"tool"' not in body:
        return Reply(tool_calls=[ToolCall("call_1", "ask_librarian", {"question": "Hamsun?"})])
    return Reply(request.prompt)


QT = "QThread and signals to rxllm"
IN_THIS_PROCESS = [title for title in RECIPES if title != QT]


def test_the_recipe_for_qt_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own, as Qt's application stays. The first answer shows nothing: the second stops it."""
    pytest.importorskip("PySide6.QtWidgets", reason="Qt's libraries are not here", exc_type=ImportError)
    with LLMServer(default=vendor) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url())
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        done = subprocess.run([sys.executable, "-c", RECIPES[QT]], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Explain AI", "")


@pytest.mark.parametrize("title", IN_THIS_PROCESS)
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
        for title in IN_THIS_PROCESS:
            run(RECIPES[title])
            printed[title.split(":")[0].split(",")[0].split(" over")[0]] = capsys.readouterr().out
    assert "Write a poem about A theme for a poem" == printed["A chain"]
    assert printed["A panel"].index("gpt-5.4-mini: ") < printed["A panel"].index("gpt-5.4: ")
    assert [str(number) for number in range(10)] == re.findall(r"number (\d)", printed["Map-reduce"])
    assert ["bad 10", "bad 5", "good 10", "good 10", "good 10"] == sorted(printed["A data pipeline"].splitlines())
    assert "Hamsun?" == printed["An assistant as another's tool"]
    assert [f"{number} Classify ticket {number + 1}" for number in range(20)] == printed["Backpressure"].splitlines()
    assert printed["Rows to typed values"].startswith("kettle 5\nThe lamp broke: ")
    described = int(printed["Camera frames to a vision model"].split()[0])
    assert 0 < described < 40
    assert "Is the door open?\nWho is there?\n" == printed["Questions about the latest frame"]
    assert printed["Sentences to speech"].startswith("['Tell me a story.'")
    assert printed["Sentences to speech"].endswith("'What time is it?']\n")
    assert "It may be long" not in printed["Sentences to speech"]
    assert "['one', 'two', 'three'] [False, True, False]\n" == printed["A queue of inputs"]


def test_the_source_is_pulled_only_as_answers_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """20 answers, 4 running and 8 waiting beside them, and those that end while the twentieth is delivered."""
    with LLMServer(default=vendor) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url())
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        names: dict[str, object] = {"__name__": "__main__"}
        (recipe,) = [text for title, text in RECIPES.items() if title.startswith("Backpressure")]
        exec(recipe, names)  # noqa: S102  our own
    pulled = names["pulled"]
    assert isinstance(pulled, list)
    assert 20 <= len(pulled) <= 2 * (20 + 4 + 8)


def test_there_are_ten_pipelines() -> None:
    """At least."""
    assert len(RECIPES) >= 10
