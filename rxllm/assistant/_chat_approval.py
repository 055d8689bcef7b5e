"""Tool calls that wait for the user of a chat session."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from reactivex import Observable

from ..messages import ToolCall

ask: ContextVar[Callable[[ToolCall], Observable[bool | str]] | None] = ContextVar("rxllm_ask_user", default=None)
"""Set by a session around its turns."""


def ask_user(call: ToolCall) -> Observable[bool | str] | str:
    """Ask the user of the chat session whether a tool call may run; give it to an assistant as its `approve`.

    The call's part in the session's messages is "waiting" until `ChatSession.approve` decides. Outside of a session
    the call is refused.

    Args:
        call: The call.

    Returns:
        An Observable of the decision, or the reason of a refusal.

    Example:
        ``ChatSession(Assistant(model, tools=[delete_file], approve=ask_user))``
    """
    asking = ask.get()
    return "there is no user to ask" if asking is None else asking(call)
