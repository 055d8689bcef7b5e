"""Test programs that use language models: a scripted server, scripted models, and streams on virtual time.

Which one do I need?

- Your program makes its own HTTP requests, or you want real HTTP: `LLMServer`, the pytest fixture
  `llm_server`. It speaks the protocols of OpenAI (chat and responses), Anthropic, Gemini and Ollama.
- You want to hold a piece of an answer back until your test releases it: `Gate`.
- You want a failure: `ErrorReply`, `Hang`, or a fault in a `Reply`: `Stall`, `Drop`, `Reset`,
  `Truncate`, `Fail`, `KeepAlive`.
- You have recorded bytes: `RawReply`. You want to record and replay: `record_wire`, `wire_replies`, and
  `replay` for files that `ops.record` wrote.
- You test code that takes a model, or you need virtual time: `ScriptedModel`, with the same replies and no HTTP.
- You test an operator: `scripted` (events at given times) and `marble` (the same, drawn).
"""

from typing import TYPE_CHECKING

from .._lazy_imports import lazy_names

if TYPE_CHECKING:
    from .gates import Gate
    from .recorded import RecordedRequest, WireName
    from .recording import record_wire, replay, wire_replies
    from .replies import *
    from .scripted_model import ModelReply, ScriptedCall, ScriptedModel
    from .scripted_stream import Step, marble, scripted
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

__getattr__ = lazy_names(
    __name__, __all__, ("gates", "recorded", "replies", "recording", "scripted_stream", "scripted_model", "server")
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
