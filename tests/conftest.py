"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is no failure; how the time grows has tests of its own.
settings.register_profile("rxllm", deadline=None)
settings.load_profile("rxllm")
