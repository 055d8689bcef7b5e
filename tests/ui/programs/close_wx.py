"""A window whose stream is under way is closed. Prints what came of it."""

import wx

import rxllm
from rxllm.testing import Gate, LLMServer, Reply
from rxllm.ui import wx as ui

with LLMServer(Reply("one two three", gate=Gate(1))) as server:
    model = rxllm.create_streaming_model("openai", model="scripted", base_url=server.base_url())
    app = wx.App(False)
    window = wx.Frame(None)
    view = wx.TextCtrl(window, style=wx.TE_MULTILINE | wx.TE_READONLY | wx.TE_RICH2)
    button = ui.StopButton(window)
    window.Show()
    answer = ui.bind_text(view, model.stream("Hi"))
    button.wire(answer)
    shown: list[str] = []

    def close_when_shown() -> None:
        shown.append(view.GetValue())
        if shown[-1] and button.IsEnabled():
            window.Close()
        else:
            wx.CallLater(5, close_when_shown)

    close_when_shown()
    app.MainLoop()
    print(shown[-1], server.wait_for_request().closed.wait(10), answer.stopped)
