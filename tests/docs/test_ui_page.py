"""The page on user interfaces: its programs run as they are printed, each in a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbclient
import nbformat
import pytest

from rxllm.testing import LLMServer, RecordedRequest, Reply

from ..ui.display import virtual_display

ROOT = Path(__file__).resolve().parents[2]
PATH = ROOT / "docs" / "ui.md"
PAGE = PATH.read_text()
LIMIT_SECONDS = 200
TOOLKITS = {"PySide6": "PySide6", "tkinter": "tkinter"}


def programs() -> Iterator[tuple[str, str]]:
    """Each with the heading that it stands under."""
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        title = section.partition("\n")[0]
        for program in re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL):
            yield title, program


PROGRAMS = [pytest.param(program, id=title) for title, program in programs() if title != "Notebooks"]
CELLS = [program for title, program in programs() if title == "Notebooks"]


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """A virtual screen."""
    with virtual_display() as name:
        yield name


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> Iterator[LLMServer]:
    """Plays OpenAI, and says what it was asked."""

    def echo(request: RecordedRequest) -> Reply:
        return Reply(f"Asked: {request.prompt}")

    with LLMServer(default=echo) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url())
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        yield server


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_works(program: str, vendor: LLMServer, display: str, tmp_path: Path) -> None:
    """It shows what it asks for, ends by itself, and complains of nothing."""
    for word, package in TOOLKITS.items():
        if f"import {word}" in program or f"from {word}" in program:
            pytest.importorskip(package, reason=f"{package} is not installed")
    path = tmp_path / "program.py"
    path.write_text(f"{program}\nprint(script())\n" if "def script" in program else program)
    done = subprocess.run(
        [sys.executable, str(path)],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        env=os.environ | {"QT_QPA_PLATFORM": "xcb"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    asked = [request.prompt for request in vendor.requests if request.prompt != "Quickly!"]
    assert asked
    assert [prompt for prompt in asked if f"Asked: {prompt}" not in done.stdout] == []


def test_a_named_stream_is_asked_for_once(vendor: LLMServer) -> None:
    """As its program says."""
    (program,) = (program for _, program in programs() if "shared_stream(" in program)
    exec(compile(program, str(PATH), "exec", dont_inherit=True), {})  # noqa: S102 - our own
    assert len(vendor.requests) == 1


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # of Jupyter's own
def test_a_cell_works(cell: str, vendor: LLMServer) -> None:
    """In a kernel."""
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    asyncio.run(nbclient.NotebookClient(notebook, timeout=LIMIT_SECONDS).async_execute())  # execute() leaks a loop
    shown, printed = notebook.cells[0].outputs
    assert shown.data["text/plain"] == f"Asked: {vendor.requests[0].prompt}"
    assert printed.text == "stop\n"


def test_every_toolkit_and_every_picture_is_there() -> None:
    """The table names each module; what is linked exists."""
    modules = {path.stem for path in (ROOT / "rxllm" / "ui").glob("[a-z]*.py")}
    assert [name for name in modules if name not in PAGE] == []
    assert [link for link in re.findall(r"\]\(([^#)]+)\)", PAGE) if not (PATH.parent / link).exists()] == []
    drawn = {path.name for path in (PATH.parent / "screenshots").glob("*_*.*")}
    assert [name for name in drawn if name not in PAGE] == []


def test_links_lead_to_sections() -> None:
    """Within the page."""
    sections = {title.lower().replace(" ", "-") for title in re.findall(r"^##+ (.+)$", PAGE, re.MULTILINE)}
    assert sections.issuperset(re.findall(r"\]\(#([\w-]+)\)", PAGE))
