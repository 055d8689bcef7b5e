"""What a forked process must not take for its own: its parent's threads, and the sockets they read."""

from __future__ import annotations

import os
from collections.abc import Callable


def after_fork(forget: Callable[[], None]) -> None:
    """Call `forget` first thing in each process that is forked from this one."""
    if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
        os.register_at_fork(after_in_child=forget)
