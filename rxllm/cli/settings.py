"""What the command line keeps for you: keys, templates and their folders. Only you can read the files."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from string import Template

import msgspec

from .._runtime.platform import private_file, user_folder
from .._schema import converter
from ..errors import ConfigurationError
from ..providers.vendors import Vendor, vendor_named, vendors


class Keys:
    """The stored keys, by the name of the provider."""

    def __init__(self) -> None:
        self.path = user_folder("config") / "keys.json"

    def read(self) -> dict[str, str]:
        """Return all keys. Raises `ConfigurationError` if the file is not what `write` wrote."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=dict[str, str])
        except (FileNotFoundError, NotADirectoryError):  # as of a user without a home
            return {}
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigurationError(f"cannot read the keys in {self.path}: {error}") from error

    def set(self, provider: str, key: str) -> None:
        """Store a key. Raises `ConfigurationError` if the provider is unknown or needs no key."""
        _key_variable(vendor_named(provider))
        if not key:
            raise ConfigurationError("the key is empty")
        self._write({**self.read(), provider: key})

    def remove(self, provider: str) -> None:
        """Remove a key. Raises `ConfigurationError` if there is none."""
        keys = self.read()
        if keys.pop(provider, None) is None:
            raise ConfigurationError(f"no key of {provider!r} is stored")
        self._write(keys)

    def to_environment(self) -> None:
        """Set the vendors' environment variables to the stored keys, unless they are set."""
        for provider, key in self.read().items():
            known = next((vendor for vendor in vendors() if vendor.name == provider), None)
            if known is not None and not any(map(os.environ.get, known.key_variables)):
                os.environ[_key_variable(known)] = key

    def _write(self, keys: Mapping[str, str]) -> None:
        # A new file in the place of the old one: a full disk loses nothing, and the mode is right.
        new = self.path.with_suffix(".new")
        new.unlink(missing_ok=True)
        private_file(new).write_bytes(msgspec.json.format(msgspec.json.encode(keys)))
        new.replace(self.path)


def _key_variable(vendor: Vendor) -> str:
    if not vendor.key_variables:
        raise ConfigurationError(f"provider {vendor.name!r} needs no key")
    return vendor.key_variables[0]


class PromptTemplate(msgspec.Struct, forbid_unknown_fields=True):
    """A prompt that is kept in a file: TOML with these keys. `$input` in `prompt` is what you ask."""

    prompt: str = "$input"
    system: str | None = None
    model: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    schema: dict[str, object] | None = None

    def fill(self, text: str, values: Mapping[str, str]) -> str:
        """Return the prompt with `text` for `$input` and `values` for the other names.

        Raises `ConfigurationError` if the prompt lacks the name of a value, a name has no value, or a $ has no name.
        """
        template = Template(self.prompt)
        names = template.get_identifiers()
        if unused := set(values).difference(names):
            listed = " ".join(f"${name}" for name in names)
            raise ConfigurationError(f"-p {min(unused)}: the template (-t) has no such name; it has {listed}")
        try:
            return template.substitute({**values, "input": text})
        except KeyError as error:
            raise ConfigurationError(f"the template needs a value: -p {error.args[0]} VALUE") from error
        except ValueError as error:
            raise ConfigurationError(f"the template has a $ that names no value; write $$ for it: {error}") from error


def template_folder() -> Path:
    """Return the folder of the stored templates."""
    return user_folder("config") / "templates"


def read_template(name: str) -> PromptTemplate:
    """Return a stored template, or that of a file. Raises `ConfigurationError` if there is none, or it is wrong."""
    path = Path(name) if name.endswith(".toml") else template_folder() / f"{name}.toml"
    try:
        return converter(PromptTemplate)(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except FileNotFoundError as error:
        raise ConfigurationError(f"there is no template {path}; `rxllm templates` lists yours") from error
    except (OSError, ValueError) as error:  # TOML and msgspec raise kinds of ValueError
        raise ConfigurationError(f"cannot read the template {path}: {error}") from error
