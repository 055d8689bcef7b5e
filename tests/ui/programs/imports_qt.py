"""Prints which toolkits are imported by rxllm and by its modules that find theirs late."""

import sys

import rxllm

MODULES = (rxllm.ui.qt,)
TOOLKITS = "PySide6", "PyQt6", "gi", "wx", "pygame", "tkinter", "textual", "IPython"
print([name for name in TOOLKITS if name in sys.modules], len(MODULES))
