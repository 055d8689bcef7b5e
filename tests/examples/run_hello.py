"""Runs an example of a toolkit until its answer is complete: python run_hello.py NAME. Prints what was shown.

It is run by test_hello.py, with the toolkit's Python.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from rxllm.ui import Binding

NAME = sys.argv.pop(1)
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "examples"))
example: Any = importlib.import_module(f"hello_{NAME}")
bind_each: Callable[..., Binding] = example.bind_each
seen: list[tuple[str, bool]] = []


def close() -> None:
    """Close the program as its user does."""
    match NAME:
        case "gtk":
            example.Gtk.Application.get_default().get_active_window().close()
        case "wx":
            example.wx.GetApp().GetTopWindow().Close()
        case "pygame":
            example.pygame.event.post(example.pygame.event.Event(example.pygame.QUIT))
        case "kivy":
            example.App.get_running_app().stop()
        case "dearpygui":
            example.dpg.stop_dearpygui()
        case _:
            raise ValueError(NAME)


def watched(scheduler: Any, show: Callable[[Any], object], stream: Any, **options: Any) -> Binding:
    """Bind, and close when all has been shown."""

    def note(item: Any) -> None:
        show(item)
        seen.append((item, threading.current_thread() is threading.main_thread()))

    answer = bind_each(scheduler, note, stream, **options)
    answer.running.subscribe(on_completed=lambda: scheduler.schedule_relative(0.1, lambda *_: close()))
    return answer


example.bind_each = watched
if NAME == "kivy":
    example.Hello().run()
else:
    example.main()
print(f"{''.join(text for text, _ in seen) if NAME == 'wx' else seen[-1][0]} {all(main for _, main in seen)}")
