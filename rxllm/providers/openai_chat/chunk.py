"""The chat completion chunk that nearly all chunks are: a piece of text, reasoning or arguments.

Reading it typed takes half the time of reading any JSON. It is strict: a chunk with any other field
raises, and is read in full.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from ..._schema import decoder

_Anything: TypeAlias = object


class _Function(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    arguments: str
    name: None = None


class CallPiece(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A piece of the arguments of a tool call that has begun."""

    index: int
    function: _Function
    id: None = None


class _Delta(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    content: str | None = None
    role: _Anything = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: None = None
    tool_calls: tuple[CallPiece] | None = None
    function_call: None = None


class _Choice(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    delta: _Delta
    index: Literal[0] = 0
    finish_reason: None = None
    native_finish_reason: None = None
    logprobs: None = None


class _PlainChunk(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    choices: tuple[_Choice]
    id: _Anything = None
    object: _Anything = None
    created: _Anything = None
    model: _Anything = None
    provider: _Anything = None
    service_tier: _Anything = None
    system_fingerprint: _Anything = None
    usage: None = None
    obfuscation: _Anything = None
    p: _Anything = None


plain_chunk = decoder(_PlainChunk).decode
"""The chunk in a frame's data; raises `ValueError` or `RecursionError` if it is not a plain chunk."""

CHUNK_FIELDS = frozenset(_PlainChunk.__struct_fields__) - {"provider", "service_tier"}
"""Fields of a chunk that are read, or can be ignored.

`provider` and `service_tier` come with the chunks that are read in full: the first and the last.
"""

DELTA_FIELDS = frozenset(
    {
        *_Delta.__struct_fields__,
        *("reasoning_text", "reasoning_details"),
        *("name", "channel", "index", "token_id", "text"),
    }
)
"""Fields of a delta that are read, or can be ignored."""
