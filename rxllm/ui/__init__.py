"""Streams on the UI thread: a module per toolkit (`qt tk gtk wx pygame textual asyncio jupyter`), loaded when used."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import asyncio, gtk, jupyter, pygame, qt, textual, tk, wx

__all__ = ["asyncio", "gtk", "jupyter", "pygame", "qt", "textual", "tk", "wx"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f".{name}", __name__)
