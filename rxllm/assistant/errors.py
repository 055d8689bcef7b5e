"""Errors of a turn beside the model's own."""

from __future__ import annotations

from ..errors import LLMError


class MaxIterationsError(LLMError):
    """The turn has made `max_iterations` requests, and the model still calls tools or gives no valid answer."""


class MemoryStoreError(LLMError):
    """A conversation could not be read or written. `__cause__` is the error of the store or the window."""
