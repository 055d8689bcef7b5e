"""The assistant: a model with instructions, tools and a memory. A turn is one Observable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar, cast, overload

from reactivex import Observable, abc
from reactivex import operators as rx_ops
from typing_extensions import Unpack

from ..errors import ConfigurationError
from ..events import Response, StreamEnd
from ..messages import Message
from ..model import StreamingModel
from ..options import CallOptions
from ..sinks.iterate import iter_events
from ._plan import Opening, Plan, System, opening_of
from ._tool_run import Approve, ToolSettings
from ._turn import Turn
from .events import AssistantEvent, StructuredAnswer
from .memory import Memory
from .structured import Structure, StructuredMode
from .templates import render
from .tools import ToolLike, as_tools

T = TypeVar("T")


class Assistant:
    """Answers turns: asks `model`, runs the tools it calls, and asks again until it answers.

    `system` is a template (`{{name}}`), or a function of the turn that gives the text. Tools of one
    answer run at once; `tool_timeout` is in seconds, for each. `approve` is asked before each call.
    Without a `memory` each turn stands alone. A turn that fails or is disposed leaves the memory
    as it was, or with `keep_partial` adds what there is of it. A turn makes `max_iterations` requests
    at most. Tools, and all of a turn but the requests themselves, run on `scheduler`; by default on
    daemon threads of their own. `options` are those of a call to the model.

    An assistant holds no state of its own: any number of turns may run at once, on any threads.
    Raises `ConfigurationError` where tools or options cannot be honoured.

    >>> from rxllm.testing import ScriptedModel
    >>> assistant = Assistant(ScriptedModel("Hello, Ada"), system="You talk to {{user}}.")
    >>> assistant.chat("Hi", variables={"user": "Ada"}).text
    'Hello, Ada'
    """

    def __init__(
        self,
        model: StreamingModel,
        *,
        system: System | None = None,
        tools: Sequence[ToolLike] = (),
        memory: Memory | None = None,
        max_iterations: int = 10,
        approve: Approve | None = None,
        tool_timeout: float | None = None,
        keep_partial: bool = False,
        scheduler: abc.SchedulerBase | None = None,
        options: CallOptions | None = None,
    ) -> None:
        if max_iterations < 1:
            raise ConfigurationError(f"max_iterations is at least 1; got {max_iterations}")
        self._model = model
        self._system = system
        self._memory = memory
        self._max_iterations = max_iterations
        self._keep_partial = keep_partial
        named = as_tools(tools)
        for name, tool in named.items():
            if approve is None and getattr(tool, "approve", None):
                raise ConfigurationError(f"tool {name!r} is to be approved, and the assistant has no approve=")
        self._settings = ToolSettings(named, approve, tool_timeout, scheduler)
        self._options: CallOptions = options or {}
        self._checked({})

    def stream(
        self,
        user_input: str | Message | Sequence[Message],
        *,
        variables: Mapping[str, object] | None = None,
        conversation: str = "",
        response_type: type[object] | None = None,
        structured_mode: StructuredMode = "auto",
        max_corrections: int = 2,
        **options: Unpack[CallOptions],
    ) -> Observable[AssistantEvent]:
        """A turn as a cold Observable: each subscription is a turn of its own.

        `user_input` may be a whole conversation, in place of a memory: its last message is the
        question, or tools' results, or an answer with calls that lack theirs, which then run first
        (this is how a turn goes on after its user was asked for approval elsewhere).

        With `variables`, text input is a template as `system` is. `conversation` names what the
        memory keeps apart. With a `response_type` the stream tells `PartialAnswer`s, asks again
        after an invalid answer, `max_corrections` times at most, and ends with a `StructuredAnswer`.

        Raises `ConfigurationError` at once where a variable is missing, or an option or the
        `structured_mode` cannot be honoured; what goes wrong later goes to on_error as an `LLMError`,
        failures of tools to the model. Disposing, from any thread, stops the request and the tools.
        """
        given: Mapping[str, object] = variables or {}
        opening = self._opening(user_input, variables)
        system = render(self._system, given) if isinstance(self._system, str) else self._system
        call = self._checked(options)
        structure = None
        if response_type is not None:
            structure = Structure(response_type, structured_mode, self._model, call)
            call = structure.add_to(call)
        plan = Plan(
            model=self._model,
            options=call,
            settings=self._settings,
            system=system,
            variables=given,
            memory=self._memory,
            conversation=conversation,
            opening=opening,
            max_iterations=self._max_iterations,
            keep_partial=self._keep_partial,
            structure=structure,
            max_corrections=max_corrections,
        )

        def subscribe(
            observer: abc.ObserverBase[AssistantEvent], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            return Turn(plan, observer).start()

        return Observable(subscribe)

    @overload
    def chat(
        self,
        user_input: str | Message | Sequence[Message],
        *,
        variables: Mapping[str, object] | None = None,
        conversation: str = "",
        response_type: type[T],
        structured_mode: StructuredMode = "auto",
        max_corrections: int = 2,
        **options: Unpack[CallOptions],
    ) -> T: ...
    @overload
    def chat(
        self,
        user_input: str | Message | Sequence[Message],
        *,
        variables: Mapping[str, object] | None = None,
        conversation: str = "",
        response_type: None = None,
        **options: Unpack[CallOptions],
    ) -> Response: ...
    def chat(
        self,
        user_input: str | Message | Sequence[Message],
        *,
        variables: Mapping[str, object] | None = None,
        conversation: str = "",
        response_type: type[T] | None = None,
        structured_mode: StructuredMode = "auto",
        max_corrections: int = 2,
        **options: Unpack[CallOptions],
    ) -> Response | T:
        """A whole turn; blocks until it has ended. With a `response_type`, the answer as a value of it.

        Raises the `LLMError` that the turn ends with. An interrupt (Ctrl-C) stops the turn.
        """
        events = self.stream(
            user_input,
            variables=variables,
            conversation=conversation,
            response_type=response_type,
            structured_mode=structured_mode,
            max_corrections=max_corrections,
            **options,
        )
        *before, last = iter_events(events.pipe(rx_ops.filter(_is_ending)))
        if response_type is None:
            return cast("StreamEnd", last).response
        return cast("T", cast("StructuredAnswer", before[-1]).value)

    def _opening(
        self, user_input: str | Message | Sequence[Message], variables: Mapping[str, object] | None
    ) -> Opening:
        if isinstance(user_input, str | Message):
            question = _question(user_input, variables)
            return Opening((question,), question)
        if self._memory is not None:
            raise ConfigurationError("this assistant has a memory: give it the question, not the whole conversation")
        return opening_of(user_input)

    def _checked(self, options: CallOptions) -> CallOptions:
        """The options of the turn's requests, refused at once where the model cannot honour them."""
        call = cast("CallOptions", {**self._options, **options})
        if "tools" in call:
            raise ConfigurationError("an assistant runs its tools: give them as Assistant(tools=[...])")
        if self._settings.tools:
            call["tools"] = [tool.tool for tool in self._settings.tools.values()]
        self._model.stream("?", **call)  # cold: nothing is sent
        return call


def _question(user_input: str | Message, variables: Mapping[str, object] | None) -> Message:
    if isinstance(user_input, Message):
        if user_input.role != "user":
            raise ConfigurationError(f"a turn begins with a message of the user's; got one of {user_input.role!r}")
        return user_input
    return Message.user(user_input if variables is None else render(user_input, variables))


def _is_ending(event: AssistantEvent) -> bool:
    return isinstance(event, StreamEnd | StructuredAnswer)
