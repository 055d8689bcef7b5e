"""Reads the frames of an answer as JSON objects, and makes the errors of broken answers. For all wires."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import msgspec

from .._json import Json, decode, is_array, is_object, valid_text
from .._protocol import Frame
from .._transport.vendor_errors import Fault, fault_of, stream_error
from ..errors import LLMError, ProtocolError, StreamInterruptedError, ToolArgumentsError

_decode = msgspec.json.Decoder[object](object).decode
"""Strict, unlike `_json.decode`: half of a surrogate pair may find the other half in the next frame."""


class FrameReader:
    """Reads the frames of one answer. Text in what it returns can always be encoded.

    A surrogate pair that is cut between two frames is put together in the second; half a pair becomes U+FFFD.
    """

    def __init__(self) -> None:
        self._high_surrogate = ""
        """The first half of a character whose second half is still to come."""

    def objects(self, frame: Frame) -> Sequence[Json]:
        """Return the JSON objects of a frame: nearly always one; none if its payload is JSON of another type.

        Some servers put several documents into one event: one after the other, or with line breaks between.

        Raises `StreamInterruptedError` if a cut-off last frame does not parse, `ProtocolError`
        if a whole one does not, and the vendor's error if the frame is a bare error document.
        """
        try:
            value = _decode(frame.data)
        except (ValueError, RecursionError):
            try:
                value = self._lenient(frame)
            except ProtocolError:
                values = [] if frame.is_document else _documents(frame.data.decode("utf-8", "replace"))
                if not values:
                    raise
                return values
        if frame.is_document:
            raise _bare_error(value)
        return (value,) if is_object(value) else ()

    def _lenient(self, frame: Frame) -> object:
        """Decode JSON that msgspec refuses: invalid UTF-8 (replaced) and halves of surrogate pairs."""
        try:
            return self._encodable(json.loads(frame.data.decode("utf-8", "replace")))
        except (ValueError, RecursionError) as error:
            if not frame.whole:
                raise interrupted_before("the end of an event") from error
            start = frame.data[:80].decode("utf-8", "replace")
            raise ProtocolError(f"an event is not valid JSON, it starts {start!r}") from error

    def _encodable(self, value: object) -> object:
        """Return `value` with text that can be encoded; half a surrogate pair at the end of a text waits."""
        if isinstance(value, str):
            if self._high_surrogate and "\udc00" <= value[:1] <= "\udfff":
                value, self._high_surrogate = self._high_surrogate + value, ""
            if "\ud800" <= value[-1:] <= "\udbff":
                value, self._high_surrogate = value[:-1], value[-1]
            return valid_text(value)
        if is_array(value):
            return [self._encodable(item) for item in value]
        if is_object(value):
            return {valid_text(key): self._encodable(item) for key, item in value.items()}
        return value


def is_filled(value: object) -> bool:
    """Return whether `value` holds more than nulls, zeros and empty values."""
    return any(value.values()) if is_object(value) else bool(value)


def unknown_fields(source: Mapping[str, object], known: frozenset[str]) -> Json:
    """Return the filled fields of `source` that are not among the `known` ones."""
    if known.issuperset(source):
        return {}  # nearly always
    return {name: value for name, value in source.items() if name not in known and is_filled(value)}


def fields_back(source: Mapping[str, object], known: frozenset[str]) -> Json:
    """Return the fields of `source` that are not among the `known` ones, to be sent back as they came."""
    return {name: value for name, value in source.items() if name not in known and value is not None}


def provider_error(payload: object) -> LLMError:
    """Return the error for a vendor's in-band error payload."""
    return stream_error(fault_of(payload) or Fault("", ()))


def error_event(frame: Frame) -> LLMError:
    """Return the error of an SSE event whose name is "error", whatever its data is."""
    text = frame.data.decode("utf-8", "replace").strip()
    try:
        payload = decode(frame.data)
    except (ValueError, RecursionError):
        payload = text
    return provider_error(payload if fault_of(payload) is not None else {"message": text})


def interrupted_before(terminal: str) -> StreamInterruptedError:
    """Return the error for a stream that ended before `terminal`."""
    return StreamInterruptedError(f"the stream ended before {terminal}; the answer so far is in .partial")


def arguments_error(name: str) -> ToolArgumentsError:
    """Return the error for a whole answer with a tool call whose arguments are not a JSON object."""
    return ToolArgumentsError(f"the arguments of the tool call {name!r} are not a JSON object")


def _bare_error(value: object) -> LLMError:
    """Return the error for a JSON document that stands where a stream was expected."""
    fault = fault_of(value)
    if fault is not None:
        return stream_error(fault)
    return ProtocolError("the server sent a JSON document where a stream was expected: it may not support streaming")


def _documents(text: str) -> list[Json]:
    """Return the JSON objects that follow each other in `text`, up to a [DONE]; empty if there is anything else."""
    values: list[Json] = []
    position = 0
    while position < len(text) and not text.startswith("[DONE]", position):
        try:
            value, position = _scan(text, position)
        except (ValueError, RecursionError):
            return []
        if not is_object(value):
            return []
        values.append(value)
        while text[position : position + 1].isspace():
            position += 1
    return values


_scan = json.JSONDecoder().raw_decode
