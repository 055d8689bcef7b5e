"""Structured answers: how a model is made to give one, and what is said when it did not.

`schema` uses the vendor's own schema mode, `tool` makes the answer the arguments of a tool, `prompt`
asks for JSON in the instructions. "auto" takes the first of these that the model's wire can honour,
beside the assistant's own tools. Vendors want an object: an answer that is a list, a word, a union
is asked for as the one field of one, in the first two modes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import msgspec
import reactivex as rx
from reactivex import operators as rx_ops
from reactivex.subject import Subject

from .._json import encode
from .._schema import json_schema
from ..errors import ConfigurationError, OutputParsingError
from ..events import Response, TextDelta, TokenEvent
from ..messages import Message, ToolCall, ToolResult
from ..model import StreamingModel
from ..operators.json.structured import parse, partial_json
from ..options import CallOptions, Tool, format_of

StructuredMode: TypeAlias = Literal["auto", "schema", "tool", "prompt"]

ANSWER_TOOL = "give_answer"
_FIELD = "answer"
_ATTEMPTS: tuple[StructuredMode, ...] = ("schema", "tool")


class Structure:
    """The type of an answer, and the mode in which `model` is asked for it."""

    def __init__(self, kind: type[object], mode: StructuredMode, model: StreamingModel, options: CallOptions) -> None:
        self._model = model
        self._schema = json_schema(kind)
        self._bare = kind
        self._boxed = kind if _is_of_object(self._schema) else _box_of(kind)
        self.mode: StructuredMode = _mode_for(self._options, model, options) if mode == "auto" else mode
        self._kind = kind if self.mode == "prompt" else self._boxed

    @property
    def instructions(self) -> str | None:
        """What the system message says of the answer."""
        if self.mode == "tool":
            return f"Give your final answer by calling the tool {ANSWER_TOOL}, and in no other way."
        if self.mode == "prompt":
            return f"Give your final answer as JSON alone, of this JSON schema: {encode(self._schema).decode()}"
        return None

    def add_to(self, options: CallOptions) -> CallOptions:
        """The options of a request for it; raises `ConfigurationError` where the model cannot honour them."""
        asked = self._options(self.mode, options)
        self._model.stream("?", **asked)  # cold: nothing is sent
        return asked

    def _options(self, mode: StructuredMode, options: CallOptions) -> CallOptions:
        if mode == "schema":
            return {**options, "response_format": format_of(self._boxed)}
        if mode == "tool":
            own = tuple(options.get("tools") or ())
            answer = Tool(ANSWER_TOOL, "Give the final answer.", json_schema(self._boxed))
            return {**options, "tools": (*own, answer), "tool_choice": "required" if own else ANSWER_TOOL}
        return options

    def follow(self, on_value: Callable[[object], None]) -> Callable[[TokenEvent], None]:
        """A function to be given a step's events, that tells the answer as it grows."""
        events: Subject[TokenEvent | str] = Subject()
        tool = ANSWER_TOOL if self.mode == "tool" else None
        # What is wrong with the answer is said once it is whole.
        events.pipe(partial_json(self._kind, tool=tool), rx_ops.map(self._unboxed)).subscribe(on_value, _ignore)
        return events.on_next

    def answer_call(self, response: Response) -> ToolCall | None:
        """The call that holds the answer, in tool mode."""
        return next((call for call in response.tool_calls if call.name == ANSWER_TOOL), None)

    def text(self, response: Response) -> str:
        """The answer as text."""
        call = self.answer_call(response)
        return response.text if call is None else encode(call.arguments).decode()

    def value(self, response: Response) -> object:
        """The answer as the type; raises `OutputParsingError` where it is none."""
        values: list[object] = []
        errors: list[Exception] = []
        text: TokenEvent | str = TextDelta(self.text(response))
        rx.of(text).pipe(parse(self._kind)).subscribe(values.append, errors.append)
        if errors:
            raise errors[0]
        if not values:
            raise OutputParsingError("there is no answer", text="", partial=response)
        return self._unboxed(values[0])

    def _unboxed(self, value: object) -> object:
        return value if self._kind is self._bare else getattr(value, _FIELD)

    def correction(self, response: Response, reason: str) -> list[Message]:
        """What was answered, and what to say to it, to get a better answer."""
        said = f"Your answer is not valid: {reason}. Answer again, with nothing but valid JSON of the schema."
        if response.tool_calls:
            results = [ToolResult(call.id, said, call.name, is_error=True) for call in response.tool_calls]
            return [response.message, Message.tool(*results)]
        return [*([response.message] if response.parts else ()), Message.user(said)]


def _is_of_object(schema: Mapping[str, object]) -> bool:
    return schema.get("type") == "object" and schema.keys().isdisjoint({"anyOf", "oneOf", "allOf"})


def _box_of(kind: type[object]) -> type[object]:
    return msgspec.defstruct("Answer", [(_FIELD, kind)], forbid_unknown_fields=True)


def _mode_for(
    add: Callable[[StructuredMode, CallOptions], CallOptions], model: StreamingModel, options: CallOptions
) -> StructuredMode:
    """The first mode in which a request can be made: nothing is sent."""
    for mode in _ATTEMPTS:
        try:
            model.stream("?", **add(mode, options))
        except ConfigurationError:
            continue
        return mode
    return "prompt"


def _ignore(_: Exception) -> None:
    """Partial values end where the text cannot become valid any more."""
