"""Tests, and what must hold before the first of them is imported."""

import os
import sys
from pathlib import Path

if sys.dont_write_bytecode:
    # Without bytecode, each process that tests start compiles all that it imports: half of the CPU time of a run. The
    # user wants none beside the sources, so it goes to the cache of pytest. Processes inherit this setting.
    sys.dont_write_bytecode = False
    sys.pycache_prefix = sys.pycache_prefix or str(Path(__file__).parent.parent / ".pytest_cache" / "bytecode")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
