"""One prompt, several models side by side, with Qt; the first to finish is highlighted.

    python examples/compare_qt.py                        the embedded model, at three temperatures
    python examples/compare_qt.py -m openai:gpt-5.4-mini -m anthropic:claude-haiku-4-5 -m local

Needs PySide6: pip install "rxllm[local,qt]".
"""

from __future__ import annotations

import sys

import reactivex
from PySide6.QtWidgets import (
    QApplication,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)
from reactivex import Observable
from reactivex import operators as rx
from reactivex.disposable import SerialDisposable
from reactivex.subject import Subject
from shared import models_from_command_line, status

import rxllm
from rxllm import operators as ops
from rxllm.ui import qt

BORDER = """
QGroupBox { border: 2px solid %s; border-radius: 4px; margin-top: 1ex; padding-top: 1ex; }
QGroupBox::title { subcontrol-origin: margin; left: 8px; padding: 0 4px; }
"""
PLAIN, WINNER = BORDER % "palette(mid)", BORDER % "#26a269"


class Panel(QGroupBox):
    """One model's answer."""

    def __init__(self, name: str, model: rxllm.StreamingModel, temperature: float | None = None) -> None:
        super().__init__(name)
        self.setStyleSheet(PLAIN)
        self.model = model
        self.temperature = temperature
        self.view = QTextBrowser()
        self.status = QLabel()
        self.stop = qt.StopButton()
        self.line = SerialDisposable()
        bottom = QHBoxLayout()
        bottom.addWidget(self.status, stretch=1)
        bottom.addWidget(self.stop)
        layout = QVBoxLayout(self)
        layout.addWidget(self.view)
        layout.addLayout(bottom)

    def ask(self, prompt: str) -> Observable[Panel]:
        """Show the answer; emits this panel once the answer is whole, and nothing if it fails."""
        self.view.clear()
        self.setStyleSheet(PLAIN)
        events: Subject[rxllm.TokenEvent] = Subject()
        self.line.disposable = qt.bind_each(self.status, self.status.setText, status(events, self.model))
        finished = events.pipe(ops.response(), rx.map(lambda response: self), rx.catch(reactivex.empty()), rx.replay())
        finished.connect()
        answer = self.model.stream(prompt, temperature=self.temperature)
        self.answer = qt.bind_markdown(self.view, answer.pipe(ops.tee(events)))
        self.stop.connect_to(self.answer)
        return finished


class CompareWindow(QWidget):
    """A prompt, and a panel for each model; a single model is asked at three temperatures."""

    def __init__(self, models: dict[str, rxllm.StreamingModel]) -> None:
        super().__init__()
        self.setWindowTitle("rxllm compare")
        self.resize(1100, 560)
        if len(models) > 1:
            self.panels = [Panel(name, model) for name, model in models.items()]
        else:
            ((name, model),) = models.items()
            self.panels = [Panel(f"{name}, temperature {heat}", model, temperature=heat) for heat in (0.0, 0.7, 1.2)]
        self.winner = SerialDisposable()
        self.input = QLineEdit()
        self.input.setPlaceholderText("Ask them all")
        self.ask = QPushButton("Ask")
        side_by_side = QHBoxLayout()
        for panel in self.panels:
            side_by_side.addWidget(panel)
        bottom = QHBoxLayout()
        bottom.addWidget(self.input)
        bottom.addWidget(self.ask)
        layout = QVBoxLayout(self)
        layout.addLayout(side_by_side)
        layout.addLayout(bottom)
        self.ask.clicked.connect(self.on_ask)
        self.input.returnPressed.connect(self.ask.click)
        self.input.setFocus()

    def on_ask(self) -> None:
        """Ask all models, and wait for the first to finish."""
        prompt = self.input.text().strip()
        if prompt:
            finished = [panel.ask(prompt) for panel in self.panels]
            first = reactivex.merge(*finished).pipe(rx.take(1))
            self.winner.disposable = qt.bind_each(self, lambda panel: panel.setStyleSheet(WINNER), first)
            idle = reactivex.combine_latest(*(panel.answer.idle for panel in self.panels)).pipe(rx.map(all))
            qt.bind_enabled(self.ask, idle)


def main() -> None:
    """Run it."""
    models = models_from_command_line("Several models, side by side.")
    app = QApplication(sys.argv[:1])
    window = CompareWindow(models)
    window.show()
    sys.exit(app.exec())


if __name__ == "__main__":
    main()
