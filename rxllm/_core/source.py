"""What a stream consists of."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from reactivex import abc

from .._protocol import Decoder, WireRequest
from .._transport.framing import MAX_FRAME_BYTES
from .._transport.http import Transport
from ..options import Timeout


class Source(msgspec.Struct, frozen=True):
    """A provider, the request, and how its answer is read.

    `request` is called on the producing thread, and may block. `scheduler` is the producing one; None means a thread
    of our own.
    """

    provider: str
    model: str
    request: Callable[[], WireRequest]
    decoder: Callable[[], Decoder]
    transport: Transport
    timeout: Timeout
    scheduler: abc.SchedulerBase | None = None
    max_event_bytes: int = MAX_FRAME_BYTES
    max_answer_chars: int | None = None
