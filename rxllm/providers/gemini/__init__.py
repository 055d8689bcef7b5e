"""Google Gemini generateContent.

Source: https://ai.google.dev/api/generate-content
"""

from .decoder import GeminiDecoder
from .wire import Gemini

__all__ = ["Gemini", "GeminiDecoder"]
