"""A chat window with tkinter, which comes with Python: Markdown as it streams, a tool with approval, stop, retry, edit.

    python examples/chat_tk.py                             the embedded model, no key needed
    python examples/chat_tk.py -m openai:gpt-5.4-mini      any other

Needs: pip install "rxllm[local]".
"""

from __future__ import annotations

import tkinter

from shared import chat_session, models_from_command_line

import rxllm
from rxllm.ui import tk


def chat_view(window: tkinter.Tk, model: rxllm.StreamingModel) -> tk.ChatView:
    """Return the chat, which fills the window."""
    window.title("rxllm chat")
    window.geometry("640x720")
    view = tk.ChatView(window, chat_session(model))
    view.pack(fill="both", expand=True)
    view.input.focus_set()
    return view


def main() -> None:
    """Run the program."""
    (model, *_) = models_from_command_line("A chat window.").values()
    window = tkinter.Tk()
    view = chat_view(window, model)
    window.mainloop()
    view.session.close()


if __name__ == "__main__":
    main()
