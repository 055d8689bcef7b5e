"""Which options each model takes, as data: efforts, budgets, sampling and forced tools, with source and date.

A request that a vendor is known to refuse raises `ConfigurationError` before it is sent. A model that no
row names gets what you ask: the vendor decides. To add a model, write a row; the first row that matches counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from ..errors import ConfigurationError
from ..options import Options
from ._request import unsupported_option

__all__ = ["MAKERS", "ModelRules", "model_rules", "rows_of"]

When: TypeAlias = Literal["always", "without thinking", "never"]
"""When a model takes an option: always, only while it does not think, or never."""

Off: TypeAlias = Literal["effort", "disabled", "between_tools", "budget", "nothing"]
"""How thinking is turned off: by the effort "none", by thinking.type "disabled" or "between_tools", by a budget of 0;
"nothing" need be sent if a model never thinks."""


class ModelRules(msgspec.Struct, frozen=True, kw_only=True):
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
        for option in self.unsupported:
            if getattr(options, option) not in (None, ()):
                raise unsupported_option(option, name, "the model refuses it")
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
    rows = _RULES.get(maker, ())
    name = model.lower()
    if maker == "anthropic":
        found = re.search(r"claude-.*", name.replace(".", "-"))
        name = found[0] if found else name
    elif maker != "groq":
        name = name.rpartition("/")[2]
    return next((row for row in rows if re.match(row.models, name)), None)


def rows_of(maker: str) -> Sequence[ModelRules]:
    """Return all rows of a maker's table."""
    return _RULES[maker]


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


def _rows(source: str, date: str, *rows: dict[str, object]) -> Sequence[ModelRules]:
    return [msgspec.convert({**row, "source": source, "date": date}, ModelRules) for row in rows]


def _row(models: str, efforts: str = "", **fields: object) -> dict[str, object]:
    return {"models": models, "efforts": efforts.split(), **fields}


_LOW_TO_HIGH = "low medium high"
_LOW_TO_XHIGH = "low medium high xhigh"
_LOW_TO_MAX = "low medium high xhigh max"

_OPENAI = _rows(
    "https://developers.openai.com/api/docs/guides/reasoning and /guides/latest-model; the profiles of "
    "pydantic-ai 2.68.0 (MIT), checked there against the API; tools on Chat: openai/openai-openapi issue 541, "
    "BerriAI/litellm pull request 34569",
    "2026-11-28",
    _row(r"gpt-6-astra|gpt-6\.1-sol", _LOW_TO_MAX, sampling="never", tools_on_chat="never"),
    _row(r"gpt-6", _LOW_TO_MAX, off="effort", sampling="without thinking", tools_on_chat="without thinking"),
    _row(r"gpt-5\.6", _LOW_TO_MAX, off="effort", sampling="without thinking", tools_on_chat="without thinking"),
    _row(r"gpt-5\.[245]-pro", "medium high xhigh", sampling="never", tools_on_chat="never"),
    _row(r"gpt-5\.5", _LOW_TO_XHIGH, off="effort", sampling="without thinking", tools_on_chat="without thinking"),
    _row(r"gpt-5\.[123]-chat", "medium", sampling="never"),
    _row(
        r"gpt-5\.4",
        _LOW_TO_XHIGH,
        off="effort",
        thinks=False,
        sampling="without thinking",
        tools_on_chat="without thinking",
    ),
    _row(r"gpt-5\.1-codex", _LOW_TO_XHIGH, sampling="never"),
    _row(r"gpt-5\.[23]", _LOW_TO_XHIGH, off="effort", thinks=False, sampling="without thinking"),
    _row(r"gpt-5\.1", _LOW_TO_HIGH, off="effort", thinks=False, sampling="without thinking"),
    _row(r"gpt-5-pro", "high", sampling="never", unsupported=["stop"]),
    _row(r"gpt-5-chat|gpt-4|gpt-3", thinks=False, off="nothing"),
    _row(r"gpt-5(?=$|-)", "minimal low medium high", sampling="never", unsupported=["stop"]),
    _row(r"o[134](?=$|-)", _LOW_TO_HIGH, sampling="never", unsupported=["stop"]),
)

_ANTHROPIC = _rows(
    "https://platform.claude.com/docs/en/build-with-claude/effort, /adaptive-thinking, /extended-thinking and "
    "https://platform.claude.com/docs/en/agents-and-tools/tool-use/define-tools#forcing-tool-use",
    "2026-11-28",
    _row(
        r"claude-(?:3-7-|(?:(?:sonnet|haiku)-4-5|opus-4(?:-[015])?|sonnet-4(?:-0)?)(?=$|[@:]|-\D|-\d{8}))",
        _LOW_TO_HIGH,
        off="disabled",
        budgets=[1024, 128_000],
        thinks=False,
        sampling="without thinking",
        min_top_p=0.95,
        forced_tool="without thinking",
    ),
    _row(
        r"claude-(?:sonnet|opus)-4-6",
        "low medium high max",
        off="disabled",
        budgets=[1024, 128_000],
        thinks=False,
        sampling="without thinking",
        min_top_p=0.95,
    ),
    _row(r"claude-opus-4-[78]", _LOW_TO_MAX, off="disabled", thinks=False, sampling="never"),
    _row(
        r"claude-(?:opus-5-5|(?:fable|mythos)-5-[12])",
        _LOW_TO_MAX,
        sampling="never",
        forced_tool="never",
        show_thoughts=True,
    ),
    _row(
        r"claude-sonnet-5-5",
        _LOW_TO_MAX,
        off="between_tools",
        sampling="never",
        forced_tool="never",
        show_thoughts=True,
    ),
    _row(r"claude-(?:fable|mythos)-", _LOW_TO_MAX, sampling="never"),
    _row(r"claude-(?:opus-5|sonnet-5|haiku-5-5)(?!\d)", _LOW_TO_MAX, off="disabled", sampling="never"),
)

_GEMINI = _rows(
    "https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/thinking and "
    "https://ai.google.dev/gemini-api/docs/thinking",
    "2026-11-28",
    _row(r"gemini-2\.5-flash-image|gemini-2\.0|gemini-1|gemma-[123]", thinks=False, off="nothing"),
    _row(r"gemini-2\.5-flash-lite", _LOW_TO_HIGH, off="budget", budgets=[-1, 24_576], thinks=False),
    _row(r"gemini-2\.5-flash", _LOW_TO_HIGH, off="budget", budgets=[-1, 24_576]),
    _row(r"gemini-2\.5-pro", _LOW_TO_HIGH, budgets=[-1, 32_768]),
    _row(r"gemini-3-pro-image", "high"),
    _row(r"gemini-3[\d.]*-(?:pro|flash)-image", "minimal high"),
    _row(r"gemini-3-pro", "low high", budgets=[-1, 32_768]),
    _row(r"gemini-3\.1-pro", _LOW_TO_HIGH, budgets=[-1, 32_768]),
    _row(r"gemini-3-flash", "minimal low medium high", budgets=[-1, 32_768]),
    _row(r"gemini-3\.[78]-flash|gemini-4-(?:argon|carbon)", _LOW_TO_HIGH),
    _row(r"gemini-4-hydrogen", _LOW_TO_XHIGH),
    _row(r"gemini-3|gemini-(?:flash|flash-lite|pro)-latest", "minimal low medium high"),
)

_DEEPSEEK = _rows(
    "https://api-docs.deepseek.com/guides/thinking_mode",
    "2026-11-28",
    _row(r"deepseek-chat", thinks=False, off="nothing"),
    _row(
        r"deepseek-",
        "minimal low medium high xhigh max",
        off="disabled",
        forced_tool="without thinking",
    ),
)

_XAI = _rows(
    "https://docs.x.ai/developers/model-capabilities/text/reasoning and /developers/migration/may-15-retirement",
    "2026-11-28",
    _row(r"grok-4\.20-multi-agent", _LOW_TO_XHIGH, unsupported=["stop", "presence_penalty", "frequency_penalty"]),
    _row(
        r"grok-code-fast|grok-build|grok-4\.20",
        unsupported=["stop", "presence_penalty", "frequency_penalty"],
    ),
    _row(r"grok-4\.[67]", _LOW_TO_XHIGH, unsupported=["stop", "presence_penalty", "frequency_penalty"]),
    _row(r"grok-4\.5", _LOW_TO_HIGH, unsupported=["stop", "presence_penalty", "frequency_penalty"]),
    _row(
        r"grok-4\.3|grok-latest",
        _LOW_TO_HIGH,
        off="effort",
        unsupported=["stop", "presence_penalty", "frequency_penalty"],
    ),
)

_MISTRAL = _rows(
    "https://docs.mistral.ai/studio-api/conversations/reasoning; the model list of litellm 1.110.2 (MIT)",
    "2026-11-28",
    _row(r"zai-glm-5-2", "minimal low medium high xhigh max", off="effort"),
    _row(r"zai-glm-5", "low high max"),
    _row(r"magistral"),
    _row(r"", "high", off="effort", thinks=False),
)

_GROQ = _rows(
    "https://console.groq.com/docs/reasoning; the texts of the groq SDK 1.7.0",
    "2026-11-28",
    _row(r"(?:openai/)?gpt-oss", _LOW_TO_HIGH),
    _row(r"qwen/qwen3\.8", _LOW_TO_HIGH, off="effort"),
    _row(r"(?:qwen/)?qwen3", "default", off="effort"),
)

_CEREBRAS = _rows(
    "https://inference-docs.cerebras.ai/capabilities/reasoning",
    "2026-11-28",
    _row(r"gpt-oss", _LOW_TO_HIGH),
    _row(r"qwen-3\.8|zai-glm-4\.7", _LOW_TO_HIGH, off="effort"),
    _row(r"kimi-k3|zai-glm-5", "low high max"),
)

_RULES = {
    "openai": _OPENAI,
    "anthropic": _ANTHROPIC,
    "gemini": _GEMINI,
    "deepseek": _DEEPSEEK,
    "xai": _XAI,
    "mistral": _MISTRAL,
    "groq": _GROQ,
    "cerebras": _CEREBRAS,
}
MAKERS = tuple(_RULES)
"""The names of the tables."""
