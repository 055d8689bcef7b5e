"""Google Gemini generateContent.

Source: https://ai.google.dev/api/generate-content
"""

from .decoder import GeminiDecoder
from .request import Gemini

__all__ = ["Gemini", "GeminiDecoder"]
