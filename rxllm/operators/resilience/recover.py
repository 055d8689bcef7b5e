"""After a cut in the middle of an answer: continue it, or start it again.

Both cost another request, and are opt-in. Before the first content event there is nothing to recover: see
`retry_transient` and `fallback_to`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, TypeAlias

import msgspec
from reactivex import Observable, abc

from ..._core.attempts import Attempt, OnFailure, stream_attempts
from ..._core.token_usage import add_usage, with_estimate
from ..._json import encode
from ...errors import ConfigurationError, LLMError
from ...events import (
    PRELIMINARY_EVENTS,
    Response,
    StreamEnd,
    StreamReset,
    TextDelta,
    TokenEvent,
    ToolCallStart,
    Usage,
    UsageUpdate,
    proves_answer,
)
from ...messages import Message
from ...prompt import Prompt, messages_of
from .._operator import Operator, Step, run_steps
from .._response_builder import ResponseBuilder
from ..text.text_operator import text_delta
from .answer_joining import OverlapRemover, join_responses
from .fallback import MAX_DELAY, backoff, is_worth_another, stream_of

RecoverMode: TypeAlias = Literal["continue", "restart"]

Ask: TypeAlias = Callable[[Sequence[Message]], Observable[TokenEvent]]
"""Returns the stream for messages: `model.stream`, for example."""


def recover(
    mode: RecoverMode,
    ask: Ask | None = None,
    prompt: Prompt | None = None,
    *,
    max_recoveries: int = 2,
    base_delay: float = 0.5,
    max_delay: float = MAX_DELAY,
    scheduler: abc.SchedulerBase | None = None,
    jitter: Callable[[float, float], float] = random.uniform,
) -> Operator[TokenEvent, TokenEvent]:
    """Recover if the connection breaks after the first content: after errors of the classes "retry" and "next".

    `StreamEnd` holds the joined text, and the usage of all requests together. So does `error.partial`, if the last
    attempt fails too. Put this right after the model's stream.

    Few vendors can continue an answer, each in its own way: `rxllm.continuing(model)` is the `ask` for those that can,
    and raises ConfigurationError for the others.

    Args:
        mode: "continue": ask the model to continue the text so far, which is sent as the beginning of the
            assistant's answer after `prompt`. The texts are joined without a seam; what the server repeats is
            dropped. If no text has come yet (only reasoning), the answer starts again. A cut inside or after a tool
            call is not continued: its error is emitted. "restart": start again. A `StreamReset` right before the
            first content of the new answer makes what came before void; if there is no such content, it stays valid.
        ask: Returns the stream for messages, for example `model.stream`. "restart" without `ask` subscribes to the
            stream again.
        prompt: The prompt of the stream; needed with `ask`.
        max_recoveries: Requests after the first one, at most.
        base_delay: Seconds, as for `retry_transient`.
        max_delay: Seconds, as for `retry_transient`.
        scheduler: Runs the delays; default: the scheduler given to subscribe(), else a thread for all delays.
        jitter: Returns a delay between two numbers of seconds; default: a random one.

    Raises:
        ConfigurationError: `mode` is unknown, `prompt` is not a prompt, or `ask` and `prompt` are not given together.

    ::

        -S-Hel-lo-X                                   the stream, cut
                  ..S- wor-ld-|                       ask([*prompt, assistant "Hello"])
        [ recover("continue", continuing(model), prompt) ]
        -S-Hel-lo----- wor-ld-|
    """
    if (ask is None) != (prompt is None) or (mode == "continue" and ask is None):
        raise ConfigurationError(f"recover({mode!r}) needs both ask=, to ask the model, and prompt=, what it was asked")
    messages = () if prompt is None else messages_of(prompt)
    delay_of = backoff(base_delay, max_delay, jitter)

    def operator(source: Observable[TokenEvent]) -> Observable[TokenEvent]:
        """Return the stream with its recoveries; each subscription has its own."""

        def start() -> tuple[Attempt, OnFailure]:
            """Return the stream itself as the first attempt, and the function that chooses the next ones."""
            attempt = _RecoverAttempt(None, Usage())
            valid = Response()  # the part of the answer that is not void
            recoveries = 0

            def decide(error: Exception, answered: bool) -> Attempt | Exception:
                """Return the attempt that continues or restarts the answer; the error if there is none."""
                nonlocal attempt, valid, recoveries
                if not answered:
                    return error
                partial_answer = attempt.partial(error, messages)
                if attempt.has_content():
                    valid = partial_answer
                delay = delay_of(error, recoveries)
                continues = mode == "continue" and bool(valid.text.strip())
                cannot_continue = continues and (attempt.has_tool_call or bool(valid.tool_calls))
                if recoveries >= max_recoveries or delay is None or cannot_continue or not is_worth_another(error):
                    if isinstance(error, LLMError) and recoveries:
                        error.partial = msgspec.structs.replace(valid, usage=partial_answer.usage)
                    return error
                recoveries += 1
                attempt = _RecoverAttempt(valid if continues else None, partial_answer.usage)
                given = _with_prefix(messages, attempt.overlap.sent)
                stream = source if ask is None else stream_of(partial(ask, given))
                reset = StreamReset(f"{type(error).__name__}: {error}")
                return Attempt(attempt.applied_to(stream), delay, () if continues else (reset,))

            return Attempt(attempt.applied_to(source)), decide

        return stream_attempts(start, scheduler)

    return operator


class _RecoverAttempt(Step[TokenEvent, TokenEvent]):
    """One attempt: a step that passes its events on as part of the whole answer."""

    def __init__(self, earlier: Response | None, spent: Usage) -> None:
        self.earlier = earlier
        """The answer that this attempt continues; None if it starts one."""
        self.has_tool_call = False
        """A tool call has begun."""
        self.overlap = OverlapRemover("" if earlier is None else earlier.text)
        """Removes what the attempt repeats of `earlier`."""
        self._spent = spent
        self._events: list[TokenEvent] = []

    def applied_to(self, stream: Observable[TokenEvent]) -> Observable[TokenEvent]:
        """Return `stream` with this step applied."""
        return stream.pipe(run_steps(lambda: self))

    def has_content(self) -> bool:
        """Return whether any content has come."""
        return any(map(proves_answer, self._events))

    def partial(self, error: Exception, messages: Sequence[Message]) -> Response:
        """Return the answer so far: the partial response of `error`, with the text that this step has received."""
        answer = ResponseBuilder()
        for event in self._events:
            answer.add(event)
        seen = answer.response()
        known = error.partial if isinstance(error, LLMError) else None
        if known is None:
            known = with_estimate(seen, encode(messages)) if self._events else seen
        elif known.text != seen.text:
            known = msgspec.structs.replace(
                known, text=seen.text, reasoning=seen.reasoning, tool_calls=seen.tool_calls, parts=seen.parts
            )
        return self._whole(known)

    def feed(self, event: TokenEvent, /) -> Sequence[TokenEvent]:
        """Return the event as part of the whole answer."""
        self._events.append(event)
        if type(event) is TextDelta:
            return text_delta(self.overlap.feed(event.text)) if self.overlap.open else (event,)
        if type(event) is UsageUpdate:
            return (UsageUpdate(add_usage(self._spent, event.usage)),)
        if type(event) is StreamEnd:
            return (*self.close(), StreamEnd(self._whole(event.response)))
        if type(event) is StreamReset:
            self.earlier = None
            self.overlap = OverlapRemover("")
            self._events.clear()
        self.has_tool_call = self.has_tool_call or type(event) is ToolCallStart
        return (event,) if isinstance(event, PRELIMINARY_EVENTS) else (*self.close(), event)

    def close(self) -> Sequence[TokenEvent]:
        """Return what was held back."""
        return text_delta(self.overlap.flush())

    def fail(self, error: Exception, /) -> Exception:
        """Return the error; what was held back is dropped."""
        self.overlap.count_as_repetition()
        return error

    def _whole(self, response: Response) -> Response:
        if self.earlier is not None:
            response = join_responses(self.earlier, response, self.overlap.dropped)
        return msgspec.structs.replace(response, usage=add_usage(self._spent, response.usage))


def _with_prefix(messages: Sequence[Message], prefix: str) -> Sequence[Message]:
    """Return `messages` with the beginning of the answer; `messages` may end with a part of it already."""
    if not prefix:
        return messages
    if messages and messages[-1].role == "assistant" and not messages[-1].tool_calls:
        return (*messages[:-1], Message.assistant(messages[-1].text + prefix))
    return (*messages, Message.assistant(prefix))
