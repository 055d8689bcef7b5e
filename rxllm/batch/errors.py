"""Errors between the processes of one run.

::

    LLMError
    └── WorkerLostError     the worker process of a prompt died, and so did those that retried it
"""

from __future__ import annotations

from ..errors import LLMError


class WorkerLostError(LLMError):
    """A worker's process or machine died, or lost its connection, while it asked the prompt."""

    transient = True
