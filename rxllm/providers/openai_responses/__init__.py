"""OpenAI Responses, stateless.

Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from .decoder import OpenAIResponsesDecoder
from .request import OpenAIResponses

__all__ = ["OpenAIResponses", "OpenAIResponsesDecoder"]
