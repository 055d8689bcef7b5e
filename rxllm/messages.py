"""What is said to a model and by it: messages, made of parts.

A `Message` has a role and an ordered tuple of parts. Parts are frozen values in a closed
union (`Part`), so they compare, and go to JSON and back without loss (bytes as base64).

What only one vendor understands travels in two places and nowhere else: a part's `vendor`
(fields to send back with that part, keyed by wire: an Anthropic thinking signature, a Gemini
thought signature) and `VendorPart` (a whole item of a wire: a server tool's result, an
encrypted reasoning item). An encoder sends back what bears its own wire's name and leaves
the rest out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
VendorFields: TypeAlias = dict[str, dict[str, object]]
"""Opaque fields to send back with a part, keyed by wire ("anthropic", "gemini", ...)."""


class TextPart(msgspec.Struct, frozen=True, tag="text"):
    """Plain text."""

    text: str
    vendor: VendorFields | None = None


class ImagePart(msgspec.Struct, frozen=True, tag="image"):
    """An image, by `url` or as `data` (bytes, with its `media_type`)."""

    url: str | None = None
    data: bytes | None = None
    media_type: str | None = None
    detail: Literal["auto", "low", "high"] | None = None

    def __post_init__(self) -> None:
        _one_source(self)


class DocumentPart(msgspec.Struct, frozen=True, tag="document"):
    """A document such as a PDF, by `url` or as `data` (bytes, with its `media_type`)."""

    url: str | None = None
    data: bytes | None = None
    media_type: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        _one_source(self)


class AudioPart(msgspec.Struct, frozen=True, tag="audio"):
    """A sound recording, by `url` or as `data` (bytes, with its `media_type`, e.g. "audio/wav")."""

    url: str | None = None
    data: bytes | None = None
    media_type: str | None = None

    def __post_init__(self) -> None:
        _one_source(self)


class ReasoningPart(msgspec.Struct, frozen=True, tag="reasoning"):
    """What the model thought; `vendor` holds the signature or cipher its vendor wants back."""

    text: str
    vendor: VendorFields | None = None


class ToolCall(msgspec.Struct, frozen=True, tag="tool_call"):
    """A function the model asks you to run; `arguments` is the parsed JSON object."""

    id: str
    name: str
    arguments: dict[str, object]
    vendor: VendorFields | None = None


class ToolResult(msgspec.Struct, frozen=True, tag="tool_result"):
    """What a tool call gave; `id` is the call's, `name` the function's."""

    id: str
    content: str
    name: str = ""
    is_error: bool = False


class VendorPart(msgspec.Struct, frozen=True, tag="vendor"):
    """A whole item of one wire, carried and sent back as it came."""

    wire: str
    data: dict[str, object]


Part: TypeAlias = TextPart | ImagePart | DocumentPart | AudioPart | ReasoningPart | ToolCall | ToolResult | VendorPart


class Message(msgspec.Struct, frozen=True):
    """One turn: a role and its parts.

    >>> Message.user("What is in the picture?", ImagePart(url="https://example.com/cat.png")).text
    'What is in the picture?'
    """

    role: Role
    parts: tuple[Part, ...]

    @classmethod
    def system(cls, text: str) -> Message:
        """Instructions to the model."""
        return cls("system", (TextPart(text),))

    @classmethod
    def user(cls, *content: str | Part) -> Message:
        """What the user says: text, images, documents, sound."""
        return cls("user", tuple(map(_part, content)))

    @classmethod
    def assistant(cls, *content: str | Part) -> Message:
        """What the model said; take `Response.message` where you have one: it loses nothing."""
        return cls("assistant", tuple(map(_part, content)))

    @classmethod
    def tool(cls, *results: ToolResult) -> Message:
        """What the tools gave, in the order of their calls."""
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
    """A conversation as JSON text; `messages_from_json` gives it back unchanged."""
    return msgspec.json.encode(messages).decode()


def messages_from_json(text: str | bytes) -> tuple[Message, ...]:
    """The conversation that `messages_to_json` wrote; raises `ValueError` on other JSON."""
    return msgspec.json.decode(text, type=tuple[Message, ...])


def _one_source(part: ImagePart | DocumentPart | AudioPart) -> None:
    kind = type(part).__name__
    if (part.url is None) == (part.data is None):
        raise ValueError(f"{kind} needs either url= or data=, and one of them only")
    if part.data is not None and not part.media_type:
        raise ValueError(f'{kind}(data=...) needs media_type=, for example "image/png"')


def _part(content: str | Part) -> Part:
    return TextPart(content) if isinstance(content, str) else content
