"""JSON schemas as each vendor takes them: rewritten if nothing is lost, else refused with the reason.

What a vendor does not enforce moves into the description, where the model reads it; the answer is validated
on this side in any case.
"""

from .anthropic import AnthropicSchema
from .gemini import GeminiAnswerSchema, GeminiSchema
from .nodes import SchemaError, format_name
from .rewriter import Rewriter
from .strict import StrictSchema
from .tools import inlined_parameters, tool_parameters

__all__ = [
    "AnthropicSchema",
    "GeminiAnswerSchema",
    "GeminiSchema",
    "Rewriter",
    "SchemaError",
    "StrictSchema",
    "format_name",
    "inlined_parameters",
    "tool_parameters",
]
