"""A streaming answer with Kivy: the scheduler posts by `Clock.schedule_once`, which any thread may call.

    python examples/hello_kivy.py "Explain AI"

Needs Kivy, and OPENAI_API_KEY.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("KIVY_NO_ARGS", "1")  # the arguments are ours

from kivy.app import App
from kivy.clock import Clock
from kivy.uix.label import Label

import rxllm
from rxllm import operators as ops
from rxllm.ui import LoopScheduler, bind_each


class Hello(App):
    """A label that shows the answer."""

    def build(self) -> Label:
        """Ask the model, and return the label."""
        model = rxllm.create_streaming_model("openai:gpt-5.4-mini")
        # A function of its own for each call: Kivy merges calls of the same one, and keeps methods weakly.
        self.scheduler = LoopScheduler(lambda call: Clock.schedule_once(lambda _: call(), 0))
        label = Label(text_size=(600, None))
        text = model.stream(" ".join(sys.argv[1:]) or "Explain AI").pipe(ops.accumulate())

        def show(value: object) -> None:
            label.text = str(value)

        bind_each(self.scheduler, show, text, on_error=show, latest=True)
        return label

    def on_stop(self) -> None:
        """Close the connection."""
        self.scheduler.close()


if __name__ == "__main__":
    Hello().run()
