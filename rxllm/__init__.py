"""Token streams from language models as ReactiveX Observables.

Start with `create_streaming_model`; the operators are in `rxllm.operators`. `import rxllm` alone
costs nothing: each name is loaded when you first use it (PEP 562).
"""

from typing import TYPE_CHECKING

from ._lazy_imports import lazy_names

if TYPE_CHECKING:
    from . import aio, assistant, operators, ui
    from .errors import *
    from .events import *
    from .messages import *
    from .model import StreamingModel, create_streaming_model, stream_chat
    from .options import CallOptions, JsonFormat, Timeout, Tool
    from .prompt import Prompt
    from .providers.local import LocalServer
    from .providers.model_presets import ModelPreset, model_preset, model_presets
    from .providers.vendors import Vendor, register_provider, vendors
    from .resilient import continuing, resilient_model
    from .sinks.iterate import iter_events, iter_text
    from .sinks.shared_stream import forget_shared_stream, shared_stream

    __version__: str

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AudioPart",
    "AuthenticationError",
    "BadRequestError",
    "CallOptions",
    "ConfigurationError",
    "ContextWindowExceededError",
    "DocumentPart",
    "FinishReason",
    "ImagePart",
    "JsonFormat",
    "LLMError",
    "LocalServer",
    "Message",
    "MissingPackageError",
    "ModelPreset",
    "NotFoundError",
    "OutputParsingError",
    "OverloadedError",
    "Part",
    "PermissionDeniedError",
    "Prompt",
    "ProtocolError",
    "ProviderStreamError",
    "RateLimitError",
    "ReasoningDelta",
    "ReasoningPart",
    "Response",
    "ServerError",
    "StreamEnd",
    "StreamError",
    "StreamInterruptedError",
    "StreamReset",
    "StreamStart",
    "StreamingModel",
    "TextDelta",
    "TextPart",
    "Timeout",
    "Timing",
    "TokenEvent",
    "Tool",
    "ToolArgumentsError",
    "ToolCall",
    "ToolCallDelta",
    "ToolCallEnd",
    "ToolCallStart",
    "ToolResult",
    "Usage",
    "UsageUpdate",
    "Vendor",
    "VendorEvent",
    "VendorPart",
    "__version__",
    "aio",
    "assistant",
    "continuing",
    "create_streaming_model",
    "event_from_json",
    "event_to_json",
    "forget_shared_stream",
    "iter_events",
    "iter_text",
    "messages_from_json",
    "messages_to_json",
    "model_preset",
    "model_presets",
    "operators",
    "register_provider",
    "resilient_model",
    "shared_stream",
    "stream_chat",
    "ui",
    "vendors",
]

_load = lazy_names(
    __name__,
    __all__,
    (
        "errors",
        "events",
        "messages",
        "options",
        "prompt",
        "model",
        "providers.vendors",
        "providers.local",
        "providers.model_presets",
        "sinks.iterate",
        "sinks.shared_stream",
        "resilient",
        "operators",
        "aio",
        "assistant",
        "ui",
    ),
)


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("rxllm")
    return _load(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
