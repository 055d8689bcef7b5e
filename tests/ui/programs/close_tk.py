"""A window whose stream is under way is closed. Prints what came of it."""

import tkinter

import rxllm
from rxllm.testing import Gate, LLMServer, Reply
from rxllm.ui import tk

with LLMServer(Reply("one two three", gate=Gate(1))) as server:
    model = rxllm.create_streaming_model("openai", model="scripted", base_url=server.base_url())
    window = tkinter.Tk()
    view = tkinter.Text(window)
    view.pack()
    button = tk.StopButton(window)
    button.pack()
    answer = tk.bind_text(view, model.stream("Hi"))
    button.connect_to(answer)
    shown: list[str] = []

    def close_when_shown() -> None:
        shown.append(view.get("1.0", "end-1c"))
        if shown[-1] and str(button["state"]) == "normal":
            window.destroy()
        else:
            window.after(5, close_when_shown)

    close_when_shown()
    window.mainloop()
    print(shown[-1], server.wait_for_request().closed.wait(60), answer.stopped)
