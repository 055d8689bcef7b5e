"""A streaming answer with wxPython: the scheduler is `LoopScheduler(wx.CallAfter)`.

    python examples/hello_wx.py "Explain AI"

Needs wxPython (Debian: python3-wxgtk4.0), and OPENAI_API_KEY.
"""

from __future__ import annotations

import sys

import wx

import rxllm
from rxllm import operators as ops
from rxllm.ui import LoopScheduler, bind_each, bind_enabled


def main() -> None:
    """Show the answer in a window."""
    model = rxllm.create_streaming_model("openai:gpt-5.4-mini")
    app = wx.App()
    scheduler = LoopScheduler(wx.CallAfter)
    window = wx.Frame(None, title="rxllm", size=(480, 320))
    view = wx.TextCtrl(window, style=wx.TE_MULTILINE | wx.TE_READONLY)
    stop = wx.Button(window, label="Stop")
    box = wx.BoxSizer(wx.VERTICAL)
    box.Add(view, 1, wx.EXPAND)
    box.Add(stop)
    window.SetSizer(box)

    def close(event: wx.CloseEvent) -> None:
        scheduler.close()
        event.Skip()

    window.Bind(wx.EVT_CLOSE, close)
    deltas = model.stream(" ".join(sys.argv[1:]) or "Explain AI").pipe(ops.text())
    answer = bind_each(scheduler, view.AppendText, deltas, on_error=lambda error: view.AppendText(f"\n{error}"))
    bind_enabled(scheduler, stop.Enable, answer.running)
    stop.Bind(wx.EVT_BUTTON, lambda _: answer.dispose())
    window.Show()
    app.MainLoop()


if __name__ == "__main__":
    main()
