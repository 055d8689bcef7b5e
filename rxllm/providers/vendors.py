"""The vendors, as data: which wire each one speaks, where, with which key, in which dialect.

To add a vendor that speaks a known wire, write a row into `vendors.json`; from outside, call `register_provider`
or offer an entry point in the group `rxllm.providers`, named as the provider is, that loads to a
`Vendor` or to a function which registers one. Entry points are loaded on first use.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from .._json import table
from .._protocol import Wire
from ..errors import ConfigurationError
from ..messages import Message, VendorPart
from ._address import (
    azure_address,
    checked_address,
    completed_address,
    is_loopback,
    is_sendable,
    ollama_address,
)
from .openai_chat.dialect import GATEWAY, Dialect

__all__ = [
    "ENTRY_POINTS",
    "Vendor",
    "WireFactory",
    "register_provider",
    "split_model",
    "vendor_named",
    "vendors",
    "wire_for",
]

ENTRY_POINTS = "rxllm.providers"

log = logging.getLogger("rxllm")


class WireFactory(Protocol):
    """Makes the `Wire` to a vendor; a class with such a constructor is one."""

    def __call__(self, *, provider: str, base_url: str, api_key: str | None, headers: Mapping[str, str]) -> Wire:
        """Return the wire to `provider` at `base_url`, whose requests carry the key and the headers."""
        ...


class PrefixForm(msgspec.Struct, frozen=True, kw_only=True):
    """How one vendor wants to be asked to continue a cut answer.

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


class Vendor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row: how to reach a vendor, and what requests it takes.

    Args:
        name: The provider's name.
        wire: "openai-chat", "openai-responses", "anthropic", "gemini", "ollama", "local", or a registered one.
        base_url: The vendor's address; None: the caller must give one.
        base_url_variables: Environment variables for the address; the first that is set counts.
        key_variables: Environment variables for the key; the first that is set counts.
        default_model: The model if the caller names none; None: the caller must name one.
        dialect: What the vendor takes on the wire "openai-chat". At the address of another known vendor, the
            dialect of that one counts.
        needs_key: Whether a request without a key is refused here.
        prefix: How an answer that was cut is continued; None: the vendor does not do that.
    """

    name: str
    wire: str
    base_url: str | None = None
    base_url_variables: tuple[str, ...] = ()
    key_variables: tuple[str, ...] = ()
    default_model: str | None = None
    dialect: Dialect = GATEWAY
    needs_key: bool = True
    prefix: PrefixForm | None = None


def register_provider(vendor: Vendor, *, wire: WireFactory | None = None) -> None:
    """Add a vendor. Nothing can quietly take the place, and the keys, of a vendor already known.

    Args:
        vendor: The vendor's row.
        wire: Makes the `Wire`, if `vendor.wire` is a new one.

    Raises:
        ConfigurationError: The name is not valid or is taken, or the wire is unknown or is taken.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", vendor.name):
        raise ConfigurationError(f"a provider's name is of lower-case letters, digits and ._-; got {vendor.name!r}")
    if _vendors.get(vendor.name, vendor) != vendor:
        raise ConfigurationError(f"there is a provider {vendor.name!r} already, and it is another one")
    if wire is None and vendor.wire not in (*_BUILT_IN, *_wires):
        raise ConfigurationError(f"provider {vendor.name!r} speaks {vendor.wire!r}, and no wire= is given for that")
    if wire is not None and (vendor.wire in (*_BUILT_IN, "local") or _wires.get(vendor.wire, wire) is not wire):
        raise ConfigurationError(f"there is a wire {vendor.wire!r} already: give yours another name")
    if wire is not None:
        _wires[vendor.wire] = wire
    _vendors[vendor.name] = vendor


def vendors() -> tuple[Vendor, ...]:
    """Return all known vendors, those of entry points included; one that cannot be loaded is logged and left out."""
    for point in entry_points(group=ENTRY_POINTS):
        if point.name not in _vendors:
            try:
                _load(point)
            except ConfigurationError as error:
                log.warning("%s", error)
    return tuple(_vendors.values())


def vendor_named(name: str) -> Vendor:
    """Return the vendor called `name`; raise `ConfigurationError` with the known names if there is none.

    >>> vendor_named("groq").base_url
    'https://api.groq.com/openai/v1'
    """
    if name not in _vendors:
        for point in entry_points(group=ENTRY_POINTS, name=name):
            _load(point)
    if name in _vendors:
        return _vendors[name]
    names = sorted({*_vendors, *entry_points(group=ENTRY_POINTS).names})
    # The name of a model ("gpt-5.4") in the place of a provider's: its first word tells whose it is.
    family = re.match("[a-z]+(?=-|[0-9])", name.lower())
    makers = [each.name for each in _vendors.values() if family and f"{each.default_model}".startswith(family[0])]
    close = [f"{maker}:{name}" for maker in makers] or get_close_matches(name.lower(), names, n=1, cutoff=0.7)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ConfigurationError(f"there is no provider {name!r}.{hint} There are: {', '.join(names)}")


def prefix_form(provider: str, model: str) -> PrefixForm | None:
    """Return how `provider` lets an answer of `model` be continued; None if it does not.

    >>> prefix_form("anthropic", "claude-sonnet-4-5") is not None, prefix_form("anthropic", "claude-sonnet-4-6")
    (True, None)
    """
    form = _vendors[provider].prefix if provider in _vendors else None
    return form if form is not None and re.match(form.models, model) else None


def providers_with_prefix() -> tuple[str, ...]:
    """Return the names of the providers that let some answer be continued."""
    return tuple(sorted(vendor.name for vendor in _vendors.values() if vendor.prefix is not None))


def split_model(name: str) -> tuple[str, str | None]:
    """Return a provider's name and the model named after it, if any. Model names may hold colons themselves.

    >>> split_model("ollama:llama3.2:1b"), split_model("openai")
    (('ollama', 'llama3.2:1b'), ('openai', None))
    """
    provider, _, model = name.partition(":")
    return provider, model or None


def wire_for(
    vendor: Vendor,
    *,
    api_key: str | None = None,
    base_url: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Wire:
    """Return the wire to `vendor`; missing values come from its environment variables, then from its row.

    No key is needed on a loopback address, or if `headers` bring the credentials. Raises
    `ConfigurationError` naming what is missing, or what cannot be sent, without showing a secret.
    """
    if vendor.wire == "local":
        raise ConfigurationError(f"provider {vendor.name!r} has no address before its server is started")
    address = _address(vendor, base_url)
    key = api_key or _variable(vendor.key_variables)
    if key is not None and not is_sendable(key):
        raise ConfigurationError(f"the key for {vendor.name!r} has a character that no header may have, such as LF")
    given = headers or {}
    if key is None and vendor.needs_key and not is_loopback(address) and not _brings_credentials(given):
        raise ConfigurationError(f"provider {vendor.name!r} needs a key: give api_key={_or_set(vendor.key_variables)}")
    return _factory(vendor, address)(provider=vendor.name, base_url=address, api_key=key, headers=given)


def _dialect(vendor: Vendor, address: str) -> Dialect:
    """Return the dialect of the vendor at `address`: it may be another one than `vendor`, which names the wire only."""
    if vendor.dialect == GATEWAY or vendor.base_url:
        host = urlsplit(address).hostname
        for known in (vendor, *_vendors.values()):
            if known.wire == "openai-chat" and known.base_url and urlsplit(known.base_url).hostname == host:
                return vendor.dialect if is_loopback(address) else known.dialect
    return vendor.dialect


def _factory(vendor: Vendor, address: str) -> WireFactory:
    """Return the class of the vendor's wire, imported only now: five wires are a third of all import time."""
    match vendor.wire:
        case "openai-chat":
            from .openai_chat import OpenAIChat

            return partial(OpenAIChat, dialect=_dialect(vendor, address))
        case "openai-responses":
            from .openai_responses import OpenAIResponses

            return OpenAIResponses
        case "anthropic":
            from .anthropic import Anthropic

            return Anthropic
        case "gemini":
            from .gemini import Gemini

            return Gemini
        case "ollama":
            from .ollama import Ollama

            return Ollama
        case _ if vendor.wire in _wires:
            return _wires[vendor.wire]
        case _:
            raise ConfigurationError(f"provider {vendor.name!r} speaks {vendor.wire!r}, which is not registered")


def _address(vendor: Vendor, base_url: str | None) -> str:
    """Return the base URL: the caller's, else the environment's, else the vendor's own."""
    address = base_url or _variable(vendor.base_url_variables) or vendor.base_url
    if not address:
        raise ConfigurationError(f"provider {vendor.name!r} needs base_url={_or_set(vendor.base_url_variables)}")
    checked = checked_address(ollama_address(address) if vendor.wire == "ollama" else address, vendor.name)
    if vendor.name == "azure":
        return azure_address(checked)
    return completed_address(checked, vendor.base_url) if vendor.base_url else checked


def _variable(names: tuple[str, ...]) -> str | None:
    """Return the value of the first of these environment variables that is set and not empty."""
    return next((value for name in names if (value := os.environ.get(name))), None)


def _or_set(variables: tuple[str, ...]) -> str:
    return f", or set {' or '.join(variables)}" if variables else ""


def _brings_credentials(headers: Mapping[str, str]) -> bool:
    return not {"authorization", "api-key", "x-api-key", "x-goog-api-key"}.isdisjoint(map(str.lower, headers))


def _load(point: EntryPoint) -> None:
    """Register the vendor of a plug-in; raise `ConfigurationError` for whatever its code raises."""
    try:
        loaded: object = point.load()
        if isinstance(loaded, Vendor):
            register_provider(loaded)
        elif callable(loaded):
            loaded()
    except Exception as error:
        raise ConfigurationError(f"the plug-in {point.value!r} for {point.name!r} cannot be loaded: {error}") from error


_BUILT_IN = ("openai-chat", "openai-responses", "anthropic", "gemini", "ollama")
_wires: dict[str, WireFactory] = {}

_vendors = {vendor.name: vendor for vendor in table("rxllm.providers", "vendors.json", tuple[Vendor, ...])}
