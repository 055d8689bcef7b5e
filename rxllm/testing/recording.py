"""Test on real streams: record one once, and replay it.

Two kinds of recording, both lines of JSON with times in seconds:

- of events, written by the operator `record(path)`, replayed as an Observable by `replay(path)`;
- of the bytes on the wire, written by the session of `record_wire(path)`, replayed by a real
  server with `LLMServer(*wire_replies(path))`.

A recording holds no request and no header but the content type. Text that looks like a key is
removed from errors and bodies.
"""

from __future__ import annotations

import base64
import itertools
import threading
import time
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
import requests
from reactivex import Observable, abc
from reactivex.scheduler import EventLoopScheduler

from .._core.awaitable import AwaitableObservable
from .._core.error_format import redacted
from .._core.recording_format import read_recording
from .._schema import decoder
from .._transport.body import Body
from ..errors import StreamInterruptedError
from ..events import TokenEvent
from .replies import Drop, RawReply
from .scripted_stream import Playback, PlayedStep

WireEnding: TypeAlias = Literal["complete", "closed", "broken"]


def replay(
    path: str | Path, *, speed: float | None = 1.0, scheduler: abc.SchedulerBase | None = None
) -> Observable[TokenEvent]:
    """Return a recorded stream as a cold Observable: each subscription plays it from the start.

    It ends as the recorded stream did, with an error of the same type and content. A recording
    that is cut off, or whose stream was disposed, ends with a `StreamInterruptedError`.

    Args:
        path: a file that `ops.record` wrote.
        speed: 1 keeps the recorded times, 2 plays twice as fast, None does not wait.
        scheduler: where it plays; default: a thread for each subscription. A `TestScheduler`
            plays it in virtual time.

    Returns:
        The Observable of the recorded events.

    Raises:
        ValueError: `speed` is not above 0.
    """
    if speed is not None and not speed > 0:
        raise ValueError(f"speed is a number above 0, or None for no waiting; got {speed!r}")

    def subscribe(observer: abc.ObserverBase[TokenEvent], _: abc.SchedulerBase | None) -> abc.DisposableBase:
        plays_on = scheduler or EventLoopScheduler(exit_if_empty=True)
        return Playback(iter(_recorded_steps(path, speed)), observer, plays_on).start()

    return AwaitableObservable(subscribe)


def record_wire(path: str | Path) -> requests.Session:
    """Return a session that records the bodies of all its responses, for `create_streaming_model(session=)`.

    The file is complete once all streams have ended. You may set proxies and CAs on the session.

    Args:
        path: the file to write; its old content is lost.

    Returns:
        A `requests.Session`. It is as thread-safe as any other.
    """
    log = _WireLog(path)
    session = requests.Session()
    session.hooks["response"].append(log.response)
    return session


def wire_replies(path: str | Path) -> tuple[RawReply, ...]:
    """Return the recorded responses in the order in which they began, as replies of an `LLMServer`.

    Bodies are sent in the pieces in which they were read. A body that broke off breaks off again.

    Args:
        path: a file that a session of `record_wire` wrote.

    Returns:
        One `RawReply` for each response.
    """
    decode = decoder(_WireLine).decode
    responses: dict[int, list[_WireLine]] = {}
    for text in Path(path).read_bytes().splitlines():
        line = decode(text)
        responses.setdefault(line.response, []).append(line)
    return tuple(map(_reply, responses.values()))


def _recorded_steps(path: str | Path, speed: float | None) -> list[PlayedStep]:
    """Return what a recording plays."""
    steps: list[PlayedStep] = []
    for line in read_recording(path):
        at = 0.0 if speed is None else line.at / speed
        if line.event is not None:
            steps.append((at, line.event))
        elif line.error is not None:
            steps.append((at, line.error.to_error()))
        elif line.end == "completed":
            steps.append((at, None))
        else:
            steps.append((at, StreamInterruptedError("the recorded stream was disposed at this point")))
    return [*steps, (0.0, StreamInterruptedError("the recording was cut off before the stream ended"))]


class _WireLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of a wire recording: the start of a response, a piece of its body, or its end."""

    at: float
    response: int
    url: str | None = None
    status: int | None = None
    content_type: str | None = None
    body: str | None = None
    base64: str | None = None
    """The piece, if it is not valid UTF-8."""
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
        """Record that a response has begun, and record what is read of its body. A hook of `requests`."""
        number = next(self._numbers)
        url = response.url.partition("?")[0].rpartition("@")[2]
        self.write(_WireLine(self.now(), number, url, response.status_code, response.headers.get("content-type")))
        raw: Any = response.raw  # the transport's: it reads the `body` that it finds here after the hooks
        raw.body = _RecordedBody(raw.body, self, number)

    def now(self) -> float:
        return round(time.monotonic() - self._started, 6)

    def write(self, line: _WireLine) -> None:
        # Opened for each line: a session does not report its last response.
        with self._lock, self._path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")


class _RecordedBody(Body):
    """The body of a response that records what is read of it. It takes the place of `body`."""

    __slots__ = ("_ended", "_log", "_number")

    def __init__(self, body: Body, log: _WireLog, number: int) -> None:  # pyright: ignore[reportMissingSuperCall]
        for name in Body.__slots__:
            setattr(self, name, getattr(body, name))
        self._log = log
        self._number = number
        self._ended = False

    def read(self) -> bytes:
        """Read a block and record it."""
        try:
            block = super().read()
        except BaseException:
            self._end("broken")
            raise
        if block:
            self._piece(block)
        if self.at_end:
            self._end("complete")
        return block

    def close(self) -> None:
        self._end("closed")
        super().close()

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
    """Return the lines of one recorded response as a reply."""
    pieces = [line.piece() for line in lines if line.body is not None or line.base64 is not None]
    complete = lines[-1].end == "complete"
    return RawReply(
        b"".join(pieces),
        content_type=lines[0].content_type,
        status=lines[0].status or 200,
        cuts=[len(piece) for piece in pieces],
        fault=None if complete else Drop(),
    )
