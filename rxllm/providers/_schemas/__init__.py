"""JSON schemas as each vendor takes them: rewritten if nothing is lost, else refused with the reason.

What a vendor does not enforce moves into the description, where the model reads it; the answer is validated
on this side in any case.
"""

from .anthropic import anthropic_schema
from .gemini import gemini_schema
from .nodes import SchemaError, format_name
from .strict import strict_schema
from .tools import inlined_parameters, tool_parameters

__all__ = [
    "SchemaError",
    "anthropic_schema",
    "format_name",
    "gemini_schema",
    "inlined_parameters",
    "strict_schema",
    "tool_parameters",
]
