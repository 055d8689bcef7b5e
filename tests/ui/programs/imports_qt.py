"""Prints which toolkits are imported by rxllm and by its module for Qt."""

import sys

import rxllm.ui.qt

TOOLKITS = "PySide6", "PyQt6", "tkinter", "textual", "IPython"
print([name for name in TOOLKITS if name in sys.modules and rxllm])
