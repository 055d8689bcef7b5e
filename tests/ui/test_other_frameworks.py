"""What docs/ui.md says of frameworks that rxllm does not depend on, in each; skipped where it is absent."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

import pytest

from ..extra_python import extra_environment, python_with
from .programs.run import LIMIT_SECONDS, run_program

pytestmark = pytest.mark.timeout(300)  # they take their time to start


def test_gradio_wants_the_growing_text() -> None:
    """It shows all of it; its stop disposes a stream that has not begun."""
    python = python_with("gradio", get="pip install gradio")
    shown, stopped = run_program("gradio_app", python=python, GRADIO_ANALYTICS_ENABLED="False")[0].splitlines()[-2:]
    assert (shown.strip(), stopped) == ("one two three", "stopped")


def test_panel_wants_the_growing_text() -> None:
    """It shows all of it."""
    python = python_with("panel", get="pip install panel")
    assert run_program("panel_app", python=python)[0] == "one two three"


def test_async_for_leaves_the_server_of_nicegui_free() -> None:
    """Each piece comes after other tasks of the loop have run."""
    python = python_with("nicegui", get="pip install nicegui")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert run_program("nicegui_app", python=python, PORT=str(port))[0] == "one two three"


def test_customtkinter(display: str) -> None:
    """Its widgets are bound like those of Tk."""
    python = python_with("customtkinter", get="pip install customtkinter", check="import customtkinter")
    assert run_program("custom_tk", python=python)[0] == "end"


def test_marimo(tmp_path: Path) -> None:
    """`live` shows the whole answer, as HTML that loads nothing; two side by side."""
    python = python_with("marimo", get="pip install marimo nbformat", check="import marimo, IPython, nbformat")
    notebook = Path(__file__).parent / "programs" / "marimo_notebook.py"
    made = tmp_path / "made.ipynb"
    command = "-m", "marimo", "export", "ipynb", "--include-outputs", str(notebook), "-o", str(made)
    done = subprocess.run(
        [python, *command, "--sort", "top-down"],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        env=extra_environment(),
    )
    assert done.returncode == 0, done.stderr
    cells = json.loads(made.read_text())["cells"]
    one, two = (json.dumps(cell["outputs"]) for cell in cells[-2:])
    assert "<b>is</b> well" in one
    assert "<img" not in one
    assert "left" in two
    assert "right" in two
