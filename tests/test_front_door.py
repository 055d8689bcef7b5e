"""The house rules that a reader relies on: names, docstrings, sizes."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import rxllm

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "rxllm").rglob("*.py"))


def test_all_is_sorted_and_true() -> None:
    """`__all__` lists what the front door offers, in order, and nothing that is not there."""
    assert rxllm.__all__ == sorted(rxllm.__all__)
    assert all(hasattr(rxllm, name) for name in rxllm.__all__)


@pytest.mark.parametrize("name", [name for name in rxllm.__all__ if not name.startswith("_")])
def test_every_public_name_says_what_it_is(name: str) -> None:
    """Public functions, classes and their public methods have docstrings."""
    value = getattr(rxllm, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__doc__
    if inspect.isclass(value):
        for member_name, member in vars(value).items():
            if inspect.isfunction(member) and not member_name.startswith("_"):
                assert inspect.getdoc(getattr(value, member_name)), member_name


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_can_be_read_in_one_sitting(path: Path) -> None:
    """At most 400 lines a file and 60 a function; a docstring that says the idea."""
    text = path.read_text()
    tree = ast.parse(text)
    assert text.count("\n") <= 400
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not _is_signature_of_options(node):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name


def _is_signature_of_options(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """create_streaming_model is its list of options and their explanation."""
    return node.name == "create_streaming_model"


def test_importing_loads_no_toolkit() -> None:
    """`import rxllm` loads nothing that only some users need."""
    script = "import sys, rxllm; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    toolkits = {"tkinter", "PySide6", "PyQt6", "textual", "rich", "starlette", "uvicorn", "redis", "ray", "xllamacpp"}
    toolkits |= {"pydantic", "numpy", "pandas", "IPython", "opentelemetry", "pytest"}
    assert toolkits.isdisjoint(loaded)
