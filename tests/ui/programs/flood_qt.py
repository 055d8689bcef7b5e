"""100,000 actions and as many deltas at full speed: python flood_qt.py PySide6|PyQt6. Prints whether all came well."""

import sys
import threading
from importlib import import_module

from reactivex import Observable, abc
from reactivex.disposable import Disposable

import rxllm
from rxllm.ui import qt

COUNT = 100_000

core, widgets = (import_module(f"{sys.argv[1]}.{name}") for name in ("QtCore", "QtWidgets"))
app = widgets.QApplication([])
view = widgets.QPlainTextEdit()
view.setReadOnly(True)
view.show()
scheduler = qt.QtScheduler()
numbers: list[int] = []
threads: set[int] = set()
deltas = [f"token {n}{' ' if n % 12 else chr(10)}" for n in range(COUNT)]


def note(_: abc.SchedulerBase, number: int | None) -> None:
    numbers.append(number or 0)
    threads.add(threading.get_ident())


def stream(observer: abc.ObserverBase[rxllm.TokenEvent], _: abc.SchedulerBase | None = None) -> abc.DisposableBase:
    def produce() -> None:
        for number, delta in enumerate(deltas):
            scheduler.schedule(note, number)
            observer.on_next(rxllm.TextDelta(delta))
        observer.on_completed()

    threading.Thread(target=produce, daemon=True).start()
    return Disposable()


qt.bind_text(view, Observable(stream)).running.subscribe(
    on_completed=lambda: scheduler.schedule(lambda *_: app.quit())  # after the actions
)
app.exec()
print(view.toPlainText() == "".join(deltas), numbers == list(range(COUNT)), threads == {threading.get_ident()})
