"""wxPython."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import pytest

from .hosts import LIMIT_SECONDS, Stop, TextWidget, WidgetHost


class WxHost(WidgetHost):
    """wxPython."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.ui = importlib.import_module("rxllm.ui.wx")
        self.wx = importlib.import_module("wx")
        self.app = _app(self.wx)
        self.scheduler = self.ui.WxScheduler()
        self._timers: list[Any] = []
        self._windows: list[WxText] = []
        monkeypatch.setattr("sys.excepthook", lambda kind, error, trace: self.errors.append(error))

    def _run(self, body: Callable[[Stop], object]) -> None:
        keeps_loop = self.wx.Frame(None)  # wx leaves its loop when there is no window
        self.wx.CallAfter(body, self.app.ExitMainLoop)
        limit = self.wx.CallLater(int(LIMIT_SECONDS * 1000), self._give_up)
        self.app.MainLoop()
        limit.Stop()
        keeps_loop.Destroy()

    def _give_up(self) -> None:
        self.timed_out = True
        self.app.ExitMainLoop()

    def every(self, seconds: float, call: Callable[[], None]) -> None:
        timer = self.wx.Timer(owner := self.wx.EvtHandler())
        owner.Bind(self.wx.EVT_TIMER, lambda event: call())
        timer.Start(int(seconds * 1000))
        self._timers += [timer, owner]

    def nested(self, until: Callable[[Stop], object]) -> None:
        loop = self.wx.GUIEventLoop()
        until(lambda: loop.Exit())
        loop.Run()

    def text(self) -> WxText:
        self._windows.append(window := WxText(self.wx))
        return window

    def label(self, text: TextWidget) -> tuple[Any, Callable[[], str]]:
        label = self.wx.StaticText(text.window)
        return label, label.GetLabelText

    def button(self, text: TextWidget) -> Any:
        return self.ui.StopButton(text.window)

    def click(self, button: Any) -> None:
        if button.IsEnabled():
            button.Command(self.wx.CommandEvent(self.wx.EVT_BUTTON.typeId, button.GetId()))

    def enabled(self, button: Any) -> bool:
        return bool(button.IsEnabled())

    def close(self) -> None:
        for timer in self._timers[::2]:
            timer.Stop()
        for window in self._windows:
            window.destroy()


@functools.cache
def _app(wx: Any) -> Any:
    return wx.App(False)


class WxText:
    """A TextCtrl of many lines, read-only."""

    def __init__(self, wx: Any) -> None:
        self._wx = wx
        self.window = wx.Frame(None)
        self.widget = wx.TextCtrl(self.window, style=wx.TE_MULTILINE | wx.TE_READONLY | wx.TE_RICH2)
        self.window.Show()

    def content(self) -> str:
        return str(self.widget.GetValue())

    def at_end(self) -> bool:
        self._lay_out()
        down = self._wx.VERTICAL
        end = self.widget.GetScrollPos(down) + self.widget.GetScrollThumb(down)
        return bool(end >= self.widget.GetScrollRange(down) - 4)

    def scroll_to_start(self) -> None:
        self.widget.ScrollPages(-1000)
        self._lay_out()

    def _lay_out(self) -> None:
        """Have wx show what it has put off until the loop is idle."""
        for _ in range(50):
            self._wx.YieldIfNeeded()

    def destroy(self) -> None:
        if self.window:
            self.window.Destroy()
