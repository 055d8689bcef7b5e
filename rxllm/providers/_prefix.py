"""How vendors want to be asked to continue a cut answer; which of them do is in `vendors.json`.

To continue means to send the text so far as the beginning of the assistant's answer (a prefix, or
"prefill") and to get what follows it. Each vendor has a way of its own, and most have none: there a
last message of the assistant's is refused, or answered from its start, which would repeat the text.

Sources, looked up in 2026:
- Anthropic: Claude up to 4.5, without thinking; from 4.6 on it is a 400.
  https://platform.claude.com/docs/en/about-claude/models/whats-new-claude-4-6
- DeepSeek: `prefix`, on the beta address. https://api-docs.deepseek.com/guides/chat_prefix_completion
- Mistral: `prefix`; the answer repeats the prefix. https://docs.mistral.ai/guides/prefix
- Groq: https://console.groq.com/docs/prefilling
- OpenRouter: what the model behind it allows. https://openrouter.ai/docs/api-reference/overview
- Ollama: ollama/ollama issue 6778. llama.cpp: pull request 13174; not while it thinks (15404).
- vLLM: `continue_final_message`. https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
- Gemini: up to 3.1; later ones answer 400 (pipecat-ai/pipecat pull request 5821). Google does not document it.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ..messages import Message, VendorPart


class PrefixForm(msgspec.Struct, frozen=True, kw_only=True):
    """How one vendor wants a prefix: a last message of the assistant's, and what else."""

    models: str = ""
    """Pattern for the start of the model names that accept a prefix; empty: all models."""
    message_fields: Mapping[str, object] | None = None
    """Fields of that message, on the wire of OpenAI Chat Completions."""
    body_fields: Mapping[str, object] | None = None
    """Fields of the request."""
    thinks: bool = True
    """Whether the model may think before it continues."""

    def marked(self, message: Message) -> Message:
        """Return the message as this vendor wants it."""
        if self.message_fields is None:
            return message
        return Message(message.role, (*message.parts, VendorPart("openai-chat", dict(self.message_fields))))
