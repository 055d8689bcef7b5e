"""The user interfaces that the contract tests run on: those of this process.

PyQt6 shares no process with PySide6 and has one to itself, where RXLLM_TOOLKIT names it: see test_toolkits.py.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

import pytest

from .hosts import LOOPS, AsyncioHost, Host, QueueHost

TOOLKIT = os.environ.get("RXLLM_TOOLKIT")

KINDS = [TOOLKIT] if TOOLKIT else ["qt", "tk", "tk-poll", "queue", *LOOPS]
WITH_DIALOGS = [kind for kind in KINDS if kind not in LOOPS]
WITH_WIDGETS = [kind for kind in WITH_DIALOGS if kind != "queue"]
ENDING = [kind for kind in KINDS if kind in {"tk", "tk-poll", "queue", *LOOPS}]
"""Those whose UI can end in a process that goes on."""


def make_host(kind: str, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A UI of this kind."""
    kinds: dict[str, Callable[[], Host]] = {
        "qt": lambda: _toolkit("qt").QtHost(monkeypatch),
        "pyqt6": lambda: _toolkit("qt").QtHost(monkeypatch, "PyQt6"),
        "tk": lambda: _toolkit("tk").TkHost(),
        "tk-poll": lambda: _toolkit("tk").TkHost(poll=True),
        "queue": lambda: QueueHost(monkeypatch),
    }
    loop = LOOPS.get(kind)
    return AsyncioHost(loop) if loop else kinds[kind]()


def _toolkit(name: str) -> Any:
    """The module of its hosts, which imports the toolkit."""
    return importlib.import_module(f".host_{name}", __package__)
