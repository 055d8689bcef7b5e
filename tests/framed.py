"""A body's frames, however it is cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rxllm._framing import NDJSONFraming, SSEFraming
from rxllm._wire import Frame


def framed(framing: SSEFraming | NDJSONFraming, blocks: Iterable[bytes]) -> Iterator[Frame]:
    """All frames of a body that comes in these blocks, as the stream core asks for them."""
    for block in blocks:
        yield from framing.feed(block)
    yield from framing.close()
