"""A request in a vendor's form, read; and what the readers share."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from ..._json import decode, is_array, is_object
from ...errors import ConfigurationError
from ...messages import AudioPart, DocumentPart, ImagePart, Message
from ...options import CallOptions


class VendorRequest(NamedTuple):
    """What a client asked in a vendor's form.

    Args:
        model: The model's name; None for the default.
        messages: The conversation.
        options: The options, checked.
        stream: Whether the answer is streamed.
        extra: Fields of the body without a meaning here.
        usage: Whether a streamed answer ends with the token counts.
    """

    model: str | None
    messages: tuple[Message, ...]
    options: CallOptions
    stream: bool
    extra: Mapping[str, object]
    usage: bool = True


def refuse_unsupported(body: Mapping[str, object], neutral: Mapping[str, Sequence[object]]) -> None:
    """Raise `ConfigurationError` that names a parameter with another value than these, which change nothing."""
    for name, values in neutral.items():
        if body.get(name) is not None and body[name] not in values:
            raise ConfigurationError(f"the parameter {name!r} is not supported with the value {body[name]!r}")


def model_of(body: Mapping[str, object]) -> str | None:
    """Return the name of the model; raises `ConfigurationError` if it is not text."""
    model = body.get("model")
    if model is not None and not isinstance(model, str):
        raise ConfigurationError("model is a name")
    return model


def extra_of(body: Mapping[str, object], known: Collection[str]) -> dict[str, object]:
    """Return the fields of `body` that are not `known`."""
    return {name: value for name, value in body.items() if name not in known}


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


def image_of(url: str) -> ImagePart:
    """Return the image at `url`, which may be a data URL."""
    data, media_type = inline(url)
    return ImagePart(url) if data is None else ImagePart(data=data, media_type=media_type)


def document_of(url: str, name: str | None) -> DocumentPart:
    """Return the document at `url`, which may be a data URL."""
    data, media_type = inline(url)
    if data is None:
        return DocumentPart(url, name=name)
    return DocumentPart(data=data, media_type=media_type, name=name)


def audio_of(data: str, form: str) -> AudioPart:
    """Return the recording in base64 `data`."""
    return AudioPart(data=from_base64(data), media_type=f"audio/{form}")


def inline(url: str) -> tuple[bytes | None, str]:
    """Return the bytes in a data URL and their media type; None for a link."""
    if not url.startswith("data:"):
        if not url.startswith(("https://", "http://")):
            raise ConfigurationError("a link is a data: or https: URL")
        return None, ""
    head, _, data = url.removeprefix("data:").partition(",")
    return from_base64(data), head.partition(";")[0] or "application/octet-stream"


def from_base64(data: str) -> bytes:
    """Return the bytes in `data`; raises `ConfigurationError` if it is not base64."""
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConfigurationError("the data in the request is not base64") from error
