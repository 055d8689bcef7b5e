"""State that a forked process must not inherit: its parent's threads, and the sockets that they read."""

from __future__ import annotations

import os
from collections.abc import Callable


def after_fork(reset: Callable[[], None]) -> None:
    """Call `reset` first in each process that is forked from this one."""
    if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
        os.register_at_fork(after_in_child=reset)
