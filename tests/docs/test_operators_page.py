"""The page of operators: complete, its snippets run, its diagrams are what the operators do now."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rxllm import operators as ops

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "operators.md").read_text()
SECTIONS = re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
OPERATORS = sorted(name for name, value in vars(ops).items() if inspect.isfunction(value))


@pytest.fixture(scope="module")
def marbles() -> Iterator[ModuleType]:
    """The script that draws."""
    sys.path.insert(0, str(DOCS))
    try:
        yield importlib.import_module("draw_marbles")
    finally:
        sys.path.remove(str(DOCS))


@pytest.mark.parametrize("name", [name for name in OPERATORS if name != "error_class"])
def test_every_operator_has_its_section(name: str) -> None:
    """With a diagram, its likes in reactivex, and when not to use it."""
    text = dict(SECTIONS)[name]
    assert f"(marbles/{name}.svg)" in text
    assert re.search(r"\*In\s+reactivex:\*", text)
    assert re.search(r"\*Not\s+when\*", text)


def test_links_lead_somewhere() -> None:
    """To a section of the page, or to a diagram that is there."""
    names = {name for name, _ in SECTIONS}
    assert names.issuperset(re.findall(r"\]\(#(\w+)\)", PAGE))
    assert all((DOCS / target).is_file() for target in re.findall(r"!\[[^]]*\]\(([^)]+)\)", PAGE))


def test_the_diagrams_are_what_the_operators_do(marbles: Any) -> None:
    """Each is drawn again from a run, and nothing has changed."""
    drawn = {name: marbles.draw(run) for name, run in marbles.RUNS.items()}
    kept = {path.stem: path.read_text() for path in (DOCS / "marbles").glob("*.svg")}
    assert sorted(drawn) == sorted(kept), "run python docs/draw_marbles.py"
    assert [] == [name for name in drawn if drawn[name] != kept[name]], "run python docs/draw_marbles.py"


def test_the_snippets_give_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From top to bottom, as one session."""
    monkeypatch.chdir(tmp_path)
    snippets = "\n".join(re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    test = doctest.DocTestParser().get_doctest(snippets, {}, "operators.md", str(DOCS / "operators.md"), 0)
    assert len(test.examples) > 30
    report: list[str] = []
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(test, out=report.append)
    assert runner.failures == 0, "".join(report)
