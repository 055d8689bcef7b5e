"""UI loops to run tests on: each gives its scheduler and runs its loop until it is told to stop."""

from __future__ import annotations

import asyncio
import importlib
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Protocol

import pytest

from rxllm.ui._loop_scheduler import LoopScheduler
from rxllm.ui.asyncio import AsyncIOScheduler

LIMIT_SECONDS = 60.0

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
"""The kinds of asyncio loops there are here."""

if find_spec("uvloop") is not None:
    LOOPS["uvloop"] = importlib.import_module("uvloop").new_event_loop

Stop = Callable[[], None]


class Host(ABC):
    """A loop and its scheduler. `errors` holds what the toolkit reported of callbacks that raised."""

    scheduler: LoopScheduler

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self.timed_out = False

    def run(self, body: Callable[[Stop], object]) -> None:
        """Call `body` on the UI thread with what stops the loop, and run the loop until then."""
        self._run(body)
        assert not self.timed_out, f"the loop was not stopped within {LIMIT_SECONDS:g} s"

    @abstractmethod
    def _run(self, body: Callable[[Stop], object]) -> None: ...

    @abstractmethod
    def every(self, seconds: float, call: Callable[[], None]) -> None:
        """A repeated timer of the toolkit's own."""

    def nested(self, until: Callable[[Stop], object]) -> None:
        """From a callback: run a loop inside the loop until it is stopped, as a modal dialog does."""
        raise NotImplementedError

    @abstractmethod
    def close(self) -> None:
        """End the UI."""


class TextWidget(Protocol):
    """A text widget in a window of its own."""

    widget: Any
    window: Any

    def content(self) -> str:
        """The text in it."""
        ...

    def at_end(self) -> bool:
        """Whether the end is in view."""
        ...

    def scroll_to_start(self) -> None:
        """As the user does."""
        ...

    def destroy(self) -> None:
        """Destroy the window."""
        ...


class WidgetHost(Host):
    """A loop with widgets. `ui` is the module with the toolkit's bindings."""

    ui: Any

    @abstractmethod
    def text(self) -> TextWidget:
        """A text widget in a window that is shown."""

    @abstractmethod
    def label(self, text: TextWidget) -> tuple[Any, Callable[[], str]]:
        """A label beside it, and what reads it."""

    @abstractmethod
    def button(self, text: TextWidget) -> Any:
        """A `StopButton` beside it."""

    @abstractmethod
    def click(self, button: Any) -> None:
        """Click it, as far as it is enabled."""

    @abstractmethod
    def enabled(self, button: Any) -> bool:
        """Whether it can be clicked."""


class AsyncioHost(Host):
    """A loop of asyncio's or uvloop's."""

    def __init__(self, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        super().__init__()
        self.loop = new_loop()
        self.loop.set_exception_handler(lambda loop, context: self.errors.append(context["exception"]))
        self.scheduler = AsyncIOScheduler(self.loop)

    def _run(self, body: Callable[[Stop], object]) -> None:
        self.loop.call_soon(lambda: body(self.loop.stop))
        limit = self.loop.call_later(LIMIT_SECONDS, self._give_up)
        self.loop.run_forever()
        limit.cancel()

    def _give_up(self) -> None:
        self.timed_out = True
        self.loop.stop()

    def every(self, seconds: float, call: Callable[[], None]) -> None:
        def tick() -> None:
            call()
            self.loop.call_later(seconds, tick)

        self.loop.call_later(seconds, tick)

    def close(self) -> None:
        self.loop.close()


class QueueHost(Host):
    """The least that a toolkit has: a loop that calls what any thread posts. `LoopScheduler` does the rest."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._calls: queue.Queue[Callable[[], object] | None] = queue.Queue()
        self._closed = False
        self.scheduler = LoopScheduler(self._post)
        monkeypatch.setattr("sys.excepthook", lambda kind, error, trace: self.errors.append(error))

    def _post(self, call: Callable[[], object]) -> None:
        if self._closed:
            raise RuntimeError("the loop is gone")
        self._calls.put(call)

    def _run(self, body: Callable[[Stop], object]) -> None:
        limit = threading.Timer(LIMIT_SECONDS, self._give_up)
        limit.start()
        self.nested(body)
        limit.cancel()

    def _give_up(self) -> None:
        self.timed_out = True
        self._calls.put(None)

    def nested(self, until: Callable[[Stop], object]) -> None:
        """Run the loop, inside of itself too."""
        until(lambda: self._calls.put(None))
        while (call := self._calls.get()) is not None:
            call()

    def every(self, seconds: float, call: Callable[[], None]) -> None:
        def tick() -> None:
            while not self._closed:
                time.sleep(seconds)
                self._calls.put(call)

        threading.Thread(target=tick, daemon=True).start()

    def close(self) -> None:
        self._closed = True
        self.scheduler.schedule(lambda *_: None)
