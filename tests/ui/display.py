"""A virtual screen, so that windows can be shown, clicked and typed into where there is none."""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def virtual_display(size: str = "1280x1000x24") -> Iterator[str]:
    """Run Xvfb for the length of the block; gives its DISPLAY, set in the environment meanwhile."""
    if sys.platform in {"win32", "darwin"}:  # there is a screen, and it has no name
        yield ""
        return
    xvfb = shutil.which("Xvfb")
    if xvfb is None:
        pytest.skip("Xvfb is not installed")
    if ctypes.util.find_library("xcb-cursor") is None:
        pytest.skip("Qt's libraries are not here")  # its plugin for X would end the process
    reader, writer = os.pipe()
    with subprocess.Popen(
        [xvfb, "-displayfd", str(writer), "-screen", "0", size, "-nolisten", "tcp"],
        pass_fds=(writer,),
        stderr=subprocess.DEVNULL,
    ) as server:
        os.close(writer)
        try:
            with os.fdopen(reader) as numbers, pytest.MonkeyPatch.context() as patch:
                display = f":{numbers.readline().strip()}"
                patch.setenv("DISPLAY", display)
                yield display
        finally:
            server.terminate()
