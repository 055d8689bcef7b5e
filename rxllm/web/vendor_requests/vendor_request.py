"""What the readers of vendors' requests share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote

from ..._json import is_array, is_object
from ...errors import ConfigurationError
from ...messages import Message
from ...options import CallOptions


class VendorReader(NamedTuple):
    """How one API's requests are read.

    Args:
        messages_in: Returns the conversation in a body; raises `ConfigurationError` that names what is not supported.
        options_in: Returns the options in a body, checked.
        neutral: The parameters that are not supported, each with the values that change nothing.
        known: All other parameters that have a meaning here, or that change nothing for an answer.
    """

    messages_in: Callable[[Mapping[str, object]], Sequence[Message]]
    options_in: Callable[[Mapping[str, object]], CallOptions]
    neutral: Mapping[str, Sequence[object]]
    known: Collection[str]

    def extra_in(self, body: Mapping[str, object]) -> dict[str, object]:
        """Return the fields without a meaning here; raise `ConfigurationError` that names a parameter not supported."""
        for name, values in self.neutral.items():
            if body.get(name) is not None and body[name] not in values:
                raise ConfigurationError(f"the parameter {name!r} is not supported with the value {body[name]!r}")
        return {name: value for name, value in body.items() if name not in self.known and name not in self.neutral}


def blocks_of(content: object, what: str) -> list[dict[str, object]]:
    """Return the content blocks in `content`: text is one block. Errors call it `what`."""
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


def joined_text(content: object, what: str) -> str:
    """Return the text of all blocks in `content`, which errors call `what`; raises `ConfigurationError` for others."""
    return "".join(text_of(block) for block in blocks_of(content, what))


def data_url(media_type: str, data: str) -> str:
    """Return the data URL of base64 `data`; a media type cannot end its head early."""
    return f"data:{quote(media_type, safe='/+.')};base64,{data}"
