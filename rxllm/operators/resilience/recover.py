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
from ..text.filtered_response import text_delta
from .continuation import OverlapRemover, join_responses
from .fallback import MAX_DELAY, backoff, is_worth_another, reset_after, stream_of

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
    when: Callable[[Exception], bool] | None = None,
    scheduler: abc.SchedulerBase | None = None,
    jitter: Callable[[float, float], float] = random.uniform,
) -> Operator[TokenEvent, TokenEvent]:
    """Recover if the connection breaks after the first content.

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
        when: Returns whether an error is recovered from; default: errors of the classes "retry" and "next" of
            `error_class`.
        scheduler: Runs the delays; default: the scheduler given to subscribe(), else a thread for all delays.
        jitter: Returns a delay between two numbers of seconds; default: a random one.

    Raises:
        ConfigurationError: `mode` is unknown, `prompt` is no prompt, or `ask` and `prompt` are not given together.

    ::

        -S-Hel-lo-X                                   the stream, cut
                  ..S- wor-ld-|                       ask([*prompt, assistant "Hello"])
        [ recover("continue", continuing(model), prompt) ]
        -S-Hel-lo----- wor-ld-|
    """
    if mode not in ("continue", "restart"):
        raise ConfigurationError(f'recover() takes "continue" or "restart"; got {mode!r}')
    if (ask is None) != (prompt is None) or (mode == "continue" and ask is None):
        raise ConfigurationError(f"recover({mode!r}) needs both ask=, to ask the model, and prompt=, what it was asked")
    messages = () if prompt is None else messages_of(prompt)
    delay_of = backoff(base_delay, max_delay, jitter)

    def operator(source: Observable[TokenEvent]) -> Observable[TokenEvent]:
        """Return the stream with its recoveries."""

        def next_stream(prefix: str) -> Observable[TokenEvent]:
            return source if ask is None else stream_of(partial(ask, _with_prefix(messages, prefix)))

        def start() -> tuple[Attempt, OnFailure]:
            recovery = _Recovery(mode, next_stream, messages, max_recoveries, delay_of, when or is_worth_another)
            return recovery.first_attempt(source), recovery.decide

        return stream_attempts(start, scheduler)

    return operator


class _Recovery:
    """The answer of one subscription, over all its attempts."""

    def __init__(
        self,
        mode: RecoverMode,
        next_stream: Callable[[str], Observable[TokenEvent]],
        messages: Sequence[Message],
        max_recoveries: int,
        delay_of: Callable[[Exception, int], float | None],
        when: Callable[[Exception], bool],
    ) -> None:
        self._mode = mode
        self._next_stream = next_stream
        self._messages = messages
        self._max_recoveries = max_recoveries
        self._delay_of = delay_of
        self._when = when
        self._recoveries = 0
        self._attempt = _RecoverAttempt(None, Usage())
        self._partial = Response()
        """The valid part of the answer."""
        self._spent = Usage()

    def first_attempt(self, source: Observable[TokenEvent]) -> Attempt:
        """Return the stream itself as the first attempt."""
        return Attempt(self._attempt.applied_to(source))

    def decide(self, error: Exception, answered: bool) -> Attempt | Exception:
        """Return the attempt that continues or restarts the answer; the error if there is none."""
        if not answered:
            return error
        self._add_attempt(error)
        delay = self._delay_of(error, self._recoveries)
        continues = self._mode == "continue" and bool(self._partial.text.strip())
        has_tool_call = self._attempt.has_tool_call or bool(self._partial.tool_calls)
        if (
            self._recoveries >= self._max_recoveries
            or delay is None
            or (continues and has_tool_call)
            or not self._when(error)
        ):
            return self._with_partial(error)
        self._recoveries += 1
        attempt = self._attempt = _RecoverAttempt(self._partial if continues else None, self._spent)
        return Attempt(
            attempt.applied_to(self._next_stream(attempt.overlap.sent)),
            delay,
            () if continues else (reset_after(error),),
        )

    def _add_attempt(self, error: Exception) -> None:
        """Add the content and the usage of the failed attempt."""
        attempt = self._attempt
        partial = attempt.partial(error, self._messages)
        self._spent = add_usage(self._spent, partial.usage)
        if attempt.earlier is not None:
            partial = join_responses(attempt.earlier, partial, attempt.overlap.dropped)
        if attempt.has_content():
            self._partial = partial

    def _with_partial(self, error: Exception) -> Exception:
        """Return `error` with the valid part of the answer as its partial response, if there were several attempts."""
        if isinstance(error, LLMError) and self._recoveries:
            error.partial = msgspec.structs.replace(self._partial, usage=self._spent)
        return error


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
        """Return the partial response of `error`, with the text that this step has received."""
        answer = ResponseBuilder()
        for event in self._events:
            answer.add(event)
        seen = answer.response()
        known = error.partial if isinstance(error, LLMError) else None
        if known is None:
            return with_estimate(seen, encode(messages)) if self._events else seen
        if known.text == seen.text:
            return known
        return msgspec.structs.replace(
            known, text=seen.text, reasoning=seen.reasoning, tool_calls=seen.tool_calls, parts=seen.parts
        )

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
