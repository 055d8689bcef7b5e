"""The assistant: a model with a system message, tools and a memory. A turn is one Observable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from reactivex import Observable, abc
from reactivex import operators as rx_ops
from typing_extensions import TypeVar, Unpack

from .._arguments import check_arguments
from .._core.awaitable import AwaitableObservable
from ..errors import ConfigurationError
from ..events import Response, StreamEnd
from ..messages import Message
from ..model import StreamingModel
from ..operators._operator import check_number
from ..options import CallOptions
from ..prompt import messages_of
from ..sinks.iterate import iter_events
from ._await_value import AsyncioLoop
from ._tool_loop import ToolLoop
from ._turn_request import (
    Approve,
    AssistantSettings,
    System,
    TurnInput,
    TurnRequest,
    conversation_input,
)
from .events import AssistantEvent, StructuredAnswer, TypedEvent
from .memory import Memory
from .structured import Structure, StructuredMode
from .templates import render
from .tools import ToolLike, as_tools

T = TypeVar("T", default=object)
AnswerT = TypeVar("AnswerT", default=Response)


class Assistant:
    """Answers turns: asks the model, runs the tools that it calls, and asks again until it answers.

    Thread-safe: any number of turns may run at the same time. A turn always ends: whatever a tool or `approve` raises
    becomes a result that the model reads, and whatever `system`, the memory or the model raises ends the turn with an
    `LLMError`. All async tools and approvals of an assistant run on one event loop, so that they may share locks,
    queues and HTTP clients; on an asyncio `scheduler` they run on its loop. An async tool must not block.

    Args:
        model: The model to ask.
        system: The system message: a template (`{{name}}`), or a function of the `TurnContext` that returns the text.
        tools: Functions and tools. Tools of one answer run at the same time.
        memory: Keeps conversations; default: each turn stands alone.
        max_iterations: The most requests that a turn makes.
        approve: Decides before each tool call whether it may run; default: every call may run.
        tool_timeout: Seconds that a tool may run, approval apart; default: no limit.
        keep_partial: Whether a turn that fails or is disposed adds its complete steps and the text so far to the
            memory; default: it leaves the memory as it was.
        scheduler: Runs the tools and all of a turn except the requests; default: daemon threads.
        options: Options of `create_streaming_model` to override in all requests.

    Raises:
        ConfigurationError: A tool or an option is not supported.

    >>> from rxllm.testing import ScriptedModel
    >>> assistant = Assistant(ScriptedModel("Hello, Ada"), system="You talk to {{user}}.")
    >>> assistant.chat("Hi", variables={"user": "Ada"}).text
    'Hello, Ada'
    """

    @check_arguments
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
        check_number("Assistant(max_iterations=...)", max_iterations, 1)
        check_number("Assistant(tool_timeout=...)", tool_timeout)
        named = as_tools(tools)
        for name, tool in named.items():
            if approve is None and getattr(tool, "approve", None):
                raise ConfigurationError(f"tool {name!r} needs approval, and the assistant has no approve=")
        self._settings = AssistantSettings(
            model=model,
            system=system,
            tools=named,
            memory=memory,
            max_iterations=max_iterations,
            approve=approve,
            tool_timeout=tool_timeout,
            keep_partial=keep_partial,
            scheduler=scheduler,
            options=options or {},
            loop=AsyncioLoop(),
        )
        self._checked({})

    @check_arguments
    def stream(
        self,
        user_input: str | Message | Sequence[Message],
        *,
        variables: Mapping[str, object] | None = None,
        conversation: str = "",
        response_type: type[T] | None = None,
        structured_mode: StructuredMode = "auto",
        max_corrections: int = 2,
        **options: Unpack[CallOptions],
    ) -> Observable[TypedEvent[T]]:
        """Return a turn as a cold Observable: each subscription runs its own turn.

        Errors after this call are emitted as an `LLMError`; those of tools are results for the model. Disposing, from
        any thread, stops the request and the tools.

        Args:
            user_input: The question; or, without a memory, a whole conversation that ends with a question, with tool
                results, or with an answer whose tool calls have no results yet: the turn begins with these calls (it
                continues in this way after an approval elsewhere).
            variables: Values of the template's variables; with them, a text input is a template too.
            conversation: The name of the conversation in the memory.
            response_type: The type of the answer. The stream then emits `PartialAnswer`s, asks again after an invalid
                answer, and ends with a `StructuredAnswer`.
            structured_mode: How the model is asked for the type: "auto", "schema", "tool" or "prompt".
            max_corrections: How often the model is asked again after an invalid answer or call.
            options: Options of `create_streaming_model` to override in this turn.

        Raises:
            ConfigurationError: A variable is missing, or an option or the mode is not supported.
        """
        check_number("max_corrections=", max_corrections, 0)
        given: Mapping[str, object] = variables or {}
        turn_input = self._input(user_input, variables)
        system = self._settings.system
        if isinstance(system, str):  # a function is called when the turn runs
            system = render(system, given)
        call = self._checked(options)
        structure = None
        if response_type is not None:
            structure = Structure(response_type, structured_mode, self._settings.model, call)
            call = structure.add_to(call)
        request = TurnRequest(self._settings, call, system, given, conversation, turn_input, structure, max_corrections)

        events = AwaitableObservable[AssistantEvent](lambda observer, _: ToolLoop(request, observer).start())
        return cast("Observable[TypedEvent[T]]", events)

    def chat(
        self,
        user_input: str | Message | Sequence[Message],
        *,
        variables: Mapping[str, object] | None = None,
        conversation: str = "",
        response_type: type[AnswerT] | None = None,
        structured_mode: StructuredMode = "auto",
        max_corrections: int = 2,
        **options: Unpack[CallOptions],
    ) -> AnswerT:
        """Run a turn; block until it has ended, and return the answer. Interrupting (Ctrl-C) stops the turn.

        Args:
            user_input: The question, or a whole conversation.
            variables: Values of the template's variables.
            conversation: The name of the conversation in the memory.
            response_type: The type of the answer; default: return the `Response`.
            structured_mode: How the model is asked for the type.
            max_corrections: How often the model is asked again after an invalid answer or call.
            options: Options of `create_streaming_model` to override in this turn.

        Raises:
            LLMError: The error that the turn ended with.
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
        wanted = StreamEnd if response_type is None else StructuredAnswer
        (event,) = iter_events(events.pipe(rx_ops.filter(lambda event: type(event) is wanted)))  # a turn has one
        answer = event.response if isinstance(event, StreamEnd) else cast("StructuredAnswer[object]", event).value
        return cast("AnswerT", answer)

    def _input(
        self, user_input: str | Message | Sequence[Message], variables: Mapping[str, object] | None
    ) -> TurnInput:
        """Return the input of a turn: a question, or a whole conversation if there is no memory."""
        if isinstance(user_input, str | Message):
            return conversation_input([_question(user_input, variables)])
        if self._settings.memory is not None:
            raise ConfigurationError("this assistant has a memory: give it the question, not the whole conversation")
        return conversation_input(messages_of(user_input) if user_input else ())

    def _checked(self, options: CallOptions) -> CallOptions:
        """Return the options of the turn's requests; raise `ConfigurationError` if the model does not support them."""
        call = cast("CallOptions", {**self._settings.options, **options})
        if "tools" in call:
            raise ConfigurationError("an assistant runs its tools: give them as Assistant(tools=[...])")
        if self._settings.tools:
            call["tools"] = [tool.tool for tool in self._settings.tools.values()]
        self._settings.model.stream("?", **call)  # cold: nothing is sent
        return call


def _question(user_input: str | Message, variables: Mapping[str, object] | None) -> Message:
    if isinstance(user_input, Message):
        if user_input.role != "user":
            raise ConfigurationError(f"a turn needs a message of the user; got one of the role {user_input.role!r}")
        return user_input
    return Message.user(user_input if variables is None else render(user_input, variables))
