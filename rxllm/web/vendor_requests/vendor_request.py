"""What the readers of vendors' requests share."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol
from urllib.parse import quote

from ..._json import decode, is_array, is_object
from ...errors import ConfigurationError
from ...messages import Message
from ...options import CallOptions


class VendorReader(Protocol):
    """How one API's requests are read: a module of this package."""

    @property
    def NEUTRAL(self) -> Mapping[str, Sequence[object]]:  # noqa: N802 - a constant of the module
        """The parameters that are not supported, each with the values that change nothing."""
        ...

    @property
    def KNOWN(self) -> Collection[str]:  # noqa: N802 - a constant of the module
        """All parameters that have a meaning here."""
        ...

    def messages_in(self, body: Mapping[str, object]) -> tuple[Message, ...]:
        """Return the conversation in `body`; raises `ConfigurationError` that names what is not supported."""
        ...

    def options_in(self, body: Mapping[str, object]) -> CallOptions:
        """Return the options in `body`, checked."""
        ...


def refuse_unsupported(body: Mapping[str, object], neutral: Mapping[str, Sequence[object]]) -> None:
    """Raise `ConfigurationError` that names a parameter with another value than these, which change nothing."""
    for name, values in neutral.items():
        if body.get(name) is not None and body[name] not in values:
            raise ConfigurationError(f"the parameter {name!r} is not supported with the value {body[name]!r}")


def blocks_of(content: object, what: str) -> list[dict[str, object]]:
    """Return the content blocks in `content`: text is one block."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not is_array(content):
        raise ConfigurationError(f"{what} is text or a list of blocks")
    blocks = [block for block in content if is_object(block)]
    if len(blocks) < len(content):
        raise ConfigurationError(f"{what} has a block that is not an object")
    return blocks


def text_of(block: Mapping[str, object], key: str = "text") -> str:
    """Return the text in a block; raises `ConfigurationError` if there is none."""
    value = block.get(key)
    if not isinstance(value, str):
        raise ConfigurationError(f"a block of type {block.get('type')!r} needs {key!r}")
    return value


def arguments_of(text: object) -> dict[str, object]:
    """Return the arguments of a tool call from their JSON text."""
    try:
        value = decode(text) if isinstance(text, str) else text
    except (ValueError, RecursionError) as error:
        raise ConfigurationError("the arguments of a tool call are not JSON") from error
    if not is_object(value):
        raise ConfigurationError("the arguments of a tool call are not a JSON object")
    return value


def data_url(media_type: str, data: str) -> str:
    """Return the data URL of base64 `data`; a media type cannot end its head early."""
    return f"data:{quote(media_type, safe='/+.')};base64,{data}"
