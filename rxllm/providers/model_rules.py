"""Which options each model takes, as data: efforts, budgets, sampling and forced tools, with source and date.

A request that a vendor is known to refuse raises `ConfigurationError` before it is sent. A model that no
row names gets what you ask: the vendor decides. To add a model, write a row into `model_rules.json`; the first
row that matches counts.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

import msgspec

from .._json import table
from ..errors import ConfigurationError
from ..options import Options
from ._request import refuse_options, unsupported_option

When: TypeAlias = Literal["always", "without thinking", "never"]
"""When a model takes an option: always, only while it does not think, or never."""

Off: TypeAlias = Literal["effort", "disabled", "between_tools", "budget", "nothing"]
"""How thinking is turned off: by the effort "none", by thinking.type "disabled" or "between_tools", by a budget of 0;
"nothing" need be sent if a model never thinks."""


class ModelRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the models whose names begin with `models` (a regular expression) take, as `source` stated on `date`."""

    models: str
    efforts: tuple[str, ...] = ()
    """The words that `reasoning=` takes, without "none"."""
    off: Off | None = None
    """How to turn thinking off; None if it cannot be turned off, or the model does not think."""
    budgets: tuple[int, int] | None = None
    """The smallest and largest budget in tokens; None if the model takes none."""
    thinks: bool = True
    """Whether the model thinks if `reasoning=` is not given."""
    sampling: When = "always"
    """When it takes temperature, top_p and the like. Their defaults (1, or a penalty of 0) always pass."""
    min_top_p: float = 1.0
    """The smallest top_p that it takes if `sampling` does not allow any other."""
    forced_tool: When = "always"
    """When it takes a `tool_choice` of "required" or of one tool."""
    show_thoughts: bool = False
    """Whether Anthropic's thoughts are requested also without `reasoning=`: the model writes its text between tool
    calls into them, and leaves them empty by default."""
    tools_on_chat: When = "always"
    """When OpenAI Chat Completions takes function tools for it."""
    unsupported: tuple[str, ...] = ()
    """Other options that it refuses."""
    source: str
    date: str

    def is_thinking(self, options: Options) -> bool:
        """Return whether the model thinks under these options."""
        return self.thinks if options.reasoning is None else not is_off(options.reasoning)

    def check(self, options: Options, provider: str, model: str) -> None:
        """Raise `ConfigurationError` naming an option that the model refuses.

        Args:
            options: The options of the request.
            provider: The provider's name, for the message.
            model: The model's name, for the message.

        Raises:
            ConfigurationError: The model refuses one of the options.
        """
        name = f"{provider}:{model}"
        self._check_reasoning(options.reasoning, name)
        thinking = self.is_thinking(options)
        refuse_options(self.unsupported, options, name, "the model refuses it")
        if not _allows(self.sampling, thinking):
            advice = "give reasoning=0 with it" if self.sampling == "without thinking" and self.off else "leave it out"
            for option, default in _SAMPLING.items():
                value = getattr(options, option)
                if value not in (None, default) and not (option == "top_p" and value >= self.min_top_p):
                    raise unsupported_option(option, name, f"the model refuses it while it thinks; {advice}")
        if options.tool_choice not in (None, "auto", "none") and not _allows(self.forced_tool, thinking):
            advice = "give reasoning=0" if self.forced_tool == "without thinking" and self.off else 'say "auto"'
            raise unsupported_option("tool_choice", name, f"the model refuses to be forced to a tool; {advice}")

    def _check_reasoning(self, wanted: str | int | None, name: str) -> None:
        """Raise `ConfigurationError` if the model takes no such effort or budget, or cannot stop thinking."""
        if wanted is None:
            return
        known = "it takes " + (" ".join(self.efforts) or "no efforts")
        if is_off(wanted):
            if self.off is None:
                raise unsupported_option("reasoning", name, f"thinking cannot be turned off; {known}")
        elif isinstance(wanted, str):
            if wanted not in self.efforts:
                raise unsupported_option("reasoning", name, f"{known}, not {wanted!r}")
        elif self.budgets is None:
            raise unsupported_option("reasoning", name, f"{known}, no token budget")
        elif not self.budgets[0] <= wanted <= self.budgets[1]:
            bounds = f"{self.budgets[0]} to {self.budgets[1]}"
            raise unsupported_option("reasoning", name, f"a budget has {bounds} tokens, not {wanted}")


def is_off(reasoning: str | int) -> bool:
    """Return whether `reasoning` turns thinking off: 0 and "none" do."""
    return reasoning in (0, "none")


def model_rules(maker: str, model: str) -> ModelRules | None:
    """Return the rules for a model; None if no row names it.

    Args:
        maker: The table: "openai", "anthropic", "gemini", "deepseek", "xai", "mistral", "groq" or "cerebras".
        model: The model's name, also with a prefix and dots as other platforms write it ("anthropic/claude-opus-4.7").

    Returns:
        The first row that matches the name, or None.

    >>> model_rules("openai", "gpt-5.1-2025-11-13").efforts
    ('low', 'medium', 'high')
    """
    name = model.lower().rpartition("/")[2]
    if maker == "anthropic":  # Bedrock and Vertex write "us.anthropic.claude-opus-4-7-v1:0" and the like
        name = re.sub(r"^.*?(?=claude-)", "", name.replace(".", "-"))
    return next((row for row in RULES.get(maker, ()) if re.match(row.models, name)), None)


def checked_rules(maker: str, model: str, options: Options, provider: str) -> ModelRules | None:
    """Return the rules for a model, if there are any; raise `ConfigurationError` for an option that it refuses."""
    rules = model_rules(maker, model)
    if rules is not None:
        rules.check(options, provider, model)
    return rules


def check_tools_on_chat(rules: ModelRules, options: Options, provider: str, model: str) -> None:
    """Raise `ConfigurationError` if OpenAI Chat Completions refuses function tools for a thinking model."""
    if options.tools and not _allows(rules.tools_on_chat, rules.is_thinking(options)):
        raise ConfigurationError(
            f"{provider}:{model} takes function tools on Chat Completions only with reasoning='none'; "
            "give that, or use the provider 'openai-responses'",
            provider=provider,
        )


def _allows(when: When, thinking: bool) -> bool:
    return when == "always" or (when == "without thinking" and not thinking)


_SAMPLING = {"temperature": 1, "top_p": 1, "top_k": None, "frequency_penalty": 0, "presence_penalty": 0}
"""The sampling options and their defaults."""


RULES = table("rxllm.providers", "model_rules.json", dict[str, tuple[ModelRules, ...]])
"""The rows of each maker."""
