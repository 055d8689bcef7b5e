"""What an answer costs, by the prices of the package genai-prices (extra `cost`)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from .._lazy_imports import needed
from ..events import Response

_NAMES = {"gemini": "google", "openai-responses": "openai", "xai": "x-ai"}
"""The names of genai-prices for providers that it names differently."""


class Billed(NamedTuple):
    """Tokens as they are billed.

    Args:
        input_tokens: Input tokens, cached ones included.
        cache_read_tokens: Those that came from a cache.
        cache_write_tokens: Those that were written to a cache.
        output_tokens: Output tokens, reasoning included.
    """

    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int


def listed_price(response: Response) -> Decimal | None:
    """Return the price of an answer in US dollars.

    Returns:
        None if the provider or the model is not listed, or the usage is unknown or contradictory.

    Raises:
        ConfigurationError: genai-prices is not installed.
    """
    prices = needed("genai_prices", "cost() without prices=", "rxllm[cost]")
    billed = billed_tokens(response)
    if billed is None or response.model is None or response.provider is None:
        return None
    provider = _NAMES.get(response.provider, response.provider)
    try:
        usage: Any = prices.Usage(**billed._asdict())  # genai-prices is not typed for keywords
        price: Decimal = prices.calc_price(usage, response.model, provider_id=provider).total_price
    except (LookupError, ValueError, ArithmeticError):  # not listed; negative counts, more cached than read
        return None
    return price


def billed_tokens(response: Response) -> Billed | None:
    """Return the tokens of `response` as its vendor bills them; None if their number is unknown.

    `Usage` holds the vendors' own counts. Anthropic's input leaves out tokens that a cache read or wrote; the output
    of Gemini, and of some others, leaves out reasoning. Their totals include them.

    >>> from rxllm.events import Usage
    >>> billed_tokens(Response(usage=Usage(10, 5, 115, cached_input_tokens=80), provider="anthropic"))
    Billed(input_tokens=110, cache_read_tokens=80, cache_write_tokens=20, output_tokens=5)
    """
    usage = response.usage
    given, answered, total = usage.input_tokens, usage.output_tokens, usage.total_tokens
    if given is None or answered is None:
        return None
    cached = usage.cached_input_tokens or 0
    if response.provider == "anthropic":
        everything = total - answered if total is not None else given + cached
        return Billed(everything, cached, max(0, everything - given - cached), answered)
    if total is not None and (
        response.provider == "gemini" or total == given + answered + (usage.reasoning_tokens or 0)
    ):
        answered = max(answered, total - given)
    return Billed(given, cached, 0, answered)
