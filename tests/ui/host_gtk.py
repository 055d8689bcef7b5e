"""GTK 4."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Callable
from typing import Any

import pytest

from .hosts import LIMIT_SECONDS, Stop, TextWidget, WidgetHost


class GtkHost(WidgetHost):
    """GTK 4."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.ui = importlib.import_module("rxllm.ui.gtk")
        self.scheduler = self.ui.GtkScheduler()
        self.glib = importlib.import_module("gi.repository.GLib")
        self.gtk = importlib.import_module("gi.repository.Gtk")
        assert self.gtk.init_check(), "GTK has found no display"
        self.gtk.Settings.get_default().set_property("gtk-enable-animations", False)
        self.loop = self.glib.MainLoop()
        self._timers: list[int] = []
        self._windows: list[GtkText] = []
        monkeypatch.setattr("sys.excepthook", lambda kind, error, trace: self.errors.append(error))

    def _run(self, body: Callable[[Stop], object]) -> None:
        self.glib.idle_add(_once(lambda: body(self.loop.quit)))
        limit = self.glib.timeout_add(int(LIMIT_SECONDS * 1000), self._give_up)
        self.loop.run()
        if not self.timed_out:
            self.glib.source_remove(limit)

    def _give_up(self) -> bool:
        self.timed_out = True
        self.loop.quit()
        return False

    def every(self, seconds: float, call: Callable[[], None]) -> None:
        def tick() -> bool:
            call()
            return True

        self._timers.append(self.glib.timeout_add(int(seconds * 1000), tick))

    def nested(self, until: Callable[[Stop], object]) -> None:
        loop = self.glib.MainLoop()
        until(loop.quit)
        loop.run()

    def text(self) -> GtkText:
        self._windows.append(window := GtkText(self.gtk, self.glib))
        return window

    def label(self, text: TextWidget) -> tuple[Any, Callable[[], str]]:
        label = self.gtk.Label()
        text.window.get_child().append(label)
        return label, label.get_text

    def button(self, text: TextWidget) -> Any:
        button = self.ui.StopButton()
        text.window.get_child().append(button)
        return button

    def click(self, button: Any) -> None:
        if button.get_sensitive():
            button.emit("clicked")

    def enabled(self, button: Any) -> bool:
        return bool(button.get_sensitive())

    def close(self) -> None:
        for timer in self._timers:
            self.glib.source_remove(timer)
        for window in self._windows:
            window.destroy()
        self._windows.clear()
        gc.collect()  # here: widgets that are collected on another thread crash the process


class GtkText:
    """A TextView in a ScrolledWindow, not editable."""

    def __init__(self, gtk: Any, glib: Any) -> None:
        self._context = glib.MainContext.default()
        self.window = gtk.Window(default_width=400, default_height=300)
        self.widget = gtk.TextView(editable=False, wrap_mode=gtk.WrapMode.WORD_CHAR)
        scrolled = gtk.ScrolledWindow(child=self.widget, vexpand=True)
        box = gtk.Box(orientation=gtk.Orientation.VERTICAL)
        box.append(scrolled)
        self.window.set_child(box)
        self.window.present()

    def content(self) -> str:
        buffer = self.widget.get_buffer()
        return str(buffer.get_text(*buffer.get_bounds(), True))

    def at_end(self) -> bool:
        """Once GTK has laid out what it has, in some frames' time."""
        frames: list[int] = []

        def tick(*_: object) -> bool:
            frames.append(1)
            return len(frames) < 4

        self.widget.add_tick_callback(tick)
        while len(frames) < 4:
            self.widget.queue_draw()
            self._context.iteration(True)
        bar = self.widget.get_vadjustment()
        return bool(bar.get_value() + bar.get_page_size() >= bar.get_upper() - 4)

    def scroll_to_start(self) -> None:
        self.widget.get_vadjustment().set_value(0)

    def destroy(self) -> None:
        self.window.destroy()


def _once(call: Callable[[], object]) -> Callable[[], bool]:
    def once() -> bool:
        call()
        return False

    return once
