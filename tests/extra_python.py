"""Toolkits and web frameworks that are not in the extra `test`: the Python that has them.

That is this one, if they are installed beside rxllm, or the one that RXLLM_EXTRA_PYTHON names: of an environment of
its own, with rxllm's dependencies, pytest and pytest-timeout in it. `.ci/run` makes one.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def python_with(package: str, *, get: str, check: str = "") -> str:
    """The Python that has the package; skips, saying how to `get` it, where there is none."""
    others = os.environ.get("RXLLM_EXTRA_PYTHON")
    for python in (sys.executable, *([others] if others else [])):
        if _has(python, check or f"import importlib.util as u, sys; sys.exit(u.find_spec('{package}') is None)"):
            return python
    pytest.skip(f"{package} is not installed: {get}; here, or for another Python named by RXLLM_EXTRA_PYTHON")


def extra_environment() -> dict[str, str]:
    """For programs that run in it: what they inherit, with the rxllm that is tested here, and nothing of pytest's."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return inherited | {"PYTHONPATH": str(ROOT)}


@functools.cache
def _has(python: str, check: str) -> bool:
    return subprocess.run([python, "-c", check], capture_output=True).returncode == 0
