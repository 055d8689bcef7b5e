"""Tests, and what must hold before the first of them is imported."""

import os
import sys
from pathlib import Path

if sys.dont_write_bytecode:
    # Without bytecode, each process that tests start compiles all that it imports: half of the CPU time of a run. Here
    # it is out of the way of those who want none beside their sources. The processes inherit this.
    sys.dont_write_bytecode = False
    sys.pycache_prefix = sys.pycache_prefix or str(Path(__file__).parent.parent / ".pytest_cache" / "bytecode")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
