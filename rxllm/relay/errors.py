"""What can go wrong between the processes of one stream.

::

    StreamError
    ├── StreamInterruptedError
    │   └── ProducerLostError       whoever produced the stream is gone
    ├── StreamTakenError            another producer has the id, or has had it
    └── StreamGoneError             nothing is kept under the id, or not all that was asked for
"""

from __future__ import annotations

from ..errors import StreamError, StreamInterruptedError


class ProducerLostError(StreamInterruptedError):
    """The producer has not renewed its lease: its process has died, or is cut off from Redis."""


class StreamTakenError(StreamError):
    """Another producer has, or has had, the id: nothing more of this one's is published."""


class StreamGoneError(StreamError):
    """Nothing is known of the id, or the events asked for are no longer kept."""
