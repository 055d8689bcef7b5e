"""Errors between the processes of one stream.

::

    StreamError
    ├── StreamInterruptedError
    │   └── ProducerLostError       the producer of the stream was lost
    ├── StreamTakenError            another producer has, or had, the id
    └── StreamGoneError             there is no such stream, or events are no longer kept
"""

from __future__ import annotations

from ..errors import StreamError, StreamInterruptedError


class ProducerLostError(StreamInterruptedError):
    """The producer did not renew its lease: its process died, or has no connection to Redis."""


class StreamTakenError(StreamError):
    """Another producer has, or had, the id: this one publishes nothing more."""


class StreamGoneError(StreamError):
    """There is no stream with the id, or the requested events are no longer kept."""
