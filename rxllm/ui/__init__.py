"""Streams on the UI thread: `LoopScheduler` for any toolkit, and a module per toolkit with bindings.

The modules `qt`, `tk`, `textual`, `asyncio` and `jupyter` are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from ._binding import Binding, bind_each, bind_enabled
from ._loop_scheduler import LoopScheduler

if TYPE_CHECKING:
    from . import asyncio, jupyter, qt, textual, tk

__all__ = [
    "Binding",
    "LoopScheduler",
    "asyncio",
    "bind_each",
    "bind_enabled",
    "jupyter",
    "qt",
    "textual",
    "tk",
]

_MODULES = ("asyncio", "jupyter", "qt", "textual", "tk")


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f".{name}", __name__)
