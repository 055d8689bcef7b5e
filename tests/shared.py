"""Where the recordings and rigs shared by rxllm's developers are, if they are here.

They are not part of the project: tests over them skip, saying so, where they are absent.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("RXLLM_SHARED", Path(__file__).resolve().parents[2] / "shared"))

needs_shared = pytest.mark.skipif(
    not (SHARED / "wire").is_dir(), reason="the shared recordings are not on this machine (set RXLLM_SHARED)"
)
