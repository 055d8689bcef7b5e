"""The widgets of customtkinter: python custom_tk.py. Prints "end"."""

import time
from collections.abc import Callable
from typing import Any

import customtkinter
from reactivex import Subject

from rxllm.ui import tk

root = customtkinter.CTk()
faults: list[object] = []
root.report_callback_exception = lambda *fault: faults.append(fault)
box, label, button = (
    customtkinter.CTkTextbox(root),
    customtkinter.CTkLabel(root, text=""),
    customtkinter.CTkButton(root),
)
for widget in (box, label, button):
    widget.pack()


def wait_for(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit, faults
        root.update()
        time.sleep(0.005)


def feed(bind: Callable[..., Any], target: Any) -> Any:
    text: Subject[str] = Subject()
    binding = bind(target, text)
    text.on_next("hello **you**")
    return binding


feed(tk.bind_text, box)
wait_for(lambda: "hello **you**" in box.get("1.0", "end"))
box.configure(state="disabled")
feed(tk.bind_markdown, box)
wait_for(lambda: "hello you" in box.get("1.0", "end"))
assert box.cget("state") == "disabled"
feed(tk.bind_text, label)
wait_for(lambda: label.cget("text") == "hello **you**")

enabled: Subject[bool] = Subject()
tk.bind_enabled(button, enabled)
for value, state in ((False, "disabled"), (True, "normal")):
    enabled.on_next(value)
    wait_for(lambda state=state: button.cget("state") == state)  # type: ignore[misc] # bound now

stop = tk.StopButton(root)
stop.pack()
answer = feed(tk.bind_text, box)
stop.connect_to(answer)
wait_for(lambda: str(stop["state"]) == "normal")
stop.invoke()
wait_for(lambda: answer.stopped)

last = feed(tk.bind_text, box)
box.destroy()
wait_for(lambda: last.stopped)
root.destroy()
assert not faults, faults
print("end")
