"""pygame or pygame-ce."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import pytest

from .hosts import LIMIT_SECONDS, Host, Stop


class PygameHost(Host):
    """pygame or pygame-ce, with a loop as programs have it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
        monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")
        monkeypatch.setenv("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        self.pygame = pytest.importorskip("pygame", reason="pygame is not installed")
        self.pygame.init()
        self.ui = importlib.import_module("rxllm.ui.pygame")
        self.scheduler = self.ui.PygameScheduler()
        monkeypatch.setattr("sys.excepthook", lambda kind, error, trace: self.errors.append(error))
        self._called: dict[int, Callable[[], object]] = {}

    def _run(self, body: Callable[[Stop], object]) -> None:
        limit, begin = (self.pygame.event.custom_type() for _ in range(2))
        over: list[bool] = []

        def give_up() -> None:
            self.timed_out = True
            over.append(True)

        self._called |= {limit: give_up, begin: lambda: body(lambda: over.append(True))}
        self.pygame.time.set_timer(limit, int(LIMIT_SECONDS * 1000), 1)
        self.pygame.event.post(self.pygame.event.Event(begin))
        self._loop(over)
        self.pygame.time.set_timer(limit, 0)

    def _loop(self, over: list[bool]) -> None:
        while not over:
            self._called.get(self.pygame.event.wait().type, lambda: None)()
            self.scheduler.update()

    def nested(self, until: Callable[[Stop], object]) -> None:
        over: list[bool] = []
        until(lambda: over.append(True))
        self._loop(over)

    def every(self, seconds: float, call: Callable[[], None]) -> None:
        kind = self.pygame.event.custom_type()
        self._called[kind] = call
        self.pygame.time.set_timer(kind, int(seconds * 1000))

    def close(self) -> None:
        self.pygame.quit()
