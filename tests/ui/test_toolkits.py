"""The toolkits that have a process to themselves keep the promises that all of them make."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rxllm

from ..extra_python import ROOT, extra_environment, python_with
from .programs.run import run_program

HERE = Path(__file__).parent
LIMIT_SECONDS = 110

GTK = "import gi; gi.require_version('Gtk', '4.0'); import gi.repository.Gtk"


def pythons(toolkit: str) -> str:
    """The Python that has the toolkit."""
    match toolkit:
        case "pyqt6":
            return python_with("PyQt6", get="pip install PyQt6")
        case "gtk":
            return python_with("gi", get="apt-get install python3-gi gir1.2-gtk-4.0", check=GTK)
        case _:
            return python_with("wx", get="apt-get install python3-wxgtk4.0")


@pytest.mark.parametrize("toolkit", ["pyqt6", "gtk", "wx"])
def test_the_contract_holds(toolkit: str, display: str) -> None:
    """All of test_schedulers.py and of test_bindings.py; nothing is skipped."""
    files = "test_schedulers.py", "test_bindings.py"
    quiet = "-W", "ignore::ImportWarning"  # PyGObject's importer is of an older kind
    alone = "-o", "addopts=-q"  # a toolkit has one process; that Python may have no xdist
    done = subprocess.run(
        [pythons(toolkit), "-m", "pytest", *alone, *quiet, "-k", f"[{toolkit}", *(str(HERE / name) for name in files)],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        env=extra_environment() | {"RXLLM_TOOLKIT": toolkit},
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"^(\d+) passed(, \d+ deselected)? in", done.stdout, re.MULTILINE)
    assert passed, f"some were skipped: {done.stdout}"
    assert int(passed[1]) >= 25


@pytest.mark.parametrize("toolkit", ["gtk", "wx"])
def test_closing_the_window_ends_the_stream_in_silence(toolkit: str, display: str) -> None:
    """The connection is closed, the loop ends, and nothing of ours is printed."""
    said, complaints = run_program(f"close_{toolkit}", python=pythons(toolkit))
    assert said.splitlines()[-1] == "one True True"
    assert "Traceback" not in complaints
    assert "rxllm" not in complaints


@pytest.mark.parametrize(
    ("module", "package", "scheduler"),
    [("gtk", "gi", "GtkScheduler"), ("wx", "wx", "WxScheduler"), ("pygame", "pygame", "PygameScheduler")],
)
def test_a_toolkit_that_is_missing(module: str, package: str, scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how to get it."""
    monkeypatch.setitem(sys.modules, package, None)
    ui = importlib.import_module(f"rxllm.ui.{module}")
    with pytest.raises(rxllm.ConfigurationError, match=r"is missing; (pip|apt-get) install"):
        getattr(ui, scheduler)()
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        ui.Nothing  # noqa: B018 - that it is not there is the test
