"""A request while the server answers it. Waits end when the client closes the connection or the server stops."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from .gates import Gate
from .recorded import RecordedRequest


class Exchange(RecordedRequest):
    """The server's side of a recorded request. Thread-safe."""

    def __init__(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(method, path, headers, body)
        self._ended = threading.Event()
        self._closed_by_server = False
        self._gate: Gate | None = None

    def client_left(self) -> None:
        """Record that the client closed the connection; do nothing if the server closed it first."""
        if self._closed_by_server or self.closed.is_set():
            return
        self.closed_at = time.monotonic()
        self._end()
        self.closed.set()

    def close_by_server(self) -> None:
        """Record that the server closes the connection."""
        self._closed_by_server = True
        self._end()

    def wait(self, seconds: float | None) -> bool:
        """Block for `seconds` (None: without limit). Return False as soon as the exchange has ended."""
        return not self._ended.wait(seconds)

    def wait_at(self, gate: Gate) -> bool:
        """Block until `gate` lets one piece through. Return False as soon as the exchange has ended."""
        self._gate = gate
        return gate.pass_one(self._ended.is_set)

    def _end(self) -> None:
        """Wake every thread that waits in this exchange."""
        self._ended.set()
        if self._gate is not None:
            self._gate.wake()
