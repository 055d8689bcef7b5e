"""For tests of programs that talk to language models: a scripted server, and streams on virtual time.

Which one do I need?

- My program makes its own HTTP requests, or I want the real road: `LLMServer`, the pytest fixture
  `llm_server`. It speaks the protocols of OpenAI (chat and responses), Anthropic, Gemini and Ollama.
- I hold a piece back until my test lets it go: `Gate`.
- Something is to go wrong: `ErrorReply`, `Hang`, or a fault in a `Reply`: `Stall`, `Drop`, `Reset`,
  `Truncate`, `Fail`, `KeepAlive`.
- I have recorded bytes: `RawReply`. I want to record, and replay: `record_wire`, `wire_replies`, and
  `replay` for what `ops.record` wrote.
- I test what is built on models, or on virtual time: `ScriptedModel`, with the same replies and no HTTP.
- I test an operator: `scripted` (events at given times) and `marble` (the same, drawn).
"""

from .gates import Gate
from .recorded import RecordedRequest, WireName
from .recording import record_wire, replay, wire_replies
from .replies import (
    Answer,
    Drop,
    ErrorReply,
    Fail,
    Fault,
    Hang,
    HttpFraming,
    KeepAlive,
    RawReply,
    Reply,
    Reset,
    Stall,
    Truncate,
)
from .scripted import Step, marble, scripted
from .scripted_model import ModelReply, ScriptedCall, ScriptedModel
from .server import Answering, LLMServer, echo

__all__ = [
    "Answer",
    "Answering",
    "Drop",
    "ErrorReply",
    "Fail",
    "Fault",
    "Gate",
    "Hang",
    "HttpFraming",
    "KeepAlive",
    "LLMServer",
    "ModelReply",
    "RawReply",
    "RecordedRequest",
    "Reply",
    "Reset",
    "ScriptedCall",
    "ScriptedModel",
    "Stall",
    "Step",
    "Truncate",
    "WireName",
    "echo",
    "marble",
    "record_wire",
    "replay",
    "scripted",
    "wire_replies",
]
