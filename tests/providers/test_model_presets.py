"""What is known of models: each row has its source, and presets refuse nothing."""

from __future__ import annotations

from datetime import date
from typing import get_args

import pytest

import rxllm
from rxllm import ModelPreset, model_preset, model_presets
from rxllm.providers.model_presets import Ability
from rxllm.testing import LLMServer

NO_ROW = {
    "xai": "grok-latest is an alias that no source names",
    "openrouter": "openrouter/auto is whatever model it chooses",
    **dict.fromkeys(("ollama", "local", "llamacpp"), "its server was started with a context size"),
}


@pytest.mark.parametrize("preset", model_presets(), ids=lambda preset: f"{preset.provider}:{preset.model}")
def test_a_row_is_whole(preset: ModelPreset) -> None:
    """Its source, the day it was read, sizes that fit each other, abilities that are words of ours; found by name."""
    assert preset.source
    assert date(2026, 1, 1) <= date.fromisoformat(preset.date)
    assert preset.retires is None or date.fromisoformat(preset.date) < date.fromisoformat(preset.retires)
    assert 0 < preset.max_input < preset.context_window
    assert preset.max_output is None or preset.max_output < preset.context_window
    assert preset.abilities <= set(get_args(Ability))
    assert preset is model_preset(preset.provider, preset.model)


@pytest.mark.parametrize("vendor", [v for v in rxllm.vendors() if v.default_model], ids=lambda vendor: vendor.name)
def test_default_models_are_known(vendor: rxllm.Vendor) -> None:
    """Or it is said here why not."""
    assert (model_preset(vendor.name) is None) == (vendor.name in NO_ROW)


def test_names() -> None:
    """A model is found by its name with its provider, with a snapshot's date, and on both of OpenAI's wires."""
    mini = model_preset("openai:gpt-4o-mini")
    assert mini is not None
    assert mini is model_preset("openai", "gpt-4o-mini-2024-07-18") is model_preset("openai-responses:gpt-4o-mini")
    assert (128_000, 16_384, 111_616) == (mini.context_window, mini.max_output, mini.max_input)
    assert model_preset("openai:gpt-4o-mini-of-mine") is None
    assert model_preset("mine:gpt-4o-mini") is None
    with pytest.raises(rxllm.ConfigurationError, match="openai"):
        model_preset("opnai")


def test_room_for_the_answer_is_half_the_window_where_no_limit_is_known() -> None:
    """And never more than half."""
    grok, oss = model_preset("xai:grok-4.7"), model_preset("groq:openai/gpt-oss-120b")
    assert grok is not None
    assert oss is not None
    assert (250_000, 65_536) == (grok.max_input, oss.max_input)


def test_no_request_is_refused_for_a_preset() -> None:
    """Facts age: what seems to be too much for a model is sent, and its vendor decides."""
    with LLMServer("Fine.") as server:
        model = rxllm.create_streaming_model("openai:gpt-4o", api_key="k", base_url=server.base_url())
        assert "Fine." == model.chat("long " * 200_000, max_tokens=1_000_000).text


def test_a_preset_knows_its_options() -> None:
    """Where the model's makers tell them."""
    mini, sonar = model_preset("openai:gpt-5.4-mini"), model_preset("perplexity:sonar")
    assert mini is not None
    assert mini.rules is not None
    assert mini.rules.efforts == ("low", "medium", "high", "xhigh")
    assert sonar is not None
    assert sonar.rules is None


@pytest.mark.parametrize("vendor", [v for v in rxllm.vendors() if v.default_model], ids=lambda vendor: vendor.name)
def test_a_default_model_lasts(vendor: rxllm.Vendor) -> None:
    """At least half a year: a default that is switched off breaks every program that names none."""
    preset = model_preset(vendor.name)
    if preset is not None and preset.retires is not None:
        assert (date.fromisoformat(preset.retires) - date.today()).days >= 180
