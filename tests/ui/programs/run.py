"""Running them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LIMIT_SECONDS = 60


def run_program(name: str, *args: str, **environment: str) -> tuple[str, str]:
    """What the program says on stdout and on stderr; it must end well."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name(f"{name}.py")), *args],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr.strip()
