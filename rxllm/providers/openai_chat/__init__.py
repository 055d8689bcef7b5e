"""OpenAI Chat Completions, in every vendor's dialect.

Source: https://platform.openai.com/docs/api-reference/chat-streaming
"""

from .decoder import OpenAIChatDecoder
from .request import OpenAIChat

__all__ = ["OpenAIChat", "OpenAIChatDecoder"]
