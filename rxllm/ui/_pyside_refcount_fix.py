"""Keep None, True and False alive under PySide6 6.12 on Python 3.11.

PySide6 6.12 is built for Python 3.12, where None is immortal: on 3.11 each call of a Qt method that returns nothing
loses a reference to None (and `emit()` one to True), and after some thousand calls the interpreter aborts with
"deallocating None". Every program is hit, with or without streams. Raising the three counts once, far beyond what
can be lost, makes them as good as immortal. PySide6 up to 6.11, and Python from 3.12, need nothing.
"""

from __future__ import annotations

import ctypes
import functools
import sys

_PLENTY = 1 << 40


def loses_references(pyside: tuple[int, ...], python: tuple[int, ...]) -> bool:
    """Return whether this version of PySide6 loses references on this version of Python.

    >>> loses_references((6, 12, 0), (3, 11, 7)), loses_references((6, 12, 0), (3, 12, 1))
    (True, False)
    """
    return pyside[:2] >= (6, 12) and python[:2] < (3, 12)


@functools.cache
def keep_singletons_alive() -> None:
    """Raise the three reference counts, once."""
    if sys.implementation.name != "cpython" or hasattr(sys, "getobjects"):
        return  # an object begins with its reference count in CPython, save in builds that trace references
    for singleton in (None, True, False):
        ctypes.c_ssize_t.from_address(id(singleton)).value += _PLENTY
