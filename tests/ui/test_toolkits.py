"""PyQt6, which shares no process with PySide6, keeps the promises that all toolkits make."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from ..extra_python import ROOT, extra_environment, python_with

HERE = Path(__file__).parent
LIMIT_SECONDS = 250


def test_the_contract_holds(display: str) -> None:
    """All of test_schedulers.py and of test_bindings.py; nothing is skipped."""
    files = "test_schedulers.py", "test_bindings.py"
    python = python_with("PyQt6", get="pip install PyQt6")
    alone = "-o", "addopts=-q"  # a toolkit has one process; that Python may have no xdist
    done = subprocess.run(
        [python, "-m", "pytest", *alone, "-k", "[pyqt6", *(str(HERE / name) for name in files)],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        env=extra_environment() | {"RXLLM_TOOLKIT": "pyqt6"},
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"^(\d+) passed(, \d+ deselected)? in", done.stdout, re.MULTILINE)
    assert passed, f"some were skipped: {done.stdout}"
    assert int(passed[1]) >= 25
