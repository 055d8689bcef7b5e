"""Options follow the model: what a vendor is known to refuse is refused here; unknown models get what you ask."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest

from rxllm import ConfigurationError
from rxllm.messages import Message
from rxllm.options import Options, Tool
from rxllm.providers import model_rules as rules
from rxllm.providers.vendors import vendor_named, wire_for

WEATHER = Tool("weather")


def body(provider: str, model: str, **options: Any) -> dict[str, Any]:
    wire = wire_for(vendor_named(provider), api_key="k", base_url="https://a.example.com/v1")
    sent: dict[str, Any] = json.loads(wire.request([Message.user("Hi")], model, Options(**options)).body)
    return sent


@pytest.mark.parametrize("maker", rules.RULES)
def test_a_row_is_whole(maker: str) -> None:
    """Each has its source and its day, and words that are efforts."""
    for row in rules.RULES[maker]:
        assert row.source
        assert date.fromisoformat(row.date) >= date(2026, 1, 1)
        assert set(row.efforts) <= {"minimal", "low", "medium", "high", "xhigh", "max", "default"}


REFUSED = [
    # What the vendors answer 400 to, with the word that the error must hold.
    ("openai", "gpt-5", {"temperature": 0.2}, "temperature"),
    ("openai", "gpt-5-mini-2025-08-07", {"stop": ("x",)}, "stop"),
    ("openai", "o3", {"reasoning": "minimal"}, "low medium high"),
    ("openai", "gpt-5.1", {"reasoning": "minimal"}, "low medium high"),
    ("openai", "gpt-5-pro", {"reasoning": "low"}, "high"),
    ("openai", "gpt-6.1-sol", {"reasoning": 0}, "cannot be turned off"),
    ("openai", "gpt-5.4", {"reasoning": 1024}, "no token budget"),
    ("openai", "gpt-4o", {"reasoning": "low"}, "no efforts"),
    ("openai", "gpt-5.4", {"reasoning": "low", "temperature": 0.2}, "temperature"),
    ("openai", "gpt-5.6-terra", {"tools": (WEATHER,)}, "openai-responses"),
    ("openai", "gpt-5.4", {"tools": (WEATHER,), "reasoning": "low"}, "reasoning='none'"),
    ("openai-responses", "gpt-5.5-pro", {"reasoning": "none"}, "cannot be turned off"),
    ("anthropic", "claude-opus-4-7", {"reasoning": 4096}, "budget"),
    ("anthropic", "anthropic/claude-opus-4.7", {"reasoning": 4096}, "budget"),
    ("anthropic", "anthropic.claude-opus-4-7-v1:0", {"reasoning": 4096}, "budget"),
    ("anthropic", "claude-opus-4-8", {"temperature": 0.5}, "temperature"),
    ("anthropic", "claude-sonnet-5", {"top_k": 5}, "top_k"),
    ("anthropic", "claude-sonnet-4-5", {"reasoning": "low", "temperature": 0.5}, "temperature"),
    (
        "anthropic",
        "claude-haiku-4-5",
        {"reasoning": 2000, "tools": (WEATHER,), "tool_choice": "required"},
        "tool_choice",
    ),
    ("anthropic", "claude-opus-5-5", {"tools": (WEATHER,), "tool_choice": "weather"}, "tool_choice"),
    ("anthropic", "claude-fable-5", {"reasoning": 0}, "cannot be turned off"),
    ("anthropic", "claude-haiku-4-5", {"reasoning": 500}, "1024"),
    ("anthropic", "claude-haiku-4-5", {"reasoning": 4000, "max_tokens": 2000}, "max_tokens"),
    ("gemini", "gemini-2.5-pro", {"reasoning": 0}, "cannot be turned off"),
    ("gemini", "gemini-3.8-flash", {"reasoning": "minimal"}, "low medium high"),
    ("gemini", "gemini-3.5-flash", {"reasoning": 2000}, "no token budget"),
    ("gemini", "gemini-flash-latest", {"reasoning": 0}, "cannot be turned off"),
    ("gemini", "gemini-2.5-flash-image", {"reasoning": "low"}, "no efforts"),
    ("deepseek", "deepseek-v4-pro", {"tools": (WEATHER,), "tool_choice": "required"}, "tool_choice"),
    ("xai", "grok-4.6", {"stop": ("x",)}, "stop"),
    ("xai", "grok-4.5", {"reasoning": 0}, "cannot be turned off"),
    ("xai", "grok-code-fast-1", {"reasoning": "low"}, "no efforts"),
    ("mistral", "mistral-medium-latest", {"reasoning": "low"}, "high"),
    ("groq", "openai/gpt-oss-20b", {"reasoning": 0}, "cannot be turned off"),
]


@pytest.mark.parametrize(("provider", "model", "options", "word"), REFUSED)
def test_what_a_model_refuses_is_refused_here(provider: str, model: str, options: Any, word: str) -> None:
    """Before anything is sent, naming the option and what to do."""
    with pytest.raises(ConfigurationError, match=word):
        body(provider, model, **options)


SENT = [
    ("openai", "gpt-5.4", {"reasoning": 0, "temperature": 0.2}, {"reasoning_effort": "none", "temperature": 0.2}),
    ("openai", "gpt-5.2", {"temperature": 0.2}, {"temperature": 0.2}),
    ("openai", "gpt-5", {"temperature": 1}, {"temperature": 1}),
    ("openai", "gpt-5.6-terra", {"reasoning": "none", "tools": (WEATHER,)}, {"reasoning_effort": "none"}),
    ("openai", "gpt-4o", {"reasoning": 0, "temperature": 0.5}, {"temperature": 0.5}),
    ("openai", "ft:of-mine", {"reasoning": "xhigh", "temperature": 0.5}, {"reasoning_effort": "xhigh"}),
    ("openai-responses", "gpt-5.4", {"reasoning": 0}, {"reasoning": {"effort": "none"}}),
    ("openai-responses", "gpt-5.4", {"reasoning": "xhigh"}, {"reasoning": {"effort": "xhigh"}}),
    ("anthropic", "claude-sonnet-5-5", {"reasoning": 0}, {"thinking": {"type": "between_tools"}}),
    ("anthropic", "claude-opus-5", {"reasoning": 0}, {"thinking": {"type": "disabled"}}),
    ("anthropic", "claude-opus-5-5", {}, {"thinking": {"type": "adaptive", "display": "summarized"}}),
    ("anthropic", "claude-opus-4-7", {"temperature": 1}, {"temperature": 1}),
    ("anthropic", "claude-haiku-4-5", {"reasoning": 2000, "top_p": 0.97}, {"top_p": 0.97}),
    ("anthropic", "kimi-k3", {"reasoning": 4096, "temperature": 0.5}, {"temperature": 0.5}),
    ("deepseek", "deepseek-v4-pro", {"reasoning": 0}, {"thinking": {"type": "disabled"}}),
    ("deepseek", "deepseek-v4-pro", {"reasoning": "max"}, {"reasoning_effort": "max"}),
    ("mistral", "mistral-medium-latest", {"reasoning": 0}, {"reasoning_effort": "none"}),
    ("mistral", "zai-glm-5-3", {"reasoning": "low"}, {"reasoning_effort": "low"}),
    ("groq", "qwen/qwen3-32b", {"reasoning": 0}, {"reasoning_effort": "none"}),
    ("xai", "grok-4.3", {"reasoning": 0}, {"reasoning_effort": "none"}),
    ("openrouter", "openai/gpt-5", {"reasoning": 0, "temperature": 0.5}, {"reasoning": {"effort": "none"}}),
    ("openai-compatible", "gpt-5", {"reasoning": "minimal", "temperature": 0}, {"reasoning_effort": "minimal"}),
    ("vllm", "qwen3", {"reasoning": 0}, {"thinking_token_budget": 0}),
]


@pytest.mark.parametrize(("provider", "model", "options", "fields"), SENT)
def test_what_a_model_takes_is_sent(provider: str, model: str, options: Any, fields: Any) -> None:
    """In the words of its vendor; of a model that nobody described, whatever you ask."""
    sent = body(provider, model, **options)
    assert {name: sent.get(name) for name in fields} == fields


@pytest.mark.parametrize(
    ("model", "reasoning", "config"),
    [
        ("gemini-3.5-flash", "minimal", {"thinkingLevel": "MINIMAL", "includeThoughts": True}),
        ("gemini-2.5-flash", 0, {"thinkingBudget": 0}),
        ("gemini-2.5-flash", "high", {"thinkingBudget": 24_576, "includeThoughts": True}),
        ("gemini-3.1-pro-preview", 2000, {"thinkingBudget": 2000, "includeThoughts": True}),
        ("gemini-9-nova", "xhigh", {"thinkingLevel": "XHIGH", "includeThoughts": True}),
    ],
)
def test_gemini(model: str, reasoning: Any, config: Any) -> None:
    """Levels, or budgets to the models from before levels."""
    assert body("gemini", model, reasoning=reasoning)["generationConfig"]["thinkingConfig"] == config


def test_a_model_without_a_system_role() -> None:
    """Gemma 3 answers "Developer instruction is not enabled": the user says it first."""
    wire = wire_for(vendor_named("gemini"), api_key="k")
    sent = json.loads(wire.request([Message.system("Be brief."), Message.user("Hi")], "gemma-3-27b-it", Options()).body)
    assert sent == {"contents": [{"role": "user", "parts": [{"text": "Be brief."}, {"text": "Hi"}]}]}
