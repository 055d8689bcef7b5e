"""How a turn may fail beside the model's own errors."""

from __future__ import annotations

from ..errors import LLMError


class MaxIterationsError(LLMError):
    """The model still asked for tools, or gave no valid answer, when the turn's last step was over."""


class MemoryStoreError(LLMError):
    """A conversation could not be read or written; the store's own error is the cause."""
