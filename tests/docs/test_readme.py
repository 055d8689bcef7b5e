"""The README's snippets run as they stand, against a loopback server in place of the vendor."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rxllm.testing import LLMServer

README = Path(__file__).resolve().parents[2] / "README.md"
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "snippet", SNIPPETS, ids=lambda snippet: next(filter(None, reversed(snippet.splitlines())))[:40]
)
def test_a_snippet_runs(
    snippet: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each one is a whole program; none reports a failure."""
    monkeypatch.chdir(tmp_path)
    if "PySide6" in snippet:
        pytest.importorskip("PySide6.QtWidgets", reason="Qt's libraries are not here", exc_type=ImportError)
    with LLMServer() as server:
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url("openai"))
        exec(compile(snippet, str(README), "exec"), {"__name__": "readme"})  # noqa: S102 - our own README
    assert "failed" not in capsys.readouterr().out


def test_there_are_snippets() -> None:
    """The tour is not lost to a change of the markup."""
    assert len(SNIPPETS) == 4
