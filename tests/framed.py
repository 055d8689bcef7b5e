"""A body's frames, however it is cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rxllm._protocol import Frame
from rxllm._transport.framing import NDJSONFraming, SSEFraming


def framed(framing: SSEFraming | NDJSONFraming, blocks: Iterable[bytes]) -> Iterator[Frame]:
    """All frames of a body that comes in these blocks, as the stream core asks for them."""
    for block in blocks:
        yield from framing.feed(block)
    yield from framing.close()
