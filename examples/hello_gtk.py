"""A streaming answer with GTK 4: the scheduler is `LoopScheduler(GLib.idle_add)`.

    python examples/hello_gtk.py "Explain AI"

Needs PyGObject and GTK 4 (Debian: python3-gi gir1.2-gtk-4.0), and OPENAI_API_KEY.
"""

from __future__ import annotations

import sys

import gi

import rxllm
from rxllm import operators as ops
from rxllm.ui import Binding, LoopScheduler, bind_each, bind_enabled

gi.require_version("Gtk", "4.0")
from gi.repository import GLib, Gtk  # noqa: E402 - after its version has been required


def post(call: object) -> None:
    """Call on GTK's thread; above redrawing, which would starve it."""
    GLib.idle_add(call, priority=GLib.PRIORITY_DEFAULT)


def main() -> None:
    """Show the answer in a window."""
    model = rxllm.create_streaming_model("openai:gpt-5.4-mini")
    scheduler = LoopScheduler(post)
    answers: list[Binding] = []

    def activate(app: Gtk.Application) -> None:
        window = Gtk.ApplicationWindow(application=app, title="rxllm", default_width=480, default_height=320)
        label = Gtk.Label(wrap=True, vexpand=True)
        stop = Gtk.Button(label="Stop", sensitive=False)
        box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL)
        box.append(label)
        box.append(stop)
        window.set_child(box)
        window.connect("close-request", lambda _: scheduler.close())
        text = model.stream(" ".join(sys.argv[1:]) or "Explain AI").pipe(ops.accumulate())
        answer = bind_each(scheduler, label.set_text, text, on_error=lambda e: label.set_text(str(e)), latest=True)
        bind_enabled(scheduler, stop.set_sensitive, answer.running)
        stop.connect("clicked", lambda _: answer.dispose())
        answers.append(answer)
        window.present()

    app = Gtk.Application(application_id="org.rxllm.hello")
    app.connect("activate", activate)
    app.run()


if __name__ == "__main__":
    main()
