"""Streams in a Tk program: the scheduler and the bindings.

Tk may be touched on its own thread only, and the calls that tkinter carries over from other threads block those and
fail outside mainloop(). So a wake-up from another thread never touches Tk: it writes one byte to a socket that Tk's
own loop watches (Linux, macOS). Where Tk cannot watch a socket (Windows), the loop looks into the inbox by itself:
at once while there is something to do, and 20 times a second while there is not.
"""

from __future__ import annotations

import math
import socket
import sys
import tkinter
from collections.abc import Callable

from ._pump import PumpScheduler

_POLL_SECONDS = 0.05


class TkScheduler(PumpScheduler):
    """Runs actions on the thread of `root`'s mainloop; make it on that thread, use it from any.

    `root` may be any widget of the program. When the program's root window is destroyed, the streams bound to widgets
    are disposed, and scheduling does nothing. What an action raises goes to `report_callback_exception`.
    `poll` has the loop look for work by itself instead of being woken; it is the only way on Windows.
    """

    def __init__(self, root: tkinter.Misc, *, poll: bool = sys.platform == "win32") -> None:
        super().__init__()
        self._root: tkinter.Tk = root.nametowidget(".")
        self._command = self._root.register(self._drain)
        self._timer: str | None = None
        self._longest = _POLL_SECONDS if poll else math.inf
        self._bell: _Bell | None = None
        if poll:
            self._arm(None)
        else:
            self._bell = _Bell(self._root, self._drain)
        self._root.bind("<Destroy>", self._destroyed, add="+")

    def _wake(self) -> None:
        if self._bell is not None:
            self._bell.ring()

    def _arm(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._root.tk.call("after", "cancel", self._timer)
            self._timer = None
        seconds = min(math.inf if seconds is None else seconds, self._longest)
        if seconds < math.inf:
            self._timer = self._root.tk.call("after", min(math.ceil(seconds * 1000), 0x7FFFFFFF), self._command)

    def _report(self, error: Exception) -> None:
        self._root.report_callback_exception(type(error), error, error.__traceback__)

    def _destroyed(self, event: tkinter.Event[tkinter.Misc]) -> None:
        if event.widget is not self._root:  # a window hears of its children's end, too
            return
        self._longest = math.inf
        self._arm(None)
        self._close()
        with self._lock:  # no producer is about to ring
            if self._bell is not None:
                self._bell.remove()
                self._bell = None


class _Bell:
    """A socket pair: one end watched by Tk, the other written to by whoever rings."""

    def __init__(self, root: tkinter.Tk, answer: Callable[[], None]) -> None:
        self._tk = root.tk
        self._answer = answer
        self._inside, self._outside = socket.socketpair()
        self._inside.setblocking(False)
        self._outside.setblocking(False)
        self._tk.createfilehandler(self._inside, tkinter.READABLE, self._rung)

    def ring(self) -> None:
        self._outside.send(b"!")

    def remove(self) -> None:
        self._tk.deletefilehandler(self._inside)
        self._inside.close()
        self._outside.close()

    def _rung(self, *_: object) -> None:
        self._inside.recv(64)
        self._answer()
