"""A request while it is being answered: all waiting for it ends when its client leaves, or the server stops."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from .gates import Gate
from .recorded import RecordedRequest


class Exchange(RecordedRequest):
    """The server's side of a recorded request."""

    def __init__(self, method: str, path: str, headers: Mapping[str, str], body: bytes, attempt: int) -> None:
        super().__init__(method, path, headers, body, attempt)
        self._over = threading.Event()
        self._given_up = False
        self._gate: Gate | None = None

    def client_left(self) -> None:
        """Note that the client has closed the connection, unless it was the server."""
        if self._given_up or self.closed.is_set():
            return
        self.closed_at = time.monotonic()
        self._end()
        self.closed.set()

    def give_up(self) -> None:
        """Note that the server ends the connection."""
        self._given_up = True
        self._end()

    def wait(self, seconds: float | None) -> bool:
        """Wait so long, or for good; False as soon as the request is `over`."""
        return not self._over.wait(seconds)

    def wait_at(self, gate: Gate) -> bool:
        """Wait for `gate` to let one piece through; False as soon as the request is `over`."""
        self._gate = gate
        return gate.pass_one(self._over.is_set)

    def _end(self) -> None:
        """End all waiting for this answer."""
        self._over.set()
        if self._gate is not None:
            self._gate.wake()
