"""Well-known models, as data: context size, longest answer, abilities, each row with its source and date.

Facts age: a model may have learnt more since, and a model that is missing here is not a worse one. So a preset
fills in a default (the budget of a memory, a line in a list), and never refuses a request. Models
on your own machine have no row: how much they take is what their server was started with.

To add a model, write a row into `model_presets.json`; leave out what its source does not say.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

import msgspec

from .._arguments import check_arguments
from .._json import table
from .model_rules import ModelRules, model_rules
from .vendors import split_model, vendor_named

__all__ = ["Ability", "ModelPreset", "model_preset", "model_presets"]

Ability: TypeAlias = Literal["tools", "vision", "documents", "audio", "reasoning", "json_schema"]
"""`vision`, `documents` (PDF) and `audio` are what the model reads, `json_schema` what shapes its answers."""


class ModelPreset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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


@check_arguments
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


# OpenAI's days of retirement are from https://developers.openai.com/api/docs/deprecations.
_ROWS = table("rxllm.providers", "model_presets.json", tuple[ModelPreset, ...])
_presets = {(preset.provider, preset.model): preset for preset in _ROWS}
