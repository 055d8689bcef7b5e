"""A streaming answer with DearPyGui: your render loop calls what the scheduler has posted.

    python examples/hello_dearpygui.py "Explain AI"

Needs dearpygui, and OPENAI_API_KEY. (DearPyGui's own frame callbacks are lost now and then, so this does without.)
"""

from __future__ import annotations

import queue
import sys
from collections.abc import Callable

import dearpygui.dearpygui as dpg

import rxllm
from rxllm import operators as ops
from rxllm.ui import LoopScheduler, bind_each


def main() -> None:
    """Show the answer in a window."""
    model = rxllm.create_streaming_model("openai:gpt-5.4-mini")
    calls: queue.SimpleQueue[Callable[..., None]] = queue.SimpleQueue()
    scheduler = LoopScheduler(calls.put)
    dpg.create_context()
    dpg.create_viewport(title="rxllm", width=640, height=480)
    with dpg.window(tag="window"):
        dpg.add_text("", tag="answer", wrap=600)
    dpg.set_primary_window("window", True)

    def show(value: object) -> None:
        dpg.set_value("answer", str(value))

    text = model.stream(" ".join(sys.argv[1:]) or "Explain AI").pipe(ops.accumulate())
    bind_each(scheduler, show, text, on_error=show, latest=True)
    dpg.setup_dearpygui()
    dpg.show_viewport()
    while dpg.is_dearpygui_running():
        while not calls.empty():
            calls.get()()
        dpg.render_dearpygui_frame()
    scheduler.close()
    dpg.destroy_context()


if __name__ == "__main__":
    main()
