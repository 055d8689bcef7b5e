"""The README's snippets run as they stand, against a loopback server in place of the vendor."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rxllm.testing import LLMServer

README = Path(__file__).resolve().parents[2] / "README.md"
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "snippet", SNIPPETS, ids=lambda snippet: next(filter(None, reversed(snippet.splitlines())))[:40]
)
def test_a_snippet_runs(snippet: str, tmp_path: Path) -> None:
    """Each one is a whole program; none reports a failure."""
    if "PySide6" in snippet:
        pytest.importorskip("PySide6.QtWidgets", reason="Qt's libraries are not here", exc_type=ImportError)
        snippet = f"from PySide6.QtWidgets import QApplication as App\nApp.exec = App.processEvents\n{snippet}"
    with LLMServer() as server:
        environment = {
            **os.environ,
            "OPENAI_API_KEY": "k",
            "OPENAI_BASE_URL": server.base_url("openai"),
            "QT_QPA_PLATFORM": "offscreen",
        }
        command = [sys.executable, "-c", snippet]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "rror" not in done.stdout


def test_there_are_snippets() -> None:
    """The tour is not lost to a change of the markup."""
    assert len(SNIPPETS) == 4


def test_links_and_pictures_work_on_pypi() -> None:
    """They are absolute: PyPI has no other files of the repository."""
    targets = re.findall(r"\]\(([^)]+)\)", README.read_text(encoding="utf-8"))
    assert len(targets) > 10
    assert [each for each in targets if not each.startswith("https://")] == []
