"""A chat session in Tk: a finished widget."""

from __future__ import annotations

import tkinter
import webbrowser
from collections.abc import Callable
from typing import cast

from ..assistant import ChatSession
from ._tk_text import TkRegion
from ._transcript import STATUS_TEXTS, Transcript


class ChatFrame(tkinter.Frame):
    """The widgets of a chat view; `show` brings them up to date."""

    def __init__(self, master: tkinter.Misc | None, session: ChatSession) -> None:
        """Create the widgets and lay them out."""
        super().__init__(master, padx=6, pady=6)
        self.session = session
        self.text = tkinter.Text(self, state="disabled", wrap="word", padx=8, pady=8, font="TkTextFont")
        scroll = cast("Callable[..., None]", self.text.yview)  # pyright: ignore[reportUnknownMemberType] - not typed
        bar = tkinter.Scrollbar(self, command=scroll)
        self.text.configure(yscrollcommand=bar.set)
        self.status = tkinter.Label(self)
        self.input = tkinter.Entry(self)
        self.send_button = tkinter.Button(self, text="Send", command=self.submit)
        self.stop_button = tkinter.Button(self, text="Stop", command=session.stop)
        self.retry_button = tkinter.Button(self, text="Retry", command=session.regenerate)
        self.text.grid(row=0, column=0, columnspan=4, sticky="nsew")
        bar.grid(row=0, column=4, sticky="ns")
        self.status.grid(row=1, column=0, columnspan=5, sticky="w")
        for column, widget in enumerate((self.input, self.send_button, self.stop_button, self.retry_button)):
            widget.grid(row=2, column=column, sticky="ew", padx=2, pady=4)
        self.columnconfigure(0, weight=1)
        self.rowconfigure(0, weight=1)
        self.input.bind("<Return>", lambda _: self.submit())
        self.transcript = Transcript(session, lambda: TkRegion(self.text, self._click), self)

    def show(self, _: object = None) -> None:
        """Show the session's state."""
        state = self.session.state
        self.transcript.show(state.messages)
        self.send_button.configure(state="disabled" if state.running else "normal")
        self.stop_button.configure(state="normal" if state.running else "disabled")
        self.retry_button.configure(state="normal" if state.messages and not state.running else "disabled")
        self.status.configure(text=STATUS_TEXTS[state.status])

    def submit(self) -> None:
        """Send what is typed, unless an answer runs."""
        text = self.input.get().strip()
        if not text or str(self.send_button["state"]) == "disabled":
            return
        self.input.delete(0, "end")
        self.transcript.send(text)

    def copy(self, text: str) -> None:
        """Put text on the clipboard."""
        self.clipboard_clear()
        self.clipboard_append(text)

    def edit(self, text: str) -> None:
        """Put a text into the input."""
        self.input.delete(0, "end")
        self.input.insert(0, text)
        self.input.focus_set()

    def open_link(self, address: str) -> None:
        """Open an address in the desktop's browser."""
        webbrowser.open(address)

    def _click(self, address: str) -> None:
        self.transcript.click(address)
