"""Things end while they are bound: python lifetimes_qt.py PySide6|PyQt6 CASE. Prints "end"."""

import gc
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import reactivex

from rxllm.assistant import ChatSession
from rxllm.testing import ScriptedModel
from rxllm.ui import qt

core, widgets = (import_module(f"{sys.argv[1]}.{name}") for name in ("QtCore", "QtWidgets"))
app = widgets.QApplication([])
qt.QtScheduler()  # PySide6 6.12 on Python 3.11 loses references to None, with or without rxllm; this stops it


def pump(seconds: float = 0.2) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        loop = core.QEventLoop()
        core.QTimer.singleShot(5, loop.quit)
        loop.exec()
        core.QCoreApplication.sendPostedEvents(None, core.QEvent.Type.DeferredDelete.value)


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit
        pump(0.02)


def shown(kind: Any = None) -> Any:
    view = (kind or widgets.QTextBrowser)()
    view.show()
    pump(0.05)
    return view


def dispose_then_drop() -> None:
    view = shown()
    qt.bind_text(view, reactivex.never()).dispose()
    del view
    pump()


def drop() -> None:
    view = shown()
    answer = qt.bind_markdown(view, reactivex.never())
    del view
    gc.collect()
    until(lambda: answer.stopped)


def take_out() -> None:
    window, view, stop = widgets.QWidget(), widgets.QTextEdit(), qt.StopButton()
    layout = widgets.QVBoxLayout(window)
    layout.addWidget(view)
    layout.addWidget(stop)
    window.show()
    stop.connect_to(qt.bind_text(view, reactivex.never()))
    pump(0.05)
    stop.click()
    view.setParent(None)
    del view
    pump()


def empty_layout() -> None:
    window = widgets.QWidget()
    layout = widgets.QVBoxLayout(window)
    window.show()
    for number in range(6):
        view = widgets.QTextEdit()
        layout.addWidget(view)
        answer = qt.bind_markdown(view, reactivex.never())
        pump(0.02)
        while layout.count():
            widget = layout.takeAt(0).widget()
            if number % 2:
                widget.deleteLater()
            else:
                widget.setParent(None)
            del widget
        del view
        gc.collect()
        until(lambda answer=answer: answer.stopped)


def delete_later() -> None:
    view = shown()
    qt.bind_text(view, reactivex.never()).dispose()
    view.close()
    view.deleteLater()
    pump()


def dialog() -> None:
    def ask() -> Any:
        box, view, stop, send = widgets.QDialog(), widgets.QTextEdit(), qt.StopButton(), widgets.QPushButton()
        layout = widgets.QVBoxLayout(box)
        for widget in (view, stop, send):
            layout.addWidget(widget)
        answer = qt.bind_text(view, reactivex.never())
        stop.connect_to(answer)
        qt.bind_enabled(send, answer.idle)
        core.QTimer.singleShot(50, box.accept)
        box.exec()
        return answer

    for _ in range(5):
        answer = ask()
        gc.collect()
        until(lambda answer=answer: answer.stopped)


def collected_on_another_thread() -> None:
    class Window(widgets.QWidget):  # type: ignore[misc] # a class of the Qt that was found
        def __init__(self) -> None:
            widgets.QWidget.__init__(self)
            self.itself = self
            layout = widgets.QVBoxLayout(self)
            self.view, self.send, self.stop = widgets.QTextBrowser(), widgets.QPushButton(), qt.StopButton()
            for widget in (self.view, self.send, self.stop):
                layout.addWidget(widget)
            self.answer = qt.bind_markdown(self.view, reactivex.interval(0.001).pipe(reactivex.operators.map(str)))
            self.stop.connect_to(self.answer)
            qt.bind_enabled(self.send, self.answer.idle)
            self.model = qt.ChatModel(session)
            self.chat = qt.ChatView(session, self)

    session = ChatSession(ScriptedModel("Hello"))
    for number in range(20):
        window = Window()
        answer = window.answer
        window.show()
        pump(0.02)
        if number % 2:
            answer.dispose()
        window.close()
        del window
        thread = threading.Thread(target=gc.collect)
        thread.start()
        thread.join()
        until(lambda answer=answer: answer.stopped)
    session.dispose()


def application() -> None:
    global app
    view = shown()
    ended = threading.Event()
    numbers = reactivex.interval(0.001).pipe(reactivex.operators.finally_action(ended.set))
    qt.bind_text(view, numbers.pipe(reactivex.operators.map(str)))
    pump(0.05)
    del view
    if hasattr(app, "shutdown"):  # PySide6 keeps the application until then
        app.shutdown()
    del app
    gc.collect()
    assert ended.wait(60)


def other_thread() -> None:
    ran: list[bool] = []
    made: list[Any] = []
    thread = threading.Thread(target=lambda: made.append(qt.QtScheduler()))
    thread.start()
    thread.join()
    made[0].schedule(lambda *_: ran.append(threading.current_thread() is threading.main_thread()))
    made[0].schedule_relative(0.01, lambda *_: ran.append(threading.current_thread() is threading.main_thread()))
    until(lambda: len(ran) == 2)
    assert ran == [True, True]


def starts_and_stops() -> None:
    view = shown()
    for number in range(200):
        text = reactivex.interval(0.0005).pipe(reactivex.operators.map(lambda n: f"- item {n}\n"))
        answer = (qt.bind_markdown if number % 2 else qt.bind_text)(view, text)
        if number % 10 == 0:
            pump(0.01)
        answer.dispose()
        if number % 50 == 49:
            view.close()
            view = shown()
    pump()


def nested_loop() -> None:
    label = shown(widgets.QLabel)
    inside: list[bool] = []

    def show(_: object) -> None:
        loop = core.QEventLoop()
        core.QTimer.singleShot(5, loop.quit)
        loop.exec()
        inside.append(True)
        if len(inside) == 5:
            label.close()

    answer = qt.bind_each(label, show, reactivex.interval(0.001))
    until(lambda: answer.stopped)


def qthreads() -> None:
    class Worker(core.QThread):  # type: ignore[misc] # a class of the Qt that was found
        def run(self) -> None:
            for _ in range(200):
                scheduler.schedule(lambda *_: view.setWindowTitle("x"))
            answer.dispose()

    scheduler = qt.QtScheduler()
    for _ in range(10):
        view = shown()
        answer = qt.bind_markdown(view, reactivex.interval(0.001).pipe(reactivex.operators.map(str)))
        worker = Worker()
        worker.start()
        pump(0.01)
        worker.wait()
        view.close()
        until(lambda answer=answer: answer.stopped)
        pump(0.01)


def chat_views() -> None:
    for number in range(20):
        session = ChatSession(ScriptedModel(*["A *long* answer. " * 50] * 3))
        view = qt.ChatView(session)
        model = qt.ChatModel(session, view)
        view.show()
        session.send("Hi")
        until(lambda number=number, session=session: number % 4 == 0 or session.state.status != "submitted")
        if number % 2:
            session.close()
        view.close()
        del view, model
        gc.collect()
        session.send("Late")
        session.close()
        pump(0.01)


CASES: dict[str, Callable[[], None]] = {
    "dispose, then drop the view": dispose_then_drop,
    "drop the view": drop,
    "stop, then take the view out of its window": take_out,
    "empty a layout": empty_layout,
    "dispose, close, delete later": delete_later,
    "a dialog": dialog,
    "a cycle, collected on another thread": collected_on_another_thread,
    "the application": application,
    "a scheduler made on another thread": other_thread,
    "200 starts and stops": starts_and_stops,
    "a nested loop": nested_loop,
    "QThreads": qthreads,
    "chat views": chat_views,
}
CASES[sys.argv[2]]()
print("end")
