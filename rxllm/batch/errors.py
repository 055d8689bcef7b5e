"""What can go wrong between the machines of one run.

::

    LLMError
    └── WorkerLostError     the process that asked a prompt is gone, and so were those that tried again
"""

from __future__ import annotations

from ..errors import LLMError


class WorkerLostError(LLMError):
    """A worker's process or machine died, or was cut off, with the prompt in its hands."""

    transient = True
