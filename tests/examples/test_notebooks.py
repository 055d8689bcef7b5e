"""The notebooks, executed from the first cell to the last, on the embedded model."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

from ..embedded_model import needs_embedded_model

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
CELL_SECONDS = 240

pytestmark = [
    needs_embedded_model,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),  # of Jupyter's own
    pytest.mark.timeout(600),
]


def executed(name: str) -> list[Any]:
    """The code cells, with their outputs."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    asyncio.run(nbclient.NotebookClient(notebook, timeout=CELL_SECONDS).async_execute())  # execute() leaks a loop
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def plain(cell: Any) -> str:
    """What the cell prints and shows, as text."""
    shown = (output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs)
    return "".join(shown)


def images(cells: list[Any]) -> int:
    """How many pictures there are."""
    return sum("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs)


def test_the_first_stream() -> None:
    """Shown in place, looped over, timed, awaited; and an error that says what is wrong."""
    cells = executed("01-first-stream")
    text = "\n".join(map(plain, cells))
    assert "rivers" in plain(cells[1])
    assert "output_tokens=" in plain(cells[2])
    assert "StreamEnd(" in text
    assert "tokens/s" in text
    assert "APIConnectionError" in text


def test_an_assistant() -> None:
    """Its memory (on a scripted model), a value that grows, and a tool with progress."""
    text = "\n".join(map(plain, executed("02-assistant")))
    assert "I have received 3 message(s)." in text
    assert "City(name=" in text
    assert "It is 21 degrees in Oslo." in text
    assert "Usage(input_tokens=" in text


def test_operators() -> None:
    """Marbles on virtual time, and plots of a real stream."""
    assert images(executed("03-operators")) == 7


def test_pipelines() -> None:
    """Each letter becomes a row; the bar ends full."""
    text = "\n".join(map(plain, executed("04-pipelines")))
    assert "Tom Baker  London  kettle" in text
    assert all(city in text for city in ("Lisbon", "Berlin", "Oslo", "Rome", "Madrid"))
    assert "Usage(" in text


@pytest.mark.parametrize("name", ["01-first-stream", "02-assistant", "03-operators", "04-pipelines"])
def test_outputs_are_kept(name: str) -> None:
    """GitHub shows what the cells print and draw; nothing failed, and no path of a machine is in it."""
    path = NOTEBOOKS / f"{name}.ipynb"
    outputs = [output for cell in nbformat.read(path, as_version=4).cells for output in cell.get("outputs", [])]
    assert len(outputs) > 5
    assert [output for output in outputs if output.output_type == "error"] == []
    assert not re.search(r"/(?:home|root|tmp|Users)/", path.read_text(encoding="utf-8"))
