"""After a cut in the middle of an answer: continue it, or start it again.

Both cost another request, and are opt-in. Before the first content event there is nothing to recover: see
`retry_transient` and `fallback_to`.

An answer and its continuation are joined without a seam and without repetition. A server
that continues a text may repeat some of it: all of it (Mistral does), or its end. So the beginning of a continuation
is held back as long as it may be a repetition, and dropped if it was one. A repetition is

- the whole text, or
- an end of it with at least `MIN_LETTERS` letters. Shorter ones are more often meant ("really really", a row of equal
  numbers, closing braces). A letter of a script without spaces between words (Chinese, Japanese, Thai ...) counts as
  three: eight letters are one or two words in English, and a whole clause in Chinese.

An end that repeats itself ("ha ha ha ha"), or that stands twice in a row, is a pattern that continues, and no
repetition. White space at the end of the text is not sent (Anthropic refuses it), so the beginning of the
continuation is compared with it, character by character.
"""

from __future__ import annotations

import random
import re
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
    Timing,
    TokenEvent,
    ToolCallStart,
    Usage,
    UsageUpdate,
    proves_answer,
)
from ...messages import Message, TextPart
from ...prompt import Prompt, messages_of
from .._operator import Operator, Step, run_steps
from .._response_builder import ResponseBuilder
from ..text.text_operator import text_delta
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


MIN_LETTERS = 8
_DENSE = re.compile(
    r"[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""Letters of scripts that say more per letter: Thai, Lao, Tibetan, Burmese, Khmer, kana, Han, Hangul."""
_LONGEST_END = 4000
"""Characters at the end of the text in which a repetition is looked for."""


class OverlapRemover:
    """Removes what a continuation repeats of `shown`, the text so far. The continuation comes piece by piece.

    >>> seam = OverlapRemover("The quick brown fox")
    >>> seam.feed("brown f"), seam.feed("ox jumps")
    ('', ' jumps')
    """

    def __init__(self, shown: str) -> None:
        self.sent = shown.rstrip()
        """The text that the server is to continue."""
        self.dropped = 0
        """Characters of the continuation that were repetition."""
        self.open = True
        """The next text may still be repetition."""
        self._gap = shown[len(self.sent) :]
        self._held = ""
        self._ends = _ends(self.sent)
        """Where the ends of `sent` begin that the continuation may repeat, longest first."""

    def feed(self, piece: str) -> str:
        """Return what is new in `piece` and in the text held back before it."""
        if not self.open:
            return piece
        self._held += piece
        longer = (begin for begin in self._ends if len(self.sent) - begin > len(self._held))
        return "" if any(self.sent.startswith(self._held, begin) for begin in longer) else self.flush()

    def flush(self) -> str:
        """Return what was held back: no further text comes that could make it a repetition."""
        held, self._held = self._held, ""
        repeated = (self.sent[begin:] for begin in self._ends if held.startswith(self.sent[begin:]))
        dropped = len(next((end for end in repeated if not self._is_pattern(end)), ""))
        self.dropped += dropped
        self._ends = []
        return self._without_gap(held[dropped:])

    def count_as_repetition(self) -> None:
        """Count the held text as repetition: the continuation was cut too."""
        self.dropped += len(self._held)
        self._held, self.open = "", False

    def _without_gap(self, text: str) -> str:
        """Return `text` without the white space that it has in common with the end of the shown text."""
        same = 0
        while same < min(len(text), len(self._gap)) and text[same] == self._gap[same]:
            same += 1
        self.dropped += same
        self._gap = self._gap[same:] if same == len(text) else ""
        self.open = bool(self._gap)
        return text[same:]

    def _is_pattern(self, end: str) -> bool:
        before = self.sent[: len(self.sent) - len(end)]
        return before != "" and (before.rstrip().endswith(end.strip()) or _is_periodic(end))


def _is_periodic(text: str) -> bool:
    """Return whether `text` is one piece twice or more; the last character may be missing."""
    return any(text.startswith(text[period:]) for period in range(1, (len(text) + 1) // 2 + 1))


def _ends(text: str) -> list[int]:
    """Return where the ends of `text` begin that are too long to be chance, longest first."""
    letters = 0
    begins: list[int] = []
    for begin in range(len(text) - 1, max(-1, len(text) - 1 - _LONGEST_END), -1):
        letters += 3 if _DENSE.match(text[begin]) else text[begin].isalpha()
        if letters >= MIN_LETTERS:
            begins.append(begin)
    if begins[-1:] != [0] and any(map(str.isalpha, text)):
        begins.append(0)
    return begins[::-1]


def join_responses(earlier: Response, later: Response, dropped: int) -> Response:
    """Return `earlier` continued by `later`, whose first `dropped` characters of text are left out."""
    parts = [*earlier.parts]
    left = dropped
    for part in later.parts:
        if isinstance(part, TextPart) and left:
            cut = min(left, len(part.text))
            left -= cut
            part = TextPart(part.text[cut:], part.vendor)
        if not isinstance(part, TextPart):
            parts.append(part)
        elif parts and isinstance(before := parts[-1], TextPart):
            parts[-1] = TextPart(before.text + part.text, part.vendor or before.vendor)
        elif part.text or part.vendor:
            parts.append(part)
    return msgspec.structs.replace(
        later,
        text=earlier.text + later.text[dropped:],
        reasoning=earlier.reasoning + later.reasoning,
        tool_calls=(*earlier.tool_calls, *later.tool_calls),
        timing=_added(earlier.timing, later.timing),
        parts=tuple(parts),
        id=later.id or earlier.id,
        model=later.model or earlier.model,
        provider=later.provider or earlier.provider,
    )


def _added(first: Timing | None, second: Timing | None) -> Timing | None:
    if first is None or second is None:
        return first or second
    return Timing(first.first_token, first.total + second.total)
