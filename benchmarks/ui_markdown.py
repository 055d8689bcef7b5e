"""What Markdown costs in Qt: `bind_markdown` at full speed, beside `setMarkdown` of all of the text each frame.

    QT_QPA_PLATFORM=offscreen python benchmarks/ui_markdown.py [SHAPE ...]      of: prose line code list table

Both are fed by a thread at full speed. For 1,000, 10,000 and 100,000 tokens of four characters it prints the most CPU
time in milliseconds that the UI thread has used between two ticks of a 60 Hz timer (other programs change that little),
the milliseconds between the ticks at the 99th percentile, and the seconds until all was shown. The two programs take
turns, five times each for 1,000 tokens; the figures are medians. What is not shown after 15 seconds is not waited for.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from statistics import median

from PySide6.QtCore import QCoreApplication, QEventLoop, Qt, QTimer
from PySide6.QtWidgets import QApplication, QTextBrowser
from reactivex.subject import Subject

import rxllm
from rxllm.ui import qt

LIMIT_SECONDS = 15.0
SIZES = (1_000, 10_000, 100_000)
SHAPES: dict[str, Callable[[int], str]] = {
    "prose": lambda n: (
        f"Sentence number {n} of a paragraph, with **bold** and `code` in it.{chr(10) * 2 if n % 5 == 4 else ' '}"
    ),
    "line": lambda n: f"Sentence number {n} of one paragraph, with **bold** and `code` in it. ",
    "code": lambda n: (
        "```python\n" if n == 0 else f"def function_{n}(argument):  # comment\n    return argument * {n}\n"
    ),
    "list": lambda n: f"- item {n} with **bold** words and more of them\n",
    "table": lambda n: "| a | b |\n|---|---|\n" if n == 0 else f"| {n} | cell {n} |\n",
}


def text_of(shape: str, tokens: int) -> str:
    """Return so much text of a shape."""
    pieces: list[str] = []
    length = number = 0
    while length < 4 * tokens:
        pieces.append(SHAPES[shape](number))
        length += len(pieces[-1])
        number += 1
    return "".join(pieces)


def measure(text: str, *, ours: bool) -> tuple[float, float, float]:
    """Return the most CPU ms between ticks, the 99th percentile of the gaps in ms, and the seconds to show all."""
    view = QTextBrowser()
    view.resize(700, 500)
    view.show()
    gaps: list[float] = []
    busy: list[float] = []
    last = began = time.perf_counter()
    last_busy = time.thread_time()

    def tick() -> None:
        nonlocal last, last_busy
        now, now_busy = time.perf_counter(), time.thread_time()
        gaps.append(1000 * (now - last))
        busy.append(1000 * (now_busy - last_busy))
        last, last_busy = now, now_busy

    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(tick)
    timer.start(16)
    ended: list[float] = []
    pieces = [text[at : at + 4] for at in range(0, len(text), 4)]
    stream: Subject[rxllm.TokenEvent] = Subject()
    if ours:
        answer = qt.bind_markdown(view, stream)
        answer.running.subscribe(on_completed=lambda: ended.append(time.perf_counter()))
    else:
        arrived: list[str] = []
        stream.subscribe(lambda event: arrived.append(event.text))
        frames = QTimer()

        def frame() -> None:
            text = "".join(arrived)
            view.setMarkdown(text)
            if len(arrived) == len(pieces):
                frames.stop()
                ended.append(time.perf_counter())

        frames.timeout.connect(frame)
        frames.start(16)

    def produce() -> None:
        for piece in pieces:
            stream.on_next(rxllm.TextDelta(piece))
        stream.on_completed()

    threading.Thread(target=produce, daemon=True).start()
    while not ended and time.perf_counter() < began + LIMIT_SECONDS:
        QCoreApplication.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)
    QCoreApplication.processEvents()
    timer.stop()
    if ours:
        answer.dispose()
    else:
        frames.stop()
    tick()
    gaps.sort()
    view.close()
    return max(busy), gaps[int(0.99 * (len(gaps) - 1))], (ended[0] - began) if ended else float("inf")


def main() -> None:
    """Print a row for each shape and size."""
    app = QApplication([])
    qt.QtScheduler()
    for ours in (False, True):  # PySide6 makes its classes, and Qt finds its fonts, when they are first used
        measure("# A heading\n\nWith **bold** and `code`.\n\n```\ncode\n```\n", ours=ours)
    print("shape   tokens   setMarkdown each frame: most CPU ms, p99 ms, s   bind_markdown: the same")
    for shape in sys.argv[1:] or SHAPES:
        for tokens in SIZES:
            text = text_of(shape, tokens)
            rounds = 5 if tokens == SIZES[0] else 1
            pairs = [(measure(text, ours=False), measure(text, ours=True)) for _ in range(rounds)]
            both = [tuple(map(median, zip(*runs, strict=True))) for runs in zip(*pairs, strict=True)]
            cells = "   ".join(f"{most:7.0f} {p99:6.0f} {seconds:6.1f}" for most, p99, seconds in both)
            print(f"{shape:6} {tokens:7}   {cells}", flush=True)
    app.quit()


if __name__ == "__main__":
    main()
