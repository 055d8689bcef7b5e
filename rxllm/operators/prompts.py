"""Many prompts for one model: `map_prompts`."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeAlias, cast

import msgspec
from reactivex import Observable
from reactivex import operators as rx_ops
from typing_extensions import TypeVar

from .._core.token_usage import add_usage
from .._schema import object_type, unboxed
from ..errors import ConfigurationError, OutputParsingError
from ..events import Response, TokenEvent, Usage
from ..messages import Message
from ..prompt import Prompt, messages_of
from ._operator import Operator, check_number, subscribing
from ._prompt_pool import Progress as Progress
from ._prompt_pool import PromptAnswer as PromptAnswer
from ._prompt_pool import PromptFailure as PromptFailure
from ._prompt_pool import PromptOverflow as PromptOverflow
from ._prompt_pool import PromptPool
from .json.structured import value_of
from .json.typed import Target
from .resilience.fallback import stream_of
from .text.plain import response

P = TypeVar("P")
V = TypeVar("V", default=None)  # without a type, the values are None
P_contra = TypeVar("P_contra", contravariant=True)


class CanStream(Protocol[P_contra]):
    """What operators need of a model: a cold stream for a prompt. `StreamingModel` is one."""

    def stream(self, prompt: P_contra, /) -> Observable[TokenEvent]:
        """Return the answer to a prompt; each subscription makes a request.

        Args:
            prompt: The prompt.
        """
        ...


Source: TypeAlias = CanStream[P] | Callable[[P], Observable[TokenEvent]]
_Ask: TypeAlias = Callable[[P], Observable[TokenEvent]]
_AskAgain: TypeAlias = Callable[[P, OutputParsingError], Observable[TokenEvent]]
"""Asks a prompt once more, after an answer that is not of the type."""


def map_prompts(
    model: Source[P],
    *,
    response_type: type[V] | None = None,
    max_concurrent: int = 8,
    max_waiting: int | None = 64,
    overflow: PromptOverflow = "block",
    ordered: bool = True,
    stop_after_failures: int | None = None,
) -> Operator[P, PromptAnswer[P, V] | PromptFailure[P]]:
    """Ask `model` each prompt, `max_concurrent` at a time; emit a result for each, with the progress.

    on_next is called by one thread at a time. While it runs, no new prompt is sent. In order, no prompt is sent
    more than ``16 * max_concurrent`` ahead of the answer that is due next. An error of the source ends the stream.
    Disposing ends every running request. Retrying is the model's task (`max_retries`).

    A source that is faster than the model is blocked: at most ``max_concurrent + max_waiting`` prompts are in hand.
    So that subscribe() does not block, a source without a scheduler of its own (``reactivex.from_iterable(prompts)``)
    then runs on a new thread, unless subscribe() is given a scheduler. A prompt that your on_next pushes into the
    source is never blocked, as it would wait for itself. A source on virtual time cannot be blocked: there,
    "block" ends the stream with a `StreamError` when too many prompts wait.

    Args:
        model: A model, or a function that returns the stream for an item (a row, for example).
        response_type: The type of the answers: a dataclass, TypedDict, msgspec Struct, pydantic model, or a type
            built of them. A model gets ``response_format=response_type``; a function must set it itself. An
            answer that is not of the type is asked for once more, with the error; then it is a `PromptFailure` with
            an `OutputParsingError`. Default: no type, and `PromptAnswer.value` is None.
        max_concurrent: Requests at the same time, 1 or more.
        max_waiting: Prompts that may wait, 0 or more; None sets no bound.
        overflow: What happens when one more prompt comes. "block": the source's thread blocks until there is room.
            "drop_oldest": the prompt that has waited longest is dropped. "drop_newest": the new prompt is dropped.
            "error": the stream ends with a `StreamError`.
        ordered: True: results come in the order of the prompts. False: each comes when it is ready.
        stop_after_failures: End the stream with the error, when that many results in a row have failed with the same
            error that is not transient (same class and status: a wrong model name, for example); default: never.

    Raises:
        ConfigurationError: A number is out of range, a word is unknown, or JSON cannot be read as `response_type`.

    ::

        --p-q--|
        [map_prompts(model)]
        ------P---Q|
    """
    check_number("map_prompts(max_concurrent=...)", max_concurrent, 1)
    check_number("map_prompts(max_waiting=...)", max_waiting, 0)
    check_number("map_prompts(stop_after_failures=...)", stop_after_failures, 1)
    asked_type = response_type
    if response_type is not None and hasattr(model, "stream"):
        asked_type = cast("type[V]", object_type(response_type))
    ask, ask_again = _asking(model, asked_type)
    answer = _answers(ask, ask_again, None if asked_type is None else Target(asked_type))
    capacity = max_concurrent + (math.inf if max_waiting is None else max_waiting)
    stop_after = stop_after_failures or math.inf
    return subscribing(
        lambda observer, source, given: PromptPool(
            observer, answer, max_concurrent, capacity, overflow, ordered, stop_after
        ).start(source, given)
    )


def _asking(model: Source[P], response_type: type[object] | None) -> tuple[_Ask[P], _AskAgain[P]]:
    """Return what asks `model` a prompt, and what asks it again after an answer that is not of the type."""
    stream = cast("Callable[..., Observable[TokenEvent]] | None", getattr(model, "stream", None))
    if stream is None and not callable(model):
        raise ConfigurationError(f"map_prompts() takes a model, or a function that returns a stream; got {model!r}")
    if stream is None:
        make_stream = cast("_Ask[P]", model)
        return make_stream, lambda prompt, _: make_stream(prompt)
    ask = stream if response_type is None else partial(stream, response_format=response_type)

    def ask_again(prompt: P, error: OutputParsingError) -> Observable[TokenEvent]:
        earlier = (error.partial.message,) if error.partial is not None and error.partial.parts else ()
        correction = Message.user(f"Your answer is not valid: {error}. Answer again, with nothing but the valid JSON.")
        return ask([*messages_of(cast(Prompt, prompt)), *earlier, correction])

    return ask, ask_again


def _answers(
    ask: _Ask[P], ask_again: _AskAgain[P], target: Target[V] | None
) -> Callable[[P], Observable[tuple[Response, V]]]:
    """Return the function that asks a prompt: its stream emits the answer with the value, or fails."""

    def answered(
        make_stream: Callable[[], Observable[TokenEvent]], earlier: Usage | None = None
    ) -> Observable[tuple[Response, V]]:
        """Return the answer of a stream; the usage of an `earlier` one is added."""

        def with_value(answer: Response) -> tuple[Response, V]:
            """Return the answer with its value; raise `OutputParsingError` if it has none."""
            if earlier is not None:
                answer = msgspec.structs.replace(answer, usage=add_usage(earlier, answer.usage))
            try:
                return answer, cast("V", None if target is None else unboxed(value_of(target, answer.text)))
            except OutputParsingError as error:
                error.partial = answer
                raise

        return stream_of(make_stream).pipe(response(), rx_ops.map(with_value))

    def answer(prompt: P) -> Observable[tuple[Response, V]]:
        def once_more(error: Exception, _: object) -> Observable[tuple[Response, V]]:
            if target is None or not isinstance(error, OutputParsingError) or error.partial is None:
                raise error
            return answered(partial(ask_again, prompt, error), error.partial.usage)

        return answered(partial(ask, prompt)).pipe(rx_ops.catch(once_more))

    return answer
