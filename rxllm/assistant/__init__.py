"""Assistants: conversation, tools and structured answers as one stream. Start with `Assistant`.

A turn with tools is one Observable: text, tool calls, results and further steps as they happen. It can be cancelled at
any point. `Memory` keeps conversations.
"""

from ._chat_approval import ask_user
from ._chat_messages import (
    ChatMessage,
    ChatPart,
    ChatState,
    ChatStatus,
    ErrorPart,
    MessageStatus,
    ToolPart,
    ToolState,
)
from ._turn_request import Approve, System, TurnContext
from .assistant import Assistant
from .chat_session import ChatSession
from .errors import MaxIterationsError, MemoryStoreError
from .events import (
    AnswerRejected,
    ApprovalRequest,
    AssistantEvent,
    PartialAnswer,
    StepEnd,
    StepStart,
    StructuredAnswer,
    ToolEnd,
    ToolProgress,
    ToolStart,
    TypedEvent,
    assistant_event_from_json,
    assistant_event_to_json,
    token_events,
)
from .listeners import LoggingListener, ModelListener, ModelRequest, TokenTracker, observed
from .memory import (
    InMemoryStore,
    Memory,
    MemoryStore,
    Summary,
    Window,
    last_messages,
    last_tokens,
    message_tokens,
    within_context,
)
from .sqlite import SQLiteStore
from .structured import StructuredMode
from .templates import render, template_variables
from .tools import FunctionTool, RunnableTool, ToolContext, ToolLike

__all__ = [
    "AnswerRejected",
    "ApprovalRequest",
    "Approve",
    "Assistant",
    "AssistantEvent",
    "ChatMessage",
    "ChatPart",
    "ChatSession",
    "ChatState",
    "ChatStatus",
    "ErrorPart",
    "FunctionTool",
    "InMemoryStore",
    "LoggingListener",
    "MaxIterationsError",
    "Memory",
    "MemoryStore",
    "MemoryStoreError",
    "MessageStatus",
    "ModelListener",
    "ModelRequest",
    "PartialAnswer",
    "RunnableTool",
    "SQLiteStore",
    "StepEnd",
    "StepStart",
    "StructuredAnswer",
    "StructuredMode",
    "Summary",
    "System",
    "TokenTracker",
    "ToolContext",
    "ToolEnd",
    "ToolLike",
    "ToolPart",
    "ToolProgress",
    "ToolStart",
    "ToolState",
    "TurnContext",
    "TypedEvent",
    "Window",
    "ask_user",
    "assistant_event_from_json",
    "assistant_event_to_json",
    "last_messages",
    "last_tokens",
    "message_tokens",
    "observed",
    "render",
    "template_variables",
    "token_events",
    "within_context",
]
