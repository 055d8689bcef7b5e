"""A program that leaves Ray to the batch: it is started, shared by its runs, and left in peace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rxllm.batch import AnswerRow, read_rows
from rxllm.testing import Hang, LLMServer

from ..operators.threads import LIMIT
from .conftest import RAY_SETTINGS

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).parent / "programs" / "own_ray.py"


@pytest.mark.timeout(600)
def test_ray_is_started_for_all_runs_and_may_go_under_them(llm_server: LLMServer, tmp_path: Path) -> None:
    """A second run finds it alive; when it is shut down a run ends with an error; a program may end in the middle.

    Ray gives a program that calls it after that a minute, and then ends it by force.
    """
    llm_server.default = lambda request: Hang() if request.prompt == "hang" else request.prompt
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    program = subprocess.run(
        [sys.executable, str(PROGRAM), llm_server.base_url(), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path, **RAY_SETTINGS},
        capture_output=True,
        text=True,
        timeout=9 * LIMIT,
    )
    assert [
        "2 answers",
        "2 answers",
        "WorkerLostError Ray was shut down while the batch ran",
        "leaving",
    ] == program.stdout.splitlines()
    assert 0 == program.returncode
    for name in ("shut-down", "left"):
        assert ["a"] == [row.text for row in read_rows(tmp_path / name) if isinstance(row, AnswerRow)]
