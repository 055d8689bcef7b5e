"""Messages to and from a model, and the parts that they consist of.

A `Message` has a role and an ordered tuple of parts. Parts are frozen values in a closed
union (`Part`): they compare by content, and convert to JSON and back without loss (bytes as base64).

Data for one vendor only is kept in two places: a part's `vendor` (fields to send back with that part,
by wire: an Anthropic thinking signature, a Gemini thought signature) and `VendorPart` (a whole item of
a wire: a server tool's result, an encrypted reasoning item). An encoder sends back the data of its own
wire and omits the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

__all__ = [
    "AudioPart",
    "DocumentPart",
    "ImagePart",
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
VendorFields: TypeAlias = dict[str, dict[str, object]]
"""Opaque fields to send back with a part, by wire ("anthropic", "gemini", ...)."""


class TextPart(msgspec.Struct, frozen=True, tag="text"):
    """Plain text.

    Args:
        text: The text.
        vendor: Opaque fields to send back with it, by wire.
    """

    text: str
    vendor: VendorFields | None = None


class ImagePart(msgspec.Struct, frozen=True, tag="image"):
    """An image.

    Args:
        url: Where the vendor downloads it. Give either `url` or `data`.
        data: The bytes of the file.
        media_type: The MIME type of `data`, e.g. "image/png".
        detail: The resolution at which the vendor looks at it, where it offers a choice; None: the vendor's default.
    """

    url: str | None = None
    data: bytes | None = None
    media_type: str | None = None
    detail: Literal["auto", "low", "high"] | None = None

    def __post_init__(self) -> None:
        _one_source(self)


class DocumentPart(msgspec.Struct, frozen=True, tag="document"):
    """A document such as a PDF.

    Args:
        url: Where the vendor downloads it. Give either `url` or `data`.
        data: The bytes of the file.
        media_type: The MIME type of `data`, e.g. "application/pdf".
        name: The file name to tell the vendor.
    """

    url: str | None = None
    data: bytes | None = None
    media_type: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        _one_source(self)


class AudioPart(msgspec.Struct, frozen=True, tag="audio"):
    """A sound recording.

    Args:
        url: Where the vendor downloads it. Give either `url` or `data`.
        data: The bytes of the file.
        media_type: The MIME type of `data`, e.g. "audio/wav".
    """

    url: str | None = None
    data: bytes | None = None
    media_type: str | None = None

    def __post_init__(self) -> None:
        _one_source(self)


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


class ToolResult(msgspec.Struct, frozen=True, tag="tool_result"):
    """The result of a tool call.

    Args:
        id: The id of the call.
        content: The result, as text for the model.
        name: The name of the tool.
        is_error: True if the tool failed and `content` says why.
    """

    id: str
    content: str
    name: str = ""
    is_error: bool = False


class VendorPart(msgspec.Struct, frozen=True, tag="vendor"):
    """An item of one wire that is sent back unchanged.

    Args:
        wire: The name of the wire ("anthropic", "openai-responses", ...).
        data: The item's JSON.
    """

    wire: str
    data: dict[str, object]


Part: TypeAlias = TextPart | ImagePart | DocumentPart | AudioPart | ReasoningPart | ToolCall | ToolResult | VendorPart


class Message(msgspec.Struct, frozen=True):
    """A message of a conversation.

    Args:
        role: Who speaks: "system", "user", "assistant" or "tool".
        parts: The content, in order.

    >>> Message.user("What is in the picture?", ImagePart(url="https://example.com/cat.png")).text
    'What is in the picture?'
    """

    role: Role
    parts: tuple[Part, ...]

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
    return msgspec.json.decode(text, type=tuple[Message, ...])


def _one_source(part: ImagePart | DocumentPart | AudioPart) -> None:
    kind = type(part).__name__
    if (part.url is None) == (part.data is None):
        raise ValueError(f"{kind} needs either url= or data=, and one of them only")
    if part.data is not None and not part.media_type:
        raise ValueError(f'{kind}(data=...) needs media_type=, for example "image/png"')


def _part(content: str | Part) -> Part:
    return TextPart(content) if isinstance(content, str) else content
