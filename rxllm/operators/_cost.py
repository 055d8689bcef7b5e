"""What an answer cost, by the prices of the package genai-prices (extra `cost`); none are kept here."""

from __future__ import annotations

from decimal import Decimal
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

from ..errors import ConfigurationError
from ..events import Response

_NAMES = {"gemini": "google", "openai-responses": "openai", "xai": "x-ai"}
"""Where genai-prices calls a provider otherwise."""


class Billed(NamedTuple):
    """Tokens as they are billed: of the input, some were read from a cache and some written to one."""

    input: int
    cache_read: int
    cache_write: int
    output: int


def listed_price(response: Response) -> Decimal | None:
    """The price of an answer in US dollars; None where its provider or model is not listed, or its usage unknown.

    Raises `ConfigurationError` where genai-prices is not installed.
    """
    prices = _genai_prices()
    billed = billed_tokens(response)
    if billed is None or response.model is None or response.provider is None:
        return None
    # genai-prices is not typed for keywords.
    usage: Any = prices.Usage(
        input_tokens=billed.input,
        cache_read_tokens=billed.cache_read,
        cache_write_tokens=billed.cache_write,
        output_tokens=billed.output,
    )
    provider = _NAMES.get(response.provider, response.provider)
    try:
        price: Decimal = prices.calc_price(usage, response.model, provider_id=provider).total_price
    except LookupError:
        return None
    return price


def billed_tokens(response: Response) -> Billed | None:
    """The tokens of `response` as its vendor bills them; None where their number is unknown.

    `Usage` holds the vendors' own counts, which differ: Anthropic's input leaves out what a cache
    gave or took, Gemini's output leaves out the thoughts. Their totals hold all of it.

    >>> from rxllm.events import Usage
    >>> billed_tokens(Response(usage=Usage(10, 5, 115, cached_input_tokens=80), provider="anthropic"))
    Billed(input=110, cache_read=80, cache_write=20, output=5)
    """
    usage = response.usage
    given, answered, total = usage.input_tokens, usage.output_tokens, usage.total_tokens
    if given is None or answered is None:
        return None
    cached = usage.cached_input_tokens or 0
    if response.provider == "anthropic":
        everything = total - answered if total is not None else given + cached
        return Billed(everything, cached, max(0, everything - given - cached), answered)
    if response.provider == "gemini" and total is not None:
        answered = max(answered, total - given)
    return Billed(given, cached, 0, answered)


def _genai_prices() -> ModuleType:
    try:
        return import_module("genai_prices")
    except ImportError as error:
        raise ConfigurationError(
            'cost() needs the package genai-prices (pip install "rxllm[cost]"), or prices= of your own'
        ) from error
