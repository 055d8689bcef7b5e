"""Ollama /api/chat.

Source: https://docs.ollama.com/api/chat
"""

from .decoder import OllamaDecoder
from .request import Ollama

__all__ = ["Ollama", "OllamaDecoder"]
