"""The script that makes the screenshots: the examples on the embedded model, on a virtual screen."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..embedded_model import needs_embedded_model

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "screenshots" / "make.py"
LIMIT_SECONDS = 240

needs = {
    "chat_qt": ["PySide6"],
    "compare_qt": ["PySide6"],
    "chat_tk": ["tkinter", "PIL"],
    "chat_textual": ["textual"],
}

pytestmark = [needs_embedded_model, pytest.mark.timeout(LIMIT_SECONDS + 60)]


@pytest.mark.parametrize("name", needs)
def test_a_screenshot(name: str, tmp_path: Path, display: str) -> None:
    """Each example runs with no key, answers, and can be seen."""
    for package in needs[name]:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    made = subprocess.run(
        [sys.executable, str(SCRIPT), name, "--into", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        env=os.environ | {"QT_QPA_PLATFORM": "xcb"},
    )
    assert made.returncode == 0, made.stderr
    (picture,) = tmp_path.iterdir()
    content = picture.read_bytes()
    assert content.startswith((b"\x89PNG", b"<svg"))
    assert len(content) > 10_000
