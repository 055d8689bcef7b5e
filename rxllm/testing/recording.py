"""Tests on real streams: record one once, replay it as often as you like.

Two kinds of recording, both lines of JSON with times in seconds:

- of events, written by the operator `record(path)`, replayed as an Observable by `replay(path)`;
- of the bytes on the wire, written by a session that `record_wire(path)` makes, replayed by a
  real server, and so over the whole road, with `LLMServer(*wire_replies(path))`.

Neither holds a request, nor any header but the content type; what looks like a key is taken out
of errors and bodies.
"""

from __future__ import annotations

import base64
import itertools
import threading
import time
from pathlib import Path
from typing import Literal, TypeAlias, cast

import msgspec
import requests
import urllib3
from reactivex import Observable, abc
from reactivex.scheduler import EventLoopScheduler

from .._core.error_format import redacted
from .._core.recording_format import Line, read_recording
from ..errors import StreamInterruptedError
from ..events import TokenEvent
from ..operators._stopwatch import stopwatch
from .replies import Drop, RawReply

WireEnding: TypeAlias = Literal["complete", "closed", "broken"]


def replay(
    path: str | Path, *, speed: float | None = 1.0, scheduler: abc.SchedulerBase | None = None
) -> Observable[TokenEvent]:
    """The recorded stream as a cold Observable: each subscription plays it from the start.

    `speed` 2 plays it twice as fast as it was, None without any waiting. It plays on `scheduler`,
    by default a thread of its own, as a model's stream does; on a `TestScheduler`, in virtual
    time. It ends as the recorded one did, with an error of the same type and content; a
    recording that was cut off, or whose stream was disposed, with a `StreamInterruptedError`.
    """
    if speed is not None and not speed > 0:
        raise ValueError(f"speed is a number above 0, or None for no waiting; got {speed!r}")

    def subscribe(observer: abc.ObserverBase[TokenEvent], _: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        plays_on = scheduler or EventLoopScheduler(exit_if_empty=True)
        return _Replay(list(read_recording(path)), observer, plays_on, speed).start()

    return Observable(subscribe)


def record_wire(path: str | Path) -> requests.Session:
    """A session that records the bodies of all its responses; give it to `create_streaming_model(session=)`.

    Everything is written to one file, which is written anew. Settings of the session (proxies, CA)
    are yours to make. The file is complete once the streams have ended.
    """
    log = _WireLog(path)
    session = requests.Session()
    session.hooks["response"].append(log.response)
    return session


def wire_replies(path: str | Path) -> tuple[RawReply, ...]:
    """The recorded responses, in the order in which they began, for an `LLMServer` to give.

    Bodies come in the pieces in which they were read; one that broke off, breaks off.
    """
    decode = msgspec.json.Decoder(_WireLine).decode
    responses: dict[int, list[_WireLine]] = {}
    for text in Path(path).read_bytes().splitlines():
        line = decode(text)
        responses.setdefault(line.response, []).append(line)
    return tuple(map(_reply, responses.values()))


class _Replay(abc.DisposableBase):
    """One playing of a recording, on one timer."""

    def __init__(
        self,
        lines: list[Line],
        observer: abc.ObserverBase[TokenEvent],
        scheduler: abc.SchedulerBase,
        speed: float | None,
    ) -> None:
        self._lines = lines
        self._next = 0
        self._observer = observer
        self._scheduler = scheduler
        self._speed = speed
        self._now = stopwatch(scheduler)
        self._closed = False
        self._timer: abc.DisposableBase | None = None

    def start(self) -> _Replay:
        self._timer = self._scheduler.schedule(self._play)
        return self

    def dispose(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.dispose()

    def _play(self, scheduler: abc.SchedulerBase, state: object | None = None) -> None:
        while not self._closed:
            if self._next == len(self._lines):
                self._observer.on_error(StreamInterruptedError("the recording was cut off before the stream ended"))
                return
            line = self._lines[self._next]
            wait = line.at / self._speed - self._now() if self._speed is not None else 0.0
            if wait > 0:
                self._timer = self._scheduler.schedule_relative(wait, self._play)
                return
            self._next += 1
            if line.event is None:
                self._finish(line)
                return
            self._observer.on_next(line.event)

    def _finish(self, line: Line) -> None:
        if line.error is not None:
            self._observer.on_error(line.error.to_error())
        elif line.end == "completed":
            self._observer.on_completed()
        else:
            self._observer.on_error(StreamInterruptedError("the recorded stream was disposed at this point"))


class _WireLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of a wire recording: a response's begin, a piece of its body, or its end."""

    at: float
    response: int
    url: str | None = None
    status: int | None = None
    content_type: str | None = None
    body: str | None = None
    base64: str | None = None
    """The piece, where it is not whole UTF-8 text."""
    end: WireEnding | None = None

    def piece(self) -> bytes:
        return base64.b64decode(self.base64) if self.base64 is not None else (self.body or "").encode()


class _WireLog:
    """Writes the responses of one session to one file."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._path.write_bytes(b"")
        self._started = time.monotonic()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def response(self, response: requests.Response, *_: object, **__: object) -> None:
        """As a hook of the session: note that a response has begun, and read along."""
        number = next(self._numbers)
        url = response.url.partition("?")[0].rpartition("@")[2]
        self.write(_WireLine(self.now(), number, url, response.status_code, response.headers.get("content-type")))
        response.raw = _ReadAlong(cast(urllib3.HTTPResponse, response.raw), self, number)

    def now(self) -> float:
        return round(time.monotonic() - self._started, 6)

    def write(self, line: _WireLine) -> None:
        # Opened for each line: nobody says when a session has served its last response.
        with self._lock, self._path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")


class _ReadAlong:
    """A response's raw body that writes down what is read of it."""

    def __init__(self, raw: urllib3.HTTPResponse, log: _WireLog, number: int) -> None:
        self._raw = raw
        self._log = log
        self._number = number
        self._ended = False

    def __getattr__(self, name: str) -> object:
        if name == "_fp":  # the transport's way past urllib3, on which nothing could be written down
            raise AttributeError(name)
        return getattr(self._raw, name)

    def read1(self, amt: int | None = None, decode_content: bool | None = None) -> bytes:
        try:
            block = self._raw.read1(amt, decode_content=decode_content)
        except Exception:
            self._end("broken")
            raise
        if block:
            self._piece(block)
        else:
            self._end("complete")
        return block

    def close(self) -> None:
        self._end("closed")
        self._raw.close()

    def _piece(self, block: bytes) -> None:
        try:
            line = _WireLine(self._log.now(), self._number, body=redacted(block.decode()))
        except UnicodeDecodeError:
            line = _WireLine(self._log.now(), self._number, base64=base64.b64encode(block).decode())
        self._log.write(line)

    def _end(self, ending: WireEnding) -> None:
        if not self._ended:
            self._ended = True
            self._log.write(_WireLine(self._log.now(), self._number, end=ending))


def _reply(lines: list[_WireLine]) -> RawReply:
    pieces = [line.piece() for line in lines if line.body is not None or line.base64 is not None]
    complete = lines[-1].end == "complete"
    return RawReply(
        b"".join(pieces),
        content_type=lines[0].content_type,
        status=lines[0].status or 200,
        cuts=[len(piece) for piece in pieces],
        fault=None if complete else Drop(),
    )
