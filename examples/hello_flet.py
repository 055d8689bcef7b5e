"""A streaming answer with Flet: the scheduler posts by `page.run_task`, which any thread may call.

    python examples/hello_flet.py "Explain AI"

Needs flet, and OPENAI_API_KEY.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import flet as ft

import rxllm
from rxllm import operators as ops
from rxllm.ui import LoopScheduler, bind_each


async def as_task(call: Callable[..., None]) -> None:
    """Call in the page's loop."""
    call()


def main(page: ft.Page) -> None:
    """Show the answer on the page."""
    model = rxllm.create_streaming_model("openai:gpt-5.4-mini")
    scheduler = LoopScheduler(lambda call: page.run_task(as_task, call))
    view = ft.Text("", selectable=True)
    page.add(view)

    def show(value: object) -> None:
        view.value = str(value)
        page.update()

    text = model.stream(" ".join(sys.argv[1:]) or "Explain AI").pipe(ops.accumulate())
    bind_each(scheduler, show, text, on_error=show, latest=True)
    page.on_close = lambda _: scheduler.close()


if __name__ == "__main__":
    ft.app(main)
