"""The arguments that choose a model, the same in each command."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

from ..errors import ConfigurationError
from ..model import StreamingModel, create_streaming_model
from ..providers.vendors import Vendor, split_model, vendor_named, vendors
from .availability import choose, ollama_models

LOCAL_MAX_TOKENS = 1024
"""The longest answer of the embedded model, in tokens, unless you set one: a small model may never end."""


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--model`, `--provider`, `--base-url`, `--system`, `--temperature` and `--max-tokens`."""
    parser.add_argument("-m", "--model", metavar="[PROVIDER:]NAME", help="default: what is ready on this machine")
    parser.add_argument("--provider", help="the provider, if --model does not name it (see `rxllm providers`)")
    parser.add_argument("--base-url", metavar="URL", help="the server's address, if it is not the provider's own")
    parser.add_argument("-s", "--system", metavar="TEXT", help="instructions to the model")
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--max-tokens", type=int, help=f"default of the embedded model: {LOCAL_MAX_TOKENS}")


def set_default_model(arguments: argparse.Namespace, name: str | None) -> None:
    """Choose the model `name`, unless the command line chooses a model or a server."""
    if arguments.model is None and arguments.provider is None and arguments.base_url is None:
        arguments.model = name


def names_provider(model: str) -> bool:
    """Return whether `model` is PROVIDER or PROVIDER:NAME."""
    return split_model(model)[0] in {vendor.name for vendor in vendors()}


def with_options(message: str) -> str:
    """Return the message of a `ConfigurationError` with the options of the command for the arguments of Python."""
    message = re.sub(
        r"'(\S+)' needs a key: give api_key=", r"'\1' needs a key: store one with `rxllm keys set \1`", message
    )
    message = re.sub(r"(?<!\S)response_format=", "--schema", message)
    return re.sub(r"(?<!\S)(model|base_url)=", lambda name: "--" + name[1].replace("_", "-"), message)


def model_of(arguments: argparse.Namespace) -> StreamingModel:
    """Return the model that the arguments choose. Raises `ConfigurationError` if there is none."""
    provider, name, max_tokens = arguments.provider, arguments.model, arguments.max_tokens
    if provider is None and name is not None and names_provider(name):
        provider, name = split_model(name)
    if provider is None:
        provider, name = ("openai-compatible", name) if arguments.base_url else choose(name)
        if provider == "local" and name is not None:
            _check_local(name)
        elif name is not None and not arguments.base_url:
            _check_provider(name, vendor_named(provider))
    if provider == "local" and max_tokens is None:
        max_tokens = LOCAL_MAX_TOKENS
    return create_streaming_model(
        provider, model=name, base_url=arguments.base_url, temperature=arguments.temperature, max_tokens=max_tokens
    )


def _check_local(name: str) -> None:
    """Raise `ConfigurationError` if `name`, which has no known provider, is not a model of the embedded one either."""
    if name == vendor_named("local").default_model or name.endswith(".gguf") or Path(name).is_file():
        return
    if split_model(name)[1]:
        vendor_named(split_model(name)[0])  # raises: the word before the colon is not a provider
    raise ConfigurationError(f"no other provider is ready: name the one that has this model, as in -m openai:{name}")


def _check_provider(name: str, chosen: Vendor) -> None:
    """Raise `ConfigurationError` if the word before a colon in `name` can only be a provider, and is not one.

    Names of models have colons too: tags of Ollama, also behind another address, and fine-tuned models ("ft:...").
    """
    word, model = split_model(name)
    if not model or word == "ft" or not re.fullmatch(r"[\w-]+", word):
        return
    if chosen.name == "ollama":
        has_tags = word in {split_model(each)[0] for each in ollama_models(chosen)}
    else:
        has_tags = any(map(os.environ.get, chosen.base_url_variables))
    if not has_tags:
        try:
            vendor_named(word)
        except ConfigurationError as error:
            raise ConfigurationError(f"{error}. If {chosen.name} has this model: -m {chosen.name}:{name}") from None
