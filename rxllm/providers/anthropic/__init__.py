"""Anthropic Messages.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from .decoder import AnthropicDecoder
from .request import Anthropic

__all__ = ["Anthropic", "AnthropicDecoder"]
