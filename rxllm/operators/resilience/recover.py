"""After a cut in the middle of an answer: go on from where it was cut, or begin again.

Both cost another request, and are asked for by name. Before the first content event there is
nothing to recover: see `retry` and `fallback_to`.
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
)
from ...messages import Message
from ...prompt import Prompt, messages_of
from .._operator import Operator, run_steps
from .._response_builder import ResponseBuilder
from .continuation import OverlapRemover, join_responses
from .fallback import MAX_DELAY, backoff, is_worth_another, reset_after, stream_of

RecoverMode: TypeAlias = Literal["continue", "restart"]

Ask: TypeAlias = Callable[[Sequence[Message]], Observable[TokenEvent]]
"""Asks a model: `model.stream`, for one."""


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
    """Where the stream is cut after its first content, ask once more, at most `max_recoveries` times.

    - "continue": ask the model to go on from the text so far, which is sent as the beginning of the
      assistant's answer, after `prompt`. Texts are joined without a seam; what the server repeats
      of it is dropped. Where no text has come yet (only reasoning, say), the answer begins again.
      A cut inside or after a tool call is not continued: its error goes on.
    - "restart": begin again. `StreamReset` says that what came before is void, right before the new
      answer's first content; until then it stands, and for good if there is none. Without `ask`, the
      stream itself is subscribed to again.

    `StreamEnd` holds the joined text, and the usage of all requests together. So does
    `error.partial`, where the last try fails as well. Waits are those of `retry`. `when` decides for
    which errors; by default those of the classes "retry" and "next" (see `error_class`).

    Few vendors let an answer be continued, and each in its own way: `rxllm.continuing(model)` is the
    `ask` for those that do, and refuses the others by name. Put this right after the model's stream.

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
        def again(prefix: str) -> Observable[TokenEvent]:
            return source if ask is None else stream_of(partial(ask, _with_prefix(messages, prefix)))

        def start() -> tuple[Attempt, OnFailure]:
            recovery = _Recovery(mode, again, messages, max_recoveries, delay_of, when or is_worth_another)
            return recovery.first_attempt(source), recovery.decide

        return stream_attempts(start, scheduler)

    return operator


class _Recovery:
    """What is known of one subscription's answer, over all its tries."""

    def __init__(
        self,
        mode: RecoverMode,
        again: Callable[[str], Observable[TokenEvent]],
        messages: Sequence[Message],
        max_recoveries: int,
        delay_of: Callable[[Exception, int], float | None],
        when: Callable[[Exception], bool],
    ) -> None:
        self._mode = mode
        self._again = again
        self._messages = messages
        self._max_recoveries = max_recoveries
        self._delay_of = delay_of
        self._when = when
        self._tries = 0
        self._leg = _RecoverAttempt(None, Usage())
        self._partial = Response()
        """What stands of the answer."""
        self._spent = Usage()

    def first_attempt(self, source: Observable[TokenEvent]) -> Attempt:
        """The stream itself."""
        return Attempt(self._leg.seen_of(source))

    def decide(self, error: Exception, answered: bool) -> Attempt | Exception:
        """Go on, or begin again; the error, where neither can be."""
        if not answered:
            return error
        self._take_in(error)
        delay = self._delay_of(error, self._tries)
        goes_on = self._mode == "continue" and bool(self._partial.text.strip())
        called = self._leg.called or bool(self._partial.tool_calls)
        if self._tries >= self._max_recoveries or delay is None or (goes_on and called) or not self._when(error):
            return self._told(error)
        self._tries += 1
        leg = self._leg = _RecoverAttempt(self._partial if goes_on else None, self._spent)
        return Attempt(leg.seen_of(self._again(leg.prefix)), delay, () if goes_on else (reset_after(error),))

    def _take_in(self, error: Exception) -> None:
        """What the failed try has brought, and cost."""
        leg = self._leg
        partial = leg.partial(error, self._messages)
        self._spent = add_usage(self._spent, partial.usage)
        if leg.has_content():
            self._partial = partial if leg.earlier is None else join_responses(leg.earlier, partial, leg.dropped)

    def _told(self, error: Exception) -> Exception:
        """`error` with all that stands of the answer, where it is more than the error knows itself."""
        if isinstance(error, LLMError) and self._tries:
            error.partial = msgspec.structs.replace(self._partial, usage=self._spent)
        return error


class _RecoverAttempt:
    """One try: a step that sees its events, and passes them on as part of the whole."""

    done = False

    def __init__(self, earlier: Response | None, spent: Usage) -> None:
        self.earlier = earlier
        """What this try goes on from; None where it begins an answer."""
        self.called = False
        """A tool call has begun."""
        self._seam = None if earlier is None else OverlapRemover(earlier.text)
        self._spent = spent
        self._events: list[TokenEvent] = []

    @property
    def prefix(self) -> str:
        """The text that the model is asked to go on from."""
        return self._seam.sent if self._seam is not None else ""

    @property
    def dropped(self) -> int:
        """How many characters of text were said again."""
        return self._seam.dropped if self._seam is not None else 0

    def seen_of(self, stream: Observable[TokenEvent]) -> Observable[TokenEvent]:
        """`stream`, as this step passes it on."""
        return stream.pipe(run_steps(lambda: self))

    def has_content(self) -> bool:
        """Whether any of the answer has come."""
        return any(not isinstance(event, PRELIMINARY_EVENTS) for event in self._events)

    def partial(self, error: Exception, messages: Sequence[Message]) -> Response:
        """What came, as the error has it, but with the text that was seen here."""
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
        """The event as part of the whole."""
        self._events.append(event)
        if type(event) is TextDelta:
            if self._seam is None or not self._seam.open:
                return (event,)
            return _text(self._seam.feed(event.text))
        if type(event) is UsageUpdate:
            return (UsageUpdate(add_usage(self._spent, event.usage)),)
        if type(event) is StreamEnd:
            return (*self.close(), StreamEnd(self._whole(event.response)))
        if type(event) is StreamReset:
            self.earlier = self._seam = None
            self._events.clear()
        self.called = self.called or type(event) is ToolCallStart
        return (event,) if isinstance(event, PRELIMINARY_EVENTS) else (*self.close(), event)

    def close(self) -> Sequence[TokenEvent]:
        """What was held back."""
        return _text(self._seam.flush()) if self._seam is not None else ()

    def fail(self, error: Exception, /) -> Exception:
        """The error as it is; what was held back is not told."""
        if self._seam is not None:
            self._seam.give_up()
        return error

    def _whole(self, response: Response) -> Response:
        if self.earlier is not None:
            response = join_responses(self.earlier, response, self.dropped)
        return msgspec.structs.replace(response, usage=add_usage(self._spent, response.usage))


def _text(new: str) -> Sequence[TokenEvent]:
    return (TextDelta(new),) if new else ()


def _with_prefix(messages: Sequence[Message], prefix: str) -> Sequence[Message]:
    """`messages` with the beginning of the answer, which may be there already."""
    if not prefix:
        return messages
    if messages and messages[-1].role == "assistant" and not messages[-1].tool_calls:
        return (*messages[:-1], Message.assistant(messages[-1].text + prefix))
    return (*messages, Message.assistant(prefix))
