"""Running them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ...extra_python import extra_environment

LIMIT_SECONDS = 250


def run_program(name: str, *args: str, python: str = sys.executable, **environment: str) -> tuple[str, str]:
    """What the program says on stdout and on stderr; it must end well."""
    done = subprocess.run(
        [python, str(Path(__file__).with_name(f"{name}.py")), *args],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        env=extra_environment() | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr.strip()
