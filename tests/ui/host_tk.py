"""Tk."""

from __future__ import annotations

import gc
import tkinter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rxllm.ui import tk

from .hosts import LIMIT_SECONDS, Stop, TextWidget, WidgetHost


class TkHost(WidgetHost):
    """tkinter."""

    def __init__(self, *, poll: bool = False) -> None:
        super().__init__()
        self.ui = tk
        self.root = tkinter.Tk()
        self.root.report_callback_exception = lambda kind, error, trace: self.errors.append(error)
        self.scheduler = tk.TkScheduler(self.root, poll=poll)

    def _run(self, body: Callable[[Stop], object]) -> None:
        self.root.after(0, lambda: body(self.root.quit))
        limit = self.root.after(int(LIMIT_SECONDS * 1000), self._give_up)
        self.root.mainloop()
        self.root.after_cancel(limit)

    def _give_up(self) -> None:
        self.timed_out = True
        self.root.quit()

    def every(self, seconds: float, call: Callable[[], None]) -> None:
        def tick() -> None:
            call()
            self.root.after(int(seconds * 1000), tick)

        self.root.after(int(seconds * 1000), tick)

    def nested(self, until: Callable[[Stop], object]) -> None:
        over = tkinter.BooleanVar(self.root)
        limit = self.root.after(int(LIMIT_SECONDS * 1000), lambda: over.set(True))  # quit() does not end this loop
        until(lambda: over.set(True))
        self.root.wait_variable(over)
        self.root.after_cancel(limit)

    def text(self) -> TkText:
        return TkText(self.root)

    def label(self, text: TextWidget) -> tuple[Any, Callable[[], str]]:
        label = tkinter.Label(text.window)
        return label, lambda: str(label["text"])

    def button(self, text: TextWidget) -> Any:
        button = tk.StopButton(text.widget.winfo_toplevel())
        button.pack()
        return button

    def click(self, button: Any) -> None:
        button.invoke()

    def enabled(self, button: Any) -> bool:
        return bool(str(button["state"]) == "normal")

    def close(self) -> None:
        with suppress(tkinter.TclError):  # the test may have done so
            self.root.destroy()
        del self.root, self.scheduler
        self.errors.clear()  # their tracebacks hold both
        gc.collect()  # here: Tcl aborts the process when its interpreter is collected on another thread


class TkText:
    """A Text, disabled as read-only ones are."""

    def __init__(self, root: tkinter.Tk) -> None:
        self.window = tkinter.Toplevel(root)
        self.widget = tkinter.Text(self.window, state="disabled")
        self.widget.pack()
        self.window.update()

    def content(self) -> str:
        return self.widget.get("1.0", "end-1c")

    def at_end(self) -> bool:
        self.widget.update_idletasks()
        return self.widget.dlineinfo("end-1c") is not None

    def scroll_to_start(self) -> None:
        self.widget.yview_moveto(0)

    def destroy(self) -> None:
        self.window.destroy()
