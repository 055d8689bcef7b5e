"""Things end while they are bound: python lifetimes_tk.py CASE. Prints "end", and nothing if all is well."""

import gc
import sys
import threading
import time
import tkinter
import weakref
from collections.abc import Callable
from tkinter import ttk

import reactivex
from reactivex import Observable
from reactivex import operators as rx

from rxllm.assistant import ChatSession
from rxllm.testing import ScriptedModel
from rxllm.ui import _tk_text, tk


def markdown() -> Observable[str]:
    """Markdown without end, from another thread."""
    return reactivex.interval(0.0005).pipe(
        rx.map(lambda n: f"- item {n} with **bold**, `code`\n\n| a | b |\n|--|--|\n")
    )


def until(root: tkinter.Tk, condition: Callable[[], bool]) -> None:
    """Run Tk's loop until a condition holds."""
    limit = time.monotonic() + 30
    root.after(5, root.quit)
    while not condition():
        assert time.monotonic() < limit
        root.mainloop()
        root.after(5, root.quit)
    root.mainloop()


def window(master: tkinter.Misc) -> tuple[tkinter.Text, tk.StopButton, ttk.Button]:
    """A text and two buttons, bound to a stream."""
    text, stop, send = tkinter.Text(master), tk.StopButton(master), ttk.Button(master)
    for widget in (text, stop, send):
        widget.pack()
    answer = tk.bind_markdown(text, markdown())
    stop.connect_to(answer)
    tk.bind_enabled(send, answer.idle)
    return text, stop, send


def starts_and_stops(root: tkinter.Tk) -> None:
    """200 times, and the widget changes now and then."""
    text = tkinter.Text(root)
    text.pack()
    for number in range(200):
        answer = (tk.bind_markdown if number % 2 else tk.bind_text)(text, markdown())
        if number % 10 == 0:
            root.update()
        answer.dispose()
        if number % 50 == 49:
            text.destroy()
            text = tkinter.Text(root)
            text.pack()


def destroyed(root: tkinter.Tk) -> None:
    """Widgets are destroyed at any moment, some by a click on Stop."""
    for number in range(20):
        top = tkinter.Toplevel(root)
        text, stop, _ = window(top)
        until(root, lambda text=text, number=number: number % 3 == 0 or len(text.get("1.0", "end")) > 50)
        if number % 2:
            stop.invoke()
        (text if number % 4 == 0 else top).destroy()
        root.update()
        top.destroy()


def dialog(root: tkinter.Tk) -> None:
    """A modal window with a loop of its own; another stream goes on meanwhile."""
    text, _, _ = window(root)
    for _ in range(5):
        top = tkinter.Toplevel(root)
        window(top)
        shown = len(text.get("1.0", "end"))
        top.after(50, top.destroy)
        root.wait_window(top)
        until(root, lambda shown=shown: len(text.get("1.0", "end")) > shown)


def nested_loop(root: tkinter.Tk) -> None:
    """What shows an item runs a loop, and destroys its own widget in it."""
    label = ttk.Label(root)
    inside: list[bool] = []

    def show(_: object) -> None:
        done = tkinter.BooleanVar(root)
        root.after(5, lambda: done.set(True))
        root.wait_variable(done)
        inside.append(True)
        if len(inside) == 5:
            label.destroy()

    answer = tk.bind_each(label, show, markdown())
    until(root, lambda: answer.stopped)


def chat_views(root: tkinter.Tk) -> None:
    """Chats are closed while they answer, some by the session."""
    for number in range(20):
        session = ChatSession(ScriptedModel(*["A *long* answer. " * 50] * 3))
        view = tk.ChatView(root, session)
        view.pack()
        session.send("Hi")
        until(root, lambda number=number, session=session: number % 4 == 0 or session.state.status != "submitted")
        if number % 2:
            session.close()
        view.destroy()
        session.send("Late")
        session.close()


def collected_on_another_thread(root: tkinter.Tk) -> None:
    """A destroyed window in a cycle is found by the collector on a thread that is not Tk's."""
    for _ in range(10):
        top = tkinter.Toplevel(root)
        text, _, _ = window(top)
        top.cycle = text, top  # type: ignore[attr-defined]
        root.update()
        top.destroy()
        del top, text
        thread = threading.Thread(target=gc.collect)
        thread.start()
        thread.join()


CASES = {
    "200 starts and stops": starts_and_stops,
    "destroyed": destroyed,
    "a dialog": dialog,
    "a nested loop": nested_loop,
    "chat views": chat_views,
    "a cycle, collected on another thread": collected_on_another_thread,
}


def main() -> None:
    root = tkinter.Tk()
    CASES[sys.argv[1]](root)
    window(root)  # and the program ends while a stream runs
    root.update()
    gone = weakref.ref(root)
    root.destroy()
    del root
    limit = time.monotonic() + 30
    while gone() is not None:  # a thread of a stream may be at its last item
        assert time.monotonic() < limit, gc.get_referrers(gone())
        time.sleep(0.01)
        gc.collect()
    assert [tk._bound, tk._schedulers, _tk_text._looks] == [{}, {}, {}]
    print("end")


main()
