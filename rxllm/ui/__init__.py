"""Streams on the UI thread: `LoopScheduler` for any toolkit, and a module per toolkit with bindings.

The modules `qt`, `tk`, `textual`, `asyncio` and `jupyter` are imported when they are first used.
"""

from typing import TYPE_CHECKING

from .._lazy_imports import lazy_names
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

__getattr__ = lazy_names(__name__, (), ("asyncio", "jupyter", "qt", "textual", "tk"))
