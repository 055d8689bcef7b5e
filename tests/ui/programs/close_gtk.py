"""A window whose stream is under way is closed. Prints what came of it."""

from typing import Any

import gi

gi.require_version("Gtk", "4.0")

from gi.repository import GLib, Gtk  # noqa: E402 - after its version

import rxllm  # noqa: E402
from rxllm.testing import Gate, LLMServer, Reply  # noqa: E402
from rxllm.ui import gtk  # noqa: E402

shown: list[str] = []
answers: list[Any] = []

with LLMServer(Reply("one two three", gate=Gate(1))) as server:
    model = rxllm.create_streaming_model("openai", model="scripted", base_url=server.base_url())

    def activate(app: Any) -> None:
        window = Gtk.ApplicationWindow(application=app)
        box = Gtk.Box()
        view, button = Gtk.TextView(editable=False), gtk.StopButton()
        box.append(view)
        box.append(button)
        window.set_child(box)
        window.present()
        answers.append(gtk.bind_text(view, model.stream("Hi")))
        button.wire(answers[0])

        def close_when_shown() -> bool:
            buffer = view.get_buffer()
            shown.append(buffer.get_text(*buffer.get_bounds(), True))
            if shown[-1] and button.get_sensitive():
                window.close()
                return False
            return True

        GLib.timeout_add(5, close_when_shown)

    app = Gtk.Application(application_id="rxllm.tests", flags=1 << 5)  # NON_UNIQUE: there is no session bus
    app.connect("activate", activate)
    app.run(None)
    print(shown[-1], server.wait_for_request().closed.wait(10), answers[0].stopped)
