"""Messages to and from a model, and the parts that they consist of.

A `Message` has a role and an ordered tuple of parts. Parts are frozen values in a closed
union (`Part`): they compare by content, and convert to JSON and back without loss (bytes as base64).

Data for one vendor only is kept in two places: a part's `vendor` (fields to send back with that part,
by wire: an Anthropic thinking signature, a Gemini thought signature) and `VendorPart` (a whole item of
a wire: a server tool's result, an encrypted reasoning item). An encoder sends back the data of its own
wire and omits the rest.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal, Self, TypeAlias, get_args

import msgspec

from ._arguments import check_fields, check_type
from ._media import PILImage, encoded_image, image_of_array, media_of_file
from ._schema import decoder
from .errors import ConfigurationError

__all__ = [
    "AudioPart",
    "DocumentPart",
    "Ending",
    "ImageDetail",
    "ImagePart",
    "MediaPart",
    "Message",
    "Part",
    "ReasoningPart",
    "Role",
    "TextPart",
    "ToolCall",
    "ToolResult",
    "VendorFields",
    "VendorPart",
    "messages_from_json",
    "messages_to_json",
]

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
ImageDetail: TypeAlias = Literal["auto", "low", "high", "original"]
"""Only the Responses API knows "original"."""
Ending: TypeAlias = Literal["stopped", "failed"]
"""How an answer was broken off."""
VendorFields: TypeAlias = dict[str, dict[str, object]]
"""Opaque fields to send back with a part: under a wire's name ("anthropic") to any address that speaks it, under
"wire@host/path" to that address alone, which made them."""


class TextPart(msgspec.Struct, frozen=True, tag="text"):
    """Plain text.

    Args:
        text: The text.
        vendor: Opaque fields to send back with it, by wire.
    """

    text: str
    vendor: VendorFields | None = None

    def __post_init__(self) -> None:
        if type(self.text) is not str:  # the usual case at the least cost: operators build one per token
            check_fields(self)
            msgspec.structs.force_setattr(self, "text", str.__str__(self.text))  # numpy's, for example, is not JSON


class _Media(msgspec.Struct, frozen=True):
    """What parts with a file have in common. Its bytes, or the address from which the vendor downloads it."""

    url: str | None = None
    data: bytes | None = None
    media_type: str | None = None

    def __post_init__(self) -> None:
        """Raise `ConfigurationError` unless there is one of `url` and `data`, and data has a media type."""
        kind = type(self).__name__
        if (self.url is None) == (self.data is None):
            raise ConfigurationError(f"{kind} needs either url= or data=, and one of them only")
        if self.data is not None and type(self.data) is not bytes:
            advice = "ImagePart.from_array or from_pil encodes pixels" if kind == "ImagePart" else "the bytes of a file"
            raise ConfigurationError(f"{kind}: data is bytes; got {type(self.data).__name__} ({advice})")
        check_fields(self)
        if self.data is not None and not self.media_type:
            raise ConfigurationError(f'{kind}(data=...) needs media_type=, for example "image/png"')


class ImagePart(_Media, frozen=True, tag="image"):
    """An image.

    Args:
        url: Where the vendor downloads it. Give either `url` or `data`.
        data: The bytes of the file.
        media_type: The MIME type of `data`, e.g. "image/png".
        detail: The resolution at which the vendor looks at it, if it offers a choice; None: the vendor's default.
    """

    detail: ImageDetail | None = None

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], *, detail: ImageDetail | None = None) -> Self:
        """Return the image in a file (PNG, JPEG, GIF, WebP ...), unchanged.

        Args:
            path: The file.
            detail: The resolution at which the vendor looks at it.

        Raises:
            OSError: The file cannot be read.
            ValueError: The file is not an image of a known type.
        """
        return cls(detail=detail, **media_of_file(path, "image"))

    @classmethod
    def from_pil(
        cls,
        image: PILImage,
        *,
        format: str | None = None,  # noqa: A002  Pillow's own name
        quality: int = 85,
        detail: ImageDetail | None = None,
    ) -> Self:
        """Return an image of Pillow, encoded.

        Args:
            image: The image.
            format: "PNG", "JPEG" or "WEBP"; default: JPEG for photographs' modes (RGB, L, CMYK), else PNG.
            quality: Of JPEG and WebP, from 1 to 95.
            detail: The resolution at which the vendor looks at it.
        """
        return cls(detail=detail, **encoded_image(image, format, quality))

    @classmethod
    def from_array(
        cls,
        array: object,
        *,
        format: str | None = None,  # noqa: A002  Pillow's own name
        quality: int = 85,
        detail: ImageDetail | None = None,
    ) -> Self:
        """Return the pixels of a numpy array, encoded. Needs Pillow.

        Args:
            array: Height x width (grey), or height x width x 3 or 4 (RGB, RGBA), of uint8 from 0 to 255 or of floats
                from 0 to 1. OpenCV's frames are BGR: give `frame[..., ::-1]`.
            format: "PNG", "JPEG" or "WEBP"; default: JPEG, or PNG for RGBA.
            quality: Of JPEG and WebP, from 1 to 95.
            detail: The resolution at which the vendor looks at it.

        Raises:
            ValueError: The array has another shape or type.
            ConfigurationError: Pillow is not installed.
        """
        return cls(detail=detail, **encoded_image(image_of_array(array), format, quality))


class DocumentPart(_Media, frozen=True, tag="document"):
    """A document such as a PDF.

    Args:
        url: Where the vendor downloads it. Give either `url` or `data`.
        data: The bytes of the file.
        media_type: The MIME type of `data`, e.g. "application/pdf".
        name: The file name to send to the vendor.
    """

    name: str | None = None

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Return the document in a file, with its name.

        Args:
            path: The file.

        Raises:
            OSError: The file cannot be read.
            ValueError: The type of the file is not known.
        """
        return cls(name=os.path.basename(path), **media_of_file(path, ""))


class AudioPart(_Media, frozen=True, tag="audio"):
    """A sound recording.

    Args:
        url: Where the vendor downloads it. Give either `url` or `data`.
        data: The bytes of the file.
        media_type: The MIME type of `data`, e.g. "audio/wav".
    """

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Return the sound in a file.

        Args:
            path: The file.

        Raises:
            OSError: The file cannot be read.
            ValueError: The file is not a sound of a known type.
        """
        return cls(**media_of_file(path, "audio"))


MediaPart: TypeAlias = ImagePart | DocumentPart | AudioPart


class ReasoningPart(msgspec.Struct, frozen=True, tag="reasoning"):
    """Reasoning of the model.

    Args:
        text: The reasoning, as far as the vendor shows it.
        vendor: Opaque fields to send back with it, by wire: a signature, or the encrypted reasoning.
    """

    text: str
    vendor: VendorFields | None = None


class ToolCall(msgspec.Struct, frozen=True, tag="tool_call"):
    """A function that the model asks you to run.

    Args:
        id: The vendor's id of the call; the `ToolResult` carries it.
        name: The name of the tool.
        arguments: The parsed JSON object.
        vendor: Opaque fields to send back with it, by wire.
    """

    id: str
    name: str
    arguments: dict[str, object]
    vendor: VendorFields | None = None

    def __post_init__(self) -> None:
        check_fields(self)


class ToolResult(msgspec.Struct, frozen=True, tag="tool_result"):
    """The result of a tool call.

    Args:
        id: The id of the call.
        content: The result, as text for the model.
        name: The name of the tool.
        is_error: True if the tool failed and `content` says why.
        media: Images, documents and sound of the result. A wire that takes none in a tool result sends them in a
            user message behind it; what the vendor does not take at all is named in a text.
    """

    id: str
    content: str
    name: str = ""
    is_error: bool = False
    media: tuple[MediaPart, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        for part in self.media:
            check_type("ToolResult(media=...)", part, *get_args(MediaPart))


class VendorPart(msgspec.Struct, frozen=True, tag="vendor"):
    """An item of one wire that is sent back unchanged.

    Args:
        wire: The name of the wire ("anthropic", "openai-responses", ...).
        data: The item's JSON.
    """

    wire: str
    data: dict[str, object]


Part: TypeAlias = TextPart | ImagePart | DocumentPart | AudioPart | ReasoningPart | ToolCall | ToolResult | VendorPart
_PARTS = get_args(Part)


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message of a conversation.

    Args:
        role: Who speaks: "system", "user", "assistant" or "tool".
        parts: The content, in order.
        ending: "stopped" or "failed" in the last message of an answer that was broken off; kept, and not sent.

    >>> Message.user("What is in the picture?", ImagePart(url="https://example.com/cat.png")).text
    'What is in the picture?'
    """

    role: Role
    parts: tuple[Part, ...]
    ending: Ending | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        for part in self.parts:
            check_type("Message(parts=...)", part, *_PARTS)

    @classmethod
    def system(cls, text: str) -> Message:
        """Return a message with instructions to the model.

        Args:
            text: The instructions.
        """
        return cls("system", (TextPart(text),))

    @classmethod
    def user(cls, *content: str | Part) -> Message:
        """Return a message of the user.

        Args:
            content: Texts and parts (images, documents, sound), in order.
        """
        return cls("user", tuple(map(_part, content)))

    @classmethod
    def assistant(cls, *content: str | Part) -> Message:
        """Return a message of the model. Prefer `Response.message` if you have a response: it is complete.

        Args:
            content: Texts and parts, in order.
        """
        return cls("assistant", tuple(map(_part, content)))

    @classmethod
    def tool(cls, *results: ToolResult) -> Message:
        """Return a message with the results of tool calls.

        Args:
            results: The results, in the order of the calls.
        """
        return cls("tool", results)

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls among the parts."""
        return tuple(part for part in self.parts if isinstance(part, ToolCall))


def messages_to_json(messages: Sequence[Message]) -> str:
    """Return a conversation as JSON text; `messages_from_json` reads it.

    Args:
        messages: The conversation.
    """
    return msgspec.json.encode(messages).decode()


def messages_from_json(text: str | bytes) -> tuple[Message, ...]:
    """Return the conversation that `messages_to_json` wrote.

    Args:
        text: The JSON text.

    Raises:
        ValueError: The text is not the JSON of a conversation.
    """
    return decoder(tuple[Message, ...]).decode(text)


def _part(content: str | Part) -> Part:
    return TextPart(content) if isinstance(content, str) else content
