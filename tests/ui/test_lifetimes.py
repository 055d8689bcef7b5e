"""Widgets, windows and programs end while streams are bound to them: no crash, no output, nothing is kept."""

from __future__ import annotations

import pytest

from ..extra_python import python_with
from .programs.run import run_program

QT = [
    "dispose, then drop the view",
    "drop the view",
    "stop, then take the view out of its window",
    "empty a layout",
    "dispose, close, delete later",
    "a dialog",
    "a cycle, collected on another thread",
    "the application",
    "a scheduler made on another thread",
    "200 starts and stops",
    "a nested loop",
    "QThreads",
    "chat views",
]
TK = [
    "200 starts and stops",
    "destroyed",
    "a dialog",
    "a nested loop",
    "chat views",
    "a cycle, collected on another thread",
]
TEXTUAL = ["200 starts and stops", "removed", "a dialog", "chat views"]


@pytest.mark.parametrize("case", QT)
@pytest.mark.parametrize("name", ["PySide6", "PyQt6"])
def test_qt(name: str, case: str, display: str) -> None:
    """With either binding."""
    python = python_with(name, get=f"pip install {name}")
    assert run_program("lifetimes_qt", name, case, python=python, QT_QPA_PLATFORM="xcb") == ("end", "")


@pytest.mark.parametrize("case", TK)
def test_tk(case: str, display: str) -> None:
    """And the program ends while a stream runs."""
    assert run_program("lifetimes_tk", case) == ("end", "")


@pytest.mark.parametrize("case", TEXTUAL)
def test_textual(case: str) -> None:
    """And the program ends while a stream runs."""
    assert run_program("lifetimes_textual", case) == ("end", "")
