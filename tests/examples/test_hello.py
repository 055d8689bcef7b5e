"""The examples that make a scheduler for a toolkit by `LoopScheduler`, in the toolkits themselves."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rxllm.testing import LLMServer, Reply

from ..extra_python import extra_environment, python_with

PROGRAM = Path(__file__).with_name("run_hello.py")
LIMIT_SECONDS = 200

TOOLKITS = {
    "gtk": ("gi", "apt-get install python3-gi gir1.2-gtk-4.0"),
    "wx": ("wx", "apt-get install python3-wxgtk4.0"),
    "pygame": ("pygame", "pip install pygame-ce"),
    "kivy": ("kivy", "pip install kivy"),
    "dearpygui": ("dearpygui", "pip install dearpygui"),
}


@pytest.mark.parametrize("toolkit", TOOLKITS)
def test_an_answer_is_shown_on_the_ui_thread(toolkit: str, display: str, server: LLMServer) -> None:
    """Whole; and closing the window ends the program."""
    package, get = TOOLKITS[toolkit]
    python = python_with(package, get=get)
    server.enqueue(Reply("one two three"))
    done = subprocess.run(
        [python, str(PROGRAM), toolkit, "Count"],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        env=extra_environment()
        | {
            "OPENAI_BASE_URL": server.base_url(),
            "OPENAI_API_KEY": "k",
            "KIVY_NO_CONSOLELOG": "1",
            "SDL_AUDIODRIVER": "dummy",
        },
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "one two three True"
    assert "Traceback" not in done.stderr
