"""Structured answers: how the model is asked for one, and the correction it gets if its answer is not valid.

Mode "schema" uses the vendor's schema mode, "tool" makes the answer the arguments of a tool, "prompt" asks for JSON in
the system message, and "auto" takes the first of these that the model supports together with the assistant's tools.
Vendors require an object: in the first two modes an answer of another type (list, string, union) is the one field of
an object.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Literal, TypeAlias

import reactivex as rx
from reactivex import operators as rx_ops
from reactivex.subject import Subject

from .._json import encode
from .._schema import json_schema, object_type, unboxed
from ..errors import ConfigurationError, OutputParsingError
from ..events import Response, TokenEvent
from ..messages import Message, ToolCall, ToolResult
from ..model import StreamingModel
from ..operators.json.json_in_answer import note_answer
from ..operators.json.structured import parse, partial_json
from ..options import CallOptions, Tool, format_of, tool_of

StructuredMode: TypeAlias = Literal["auto", "schema", "tool", "prompt"]

ANSWER_TOOL = "give_answer"
_ATTEMPTS: tuple[StructuredMode, ...] = ("schema", "tool")


class Structure:
    """The type of an answer, and the mode in which the model is asked for it.

    Args:
        kind: The type of the answer.
        mode: The mode.
        model: The model to ask.
        options: The options of the turn's requests.
    """

    def __init__(self, kind: type[object], mode: StructuredMode, model: StreamingModel, options: CallOptions) -> None:
        self._model = model
        self._schema = json_schema(kind)
        self._boxed = object_type(kind)
        self.mode: StructuredMode = self._supported_mode(options) if mode == "auto" else mode
        self._kind = kind if self.mode == "prompt" else self._boxed

    @property
    def instructions(self) -> str | None:
        """The part of the system message that asks for the answer."""
        if self.mode == "tool":
            return f"Give your final answer by calling the tool {ANSWER_TOOL}, and in no other way."
        if self.mode == "prompt":
            return f"Give your final answer as JSON alone, of this JSON schema: {encode(self._schema).decode()}"
        return None

    def add_to(self, options: CallOptions) -> CallOptions:
        """Return the options of a request for the answer.

        Args:
            options: The options of the turn's requests.

        Raises:
            ConfigurationError: The model does not support them.
        """
        asked = self._options(self.mode, options)
        self._model.stream("?", **asked)  # cold: nothing is sent
        return asked

    def _supported_mode(self, options: CallOptions) -> StructuredMode:
        """Return the first mode that the model supports; nothing is sent."""
        for mode in _ATTEMPTS:
            with suppress(ConfigurationError):
                self._model.stream("?", **self._options(mode, options))
                return mode
        return "prompt"

    def _options(self, mode: StructuredMode, options: CallOptions) -> CallOptions:
        """Return `options` with what asks for the answer in `mode`."""
        if mode == "schema":
            return {**options, "response_format": format_of(self._boxed)}
        if mode == "tool":
            own = tuple(options.get("tools") or ())
            if any(tool_of(tool).name == ANSWER_TOOL for tool in own):
                raise ConfigurationError(f"a tool is named {ANSWER_TOOL!r}, as the tool for the answer: rename it")
            answer = Tool(ANSWER_TOOL, "Give the final answer.", json_schema(self._boxed))
            return {**options, "tools": (*own, answer), "tool_choice": "required" if own else ANSWER_TOOL}
        return options

    def follow(self, on_value: Callable[[object], None]) -> Callable[[TokenEvent], None]:
        """Return a function that takes the events of a step and calls `on_value` with each partial answer.

        Args:
            on_value: Called with partial answers, as values of the type.
        """
        events: Subject[TokenEvent | str] = Subject()
        tool = ANSWER_TOOL if self.mode == "tool" else None
        # Errors are reported when the answer is complete.
        events.pipe(partial_json(self._kind, tool=tool), rx_ops.map(unboxed)).subscribe(on_value, _ignore)

        def on_event(event: TokenEvent) -> None:
            with suppress(BaseException):  # a validator of the type, which is code of the user
                events.on_next(event)

        return on_event

    def answer_call(self, response: Response) -> ToolCall | None:
        """Return the call that holds the answer, in mode "tool".

        Args:
            response: The model's answer.
        """
        calls = response.tool_calls if self.mode == "tool" else ()
        return next((call for call in calls if call.name == ANSWER_TOOL), None)

    def text(self, response: Response) -> str:
        """Return the answer as text.

        Args:
            response: The model's answer.
        """
        call = self.answer_call(response)
        return response.text if call is None else encode(call.arguments).decode()

    def value(self, response: Response) -> object:
        """Return the answer as a value of the type.

        Args:
            response: The model's answer.

        Raises:
            OutputParsingError: The answer is not of the type.
        """
        text: TokenEvent | str = self.text(response)
        try:
            return unboxed(rx.just(text).pipe(parse(self._kind)).run())
        except OutputParsingError as error:
            note_answer(error, response)
            raise

    def correction(self, response: Response, reason: str) -> list[Message]:
        """Return the messages that ask for a better answer: the answer, and why it is not valid.

        Args:
            response: The model's answer.
            reason: What is wrong with it.
        """
        said = f"Your answer is not valid: {reason}. Answer again with valid JSON of the schema, and nothing else."
        if response.tool_calls:
            results = [ToolResult(call.id, said, call.name, is_error=True) for call in response.tool_calls]
            return [response.message, Message.tool(*results)]
        return [*([response.message] if response.parts else ()), Message.user(said)]


def _ignore(_: Exception) -> None:
    """Ignore the error: partial values end when the text can no longer become valid."""
