"""Well-known models, as data: context size, longest answer, abilities, each row with its source and date.

Facts age: a model may have learnt more since, and a model that is missing here is not a worse one. So a preset
fills in a default (the budget of a memory, a line in a list), and never refuses a request. Models
on your own machine have no row: how much they take is what their server was started with.

To add a model, write a row; leave out what its source does not say.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, TypeAlias, cast

import msgspec

from .catalog import split_model, vendor_named
from .model_rules import ModelRules, model_rules

__all__ = ["Ability", "ModelPreset", "model_preset", "model_presets"]

Ability: TypeAlias = Literal["tools", "vision", "documents", "audio", "reasoning", "json_schema"]
"""`vision`, `documents` (PDF) and `audio` are what the model reads, `json_schema` what shapes its answers."""


class ModelPreset(msgspec.Struct, frozen=True, kw_only=True):
    """What `source` stated about a model on the day `date`.

    Args:
        provider: The provider's name, as for `create_streaming_model`.
        model: The model's name.
        context_window: The tokens that prompt and answer have together.
        max_output: The tokens of the longest answer; None if the source names none.
        abilities: What the model is known to do; another ability is not known.
        source: Where the facts are from: a URL, or a list of models.
        date: The day on which the source was read (ISO 8601).
        retires: The day from which the vendor may switch the model off (ISO 8601); None if none is announced.
    """

    provider: str
    model: str
    context_window: int
    max_output: int | None
    abilities: frozenset[Ability]
    source: str
    date: str
    retires: str | None = None

    @property
    def rules(self) -> ModelRules | None:
        """The efforts, budgets and other options that the model takes; None if nothing is known of them."""
        return model_rules(self.provider, self.model)

    @property
    def max_input(self) -> int:
        """Return what is left of the context window beside the longest answer, which gets half of it at most.

        >>> model_preset("openai:gpt-4o-mini").max_input
        111616
        """
        half = self.context_window // 2
        return self.context_window - min(half, self.max_output or half)


def model_preset(provider: str, model: str | None = None) -> ModelPreset | None:
    """Return the preset of a model; None if there is none.

    Args:
        provider: The provider's name, or provider and model as one text: `"openai:gpt-5.4-mini"`.
        model: The model's name; None: the one in `provider`, else the provider's default model. A name with a date
            at its end, such as vendors answer with, is found under the name without it.

    Returns:
        The preset, or None.

    Raises:
        ConfigurationError: There is no such provider.

    >>> model_preset("anthropic", "claude-haiku-4-5-20251001").context_window
    200000
    """
    name, named = split_model(provider)
    wanted = model or named or vendor_named(name).default_model or ""
    seller = _seller(name)
    return _presets.get((seller, wanted)) or _presets.get((seller, _DATE.sub("", wanted)))


def model_presets(provider: str | None = None) -> tuple[ModelPreset, ...]:
    """Return all presets, or those of one provider.

    Args:
        provider: The provider's name; None: all.

    Returns:
        The presets, in the order of the table.

    Raises:
        ConfigurationError: There is no such provider.
    """
    seller = None if provider is None else _seller(vendor_named(provider).name)
    return tuple(preset for preset in _ROWS if seller in (None, preset.provider))


def _seller(provider: str) -> str:
    return "openai" if provider == "openai-responses" else provider


_DATE = re.compile(r"-(?:\d{8}|\d{4}-\d{2}-\d{2})$")


class _Source(NamedTuple):
    text: str
    date: str


_CLAUDE = _Source("https://platform.claude.com/docs/en/models/overview", "2026-11-26")
_GOOGLE = _Source(
    "https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/guides/gemini-3-8-flash", "2026-11-26"
)
# Two lists that are kept well, and name the vendors' pages; OpenAI's days of retirement are from its own,
# https://developers.openai.com/api/docs/deprecations.
_LITELLM = _Source("the model list of litellm 1.110.2 (MIT)", "2026-11-26")
_BOTH = _Source("the model lists of litellm 1.110.2 (MIT) and genai-prices 0.2.3 (MIT), which agree", "2026-11-26")


def _row(
    provider: str,
    model: str,
    context_window: int,
    max_output: int | None,
    abilities: str,
    source: _Source,
    *,
    retires: str | None = None,
) -> ModelPreset:
    return ModelPreset(
        provider=provider,
        model=model,
        context_window=context_window,
        max_output=max_output,
        abilities=cast("frozenset[Ability]", frozenset(abilities.split())),  # a test holds the words to the type
        source=source.text,
        date=source.date,
        retires=retires,
    )


_SEES = "tools vision documents json_schema"
_THINKS = "tools vision documents reasoning json_schema"
_HEARS = "tools vision documents audio reasoning json_schema"

_ROWS = (
    _row("openai", "gpt-4o", 128_000, 16_384, _SEES, _BOTH, retires="2027-01-14"),
    _row("openai", "gpt-4o-mini", 128_000, 16_384, _SEES, _BOTH, retires="2027-01-14"),
    _row("openai", "gpt-4.1", 1_047_576, 32_768, _SEES, _LITELLM, retires="2027-01-14"),
    _row("openai", "gpt-4.1-mini", 1_047_576, 32_768, _SEES, _LITELLM, retires="2027-01-14"),
    _row("openai", "gpt-5", 400_000, 128_000, _THINKS, _BOTH, retires="2026-12-11"),
    _row("openai", "gpt-5-mini", 400_000, 128_000, _THINKS, _BOTH, retires="2026-12-11"),
    _row("openai", "gpt-5-nano", 400_000, 128_000, _THINKS, _BOTH, retires="2026-12-11"),
    _row("openai", "gpt-5.1", 400_000, 128_000, _THINKS, _BOTH, retires="2027-04-01"),
    _row("openai", "gpt-5.2", 400_000, 128_000, _THINKS, _BOTH),
    _row("openai", "gpt-5.4", 1_050_000, 128_000, _THINKS, _BOTH),
    _row("openai", "gpt-5.4-mini", 400_000, 128_000, _THINKS, _BOTH),
    _row("openai", "gpt-5.4-nano", 400_000, 128_000, _THINKS, _BOTH, retires="2027-04-01"),
    _row("openai", "gpt-5.6-sol", 1_050_000, 128_000, _THINKS, _BOTH),
    _row("openai", "gpt-5.6-terra", 1_050_000, 128_000, _THINKS, _BOTH),
    _row("openai", "gpt-5.6-luna", 1_050_000, 128_000, _THINKS, _BOTH),
    _row("openai", "gpt-6-astra", 1_050_000, 128_000, _THINKS, _BOTH),
    _row("openai", "gpt-6-sol", 1_050_000, 128_000, _THINKS, _BOTH),
    _row("openai", "gpt-6-luna", 1_050_000, 128_000, _THINKS, _BOTH),
    _row("openai", "gpt-6.1-sol", 1_050_000, 128_000, _THINKS, _BOTH),
    _row("openai", "gpt-6.1-terra", 1_050_000, 128_000, _THINKS, _BOTH),
    _row("openai", "o3", 200_000, 100_000, _THINKS, _BOTH, retires="2026-12-11"),
    _row("anthropic", "claude-haiku-4-5", 200_000, 64_000, "tools vision reasoning", _CLAUDE),
    _row("anthropic", "claude-haiku-5-5", 1_000_000, 128_000, "tools vision reasoning", _CLAUDE),
    _row("anthropic", "claude-sonnet-5", 1_000_000, 128_000, "tools vision reasoning", _CLAUDE),
    _row("anthropic", "claude-sonnet-5-5", 1_000_000, 128_000, "tools vision reasoning", _CLAUDE),
    _row("anthropic", "claude-opus-5", 1_000_000, 128_000, "tools vision reasoning", _CLAUDE),
    _row("anthropic", "claude-opus-5-5", 1_000_000, 128_000, "tools vision reasoning", _CLAUDE),
    _row("anthropic", "claude-fable-5-1", 1_000_000, 128_000, "tools vision reasoning", _CLAUDE),
    _row("anthropic", "claude-fable-5-2", 1_000_000, 128_000, "tools vision reasoning", _CLAUDE),
    _row("gemini", "gemini-flash-latest", 1_048_576, 65_536, _HEARS, _LITELLM),
    _row("gemini", "gemini-flash-lite-latest", 1_048_576, 65_536, _HEARS, _LITELLM),
    _row("gemini", "gemini-pro-latest", 1_048_576, 65_536, _HEARS, _LITELLM),
    _row("gemini", "gemini-2.5-flash", 1_048_576, 65_536, _HEARS, _BOTH, retires="2026-12-01"),
    _row("gemini", "gemini-2.5-pro", 1_048_576, 65_536, _HEARS, _LITELLM, retires="2026-12-01"),
    _row("gemini", "gemini-3.1-pro-preview", 1_048_576, 65_536, "vision audio reasoning", _GOOGLE),
    _row("gemini", "gemini-3.5-flash", 1_048_576, 65_536, _HEARS, _LITELLM),
    _row("gemini", "gemini-3.5-flash-lite", 1_048_576, 65_536, _HEARS, _LITELLM),
    _row("gemini", "gemini-3.6-flash", 1_048_576, 65_536, _HEARS, _LITELLM),
    _row("gemini", "gemini-3.7-flash", 1_048_576, 65_536, "vision audio reasoning", _GOOGLE),
    _row("gemini", "gemini-3.8-flash", 1_048_576, 65_536, "vision audio reasoning", _GOOGLE),
    _row("mistral", "mistral-small-latest", 262_144, None, "tools vision reasoning json_schema", _LITELLM),
    _row("mistral", "mistral-medium-latest", 262_144, None, "tools vision reasoning json_schema", _LITELLM),
    _row("mistral", "mistral-large-latest", 262_144, None, "tools vision json_schema", _LITELLM),
    _row("mistral", "mistral-large-4", 1_048_576, None, "tools vision reasoning json_schema", _BOTH),
    _row("deepseek", "deepseek-flash", 1_000_000, 393_216, "tools reasoning", _BOTH),
    _row("deepseek", "deepseek-v4-pro", 1_000_000, 393_216, "tools reasoning", _BOTH),
    _row("xai", "grok-4.3", 1_000_000, None, "tools vision reasoning json_schema", _BOTH),
    _row("xai", "grok-4.5", 500_000, None, "tools vision reasoning json_schema", _BOTH),
    _row("xai", "grok-4.6", 500_000, None, "tools vision reasoning json_schema", _BOTH),
    _row("xai", "grok-4.7", 500_000, None, "tools vision reasoning json_schema", _BOTH),
    _row("groq", "openai/gpt-oss-20b", 131_072, 65_536, "tools reasoning json_schema", _BOTH),
    _row("groq", "openai/gpt-oss-120b", 131_072, 65_536, "tools reasoning json_schema", _BOTH),
    _row("groq", "qwen/qwen3.8-27b", 131_072, 16_384, "tools vision reasoning json_schema", _BOTH),
    _row("together", "openai/gpt-oss-120b", 131_072, None, "tools reasoning json_schema", _BOTH),
    _row("fireworks", "accounts/fireworks/models/gpt-oss-20b", 131_072, 32_768, "tools reasoning json_schema", _BOTH),
    _row("cerebras", "gpt-oss-120b", 131_072, 32_768, "tools reasoning json_schema", _BOTH),
    _row("cerebras", "qwen-3.8-27b", 65_536, 32_768, "tools vision reasoning json_schema", _BOTH),
    _row("perplexity", "sonar", 128_000, None, "", _BOTH),
    _row("perplexity", "sonar-pro", 200_000, 8_000, "", _BOTH),
    _row("perplexity", "sonar-reasoning-pro", 128_000, None, "reasoning", _BOTH),
    _row("perplexity", "sonar-deep-research", 128_000, None, "reasoning", _BOTH),
)
_presets = {(preset.provider, preset.model): preset for preset in _ROWS}
