"""One turn as it runs: ask the model, run its tools, ask again, until it answers.

Token events go from the model's thread directly to the subscriber. All other events are emitted on the thread on which
they happen, one at a time. The memory is written once: when the turn completes, or (with `keep_partial`) with the
messages so far when it fails or is disposed.
"""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
from reactivex import abc
from reactivex.disposable import CompositeDisposable, SerialDisposable, SingleAssignmentDisposable

from .._core.stream_errors import emit_error
from .._core.token_usage import add_usage
from .._history import CANCELLED
from .._runtime.errors import report_exception
from ..errors import LLMError, OutputParsingError, StreamError, ToolArgumentsError
from ..events import (
    ReasoningDelta,
    Response,
    StreamEnd,
    TextDelta,
    Timing,
    TokenEvent,
    ToolCallDelta,
    Usage,
    UsageUpdate,
)
from ..messages import Message, TextPart, ToolResult
from ..operators._response_builder import ResponseBuilder
from ..options import CallOptions
from ._scheduling import now, run_on
from ._tool_run import ToolEvent, ToolRun
from ._turn_request import TurnRequest
from ._unique_call_ids import CallIds
from .errors import MaxIterationsError, error_text
from .events import AnswerRejected, AssistantEvent, PartialAnswer, StepEnd, StepStart, StructuredAnswer, ToolEnd
from .structured import Structure

log = logging.getLogger("rxllm")

_PASSED_ON = frozenset({TextDelta, ReasoningDelta, ToolCallDelta})
"""Frequent events, which go to the subscriber unchanged."""


class ToolLoop(abc.DisposableBase):
    """One subscription to a turn."""

    def __init__(self, request: TurnRequest, observer: abc.ObserverBase[AssistantEvent]) -> None:
        self._request = request
        self._observer = observer
        self._on_next = observer.on_next
        self._options: CallOptions = request.options
        self._values = contextvars.copy_context()
        """The subscriber's context variables; tools and requests run with them, on whichever thread they start."""
        self._current = SerialDisposable()
        """The request or the tools that run now."""
        self._start = SingleAssignmentDisposable()
        self._lock = threading.Lock()
        """Guards the state of the turn; never held while code of the user runs."""
        self._emitting = threading.RLock()
        """Held while a tool emits an event."""
        self._save_lock = threading.RLock()
        """Held from the end of the turn until the memory is written."""
        self._ended = False
        self._call_ids = CallIds(())
        self._sent: list[Message] = []
        self._turn: list[Message] = [request.input.question]
        """What the memory keeps of the turn: messages that are complete without what is still to come."""
        self._steps = 0
        self._corrections = 0
        self._seen: list[TokenEvent] = []
        self._answer: Response | None = None
        self._running: Response | None = None
        """The answer whose tools run now."""
        self._results: list[ToolResult | None] = []
        self._usage = Usage()
        self._started = self._now()
        self._before_first_step = 0.0
        self._first_token: float | None = None

    def start(self) -> ToolLoop:
        """Begin, on the scheduler."""
        self._start.disposable = run_on(
            self._request.settings.scheduler, self._guarded(self._recall), "turn", self._values
        )
        return self

    def dispose(self) -> None:
        """Stop the request or the tools. When this returns, the memory is written."""
        with self._save_lock:
            ended = self._end()
        self._start.dispose()
        self._current.dispose()
        if ended and self._request.keep_partial:
            try:
                self._request.save(self._so_far())
            except LLMError:
                log.exception("a cancelled turn could not be written to the memory")

    def _recall(self) -> None:
        recalled = self._request.recall()
        self._subscribe(lambda: recalled.subscribe(self._recalled, self._fail))

    def _recalled(self, messages: tuple[Message, ...]) -> None:
        self._guarded(partial(self._open, messages))()

    def _open(self, messages: tuple[Message, ...]) -> None:
        """Ask the model, or run the tools of an answer that waits for them."""
        self._sent = self._request.first_messages(messages)
        self._before_first_step = self._now() - self._started
        answer = self._request.input.answer
        self._call_ids = CallIds(self._sent if answer is None else [*self._sent, answer])
        if answer is None:
            self._ask()
        else:
            self._continue(answer, self._request.input.results)

    def _continue(self, answer: Message, results: Sequence[ToolResult]) -> None:
        """Run those calls of an earlier answer that have no result."""
        known = {result.id: result for result in results}
        response = Response(tool_calls=answer.tool_calls, parts=answer.parts)
        with self._lock:
            self._running = response
            self._results = [known.get(call.id) for call in response.tool_calls]
        self._run_tools(response)

    def _ask(self) -> None:
        """Make a request: one step."""
        turn = self._request
        if self._steps >= turn.max_iterations:
            raise MaxIterationsError(f"the turn has no answer after {turn.max_iterations} requests (max_iterations)")
        self._seen = []
        self._answer = None
        self._call_ids.begin_step()
        on_event: Callable[[TokenEvent], None] = self._on_event if not turn.keep_partial else self._on_event_to_keep
        if turn.structure is not None:
            on_event = _both(on_event, turn.structure.follow(lambda value: self._emit(PartialAnswer(value))))
        self._emit(StepStart(self._steps))
        if self._ended:
            return
        self._steps += 1
        events = turn.model.stream(self._sent, **self._options)
        completed = self._guarded(self._step_done)
        self._subscribe(lambda: events.subscribe(on_event, self._step_failed, completed))

    def _on_event(self, event: TokenEvent) -> None:
        if type(event) in _PASSED_ON:
            self._on_next(event)
        else:
            self._on_other(self._call_ids.renamed(event))

    def _on_event_to_keep(self, event: TokenEvent) -> None:
        self._seen.append(event)
        self._on_event(event)

    def _on_other(self, event: TokenEvent) -> None:
        """Keep the answer of the StreamEnd, add up usage, and emit all other events."""
        match event:
            case StreamEnd(response):
                self._answer = response
            case UsageUpdate(usage):
                self._on_next(UsageUpdate(add_usage(self._usage, usage)))
            case _:
                self._on_next(event)

    def _step_done(self) -> None:
        """End a step: run the answer's tools, ask again, or finish the turn."""
        response = self._answer
        if response is None:
            raise StreamError("the model's stream completed without its StreamEnd")
        self._usage = add_usage(self._usage, response.usage)
        if self._steps == 1 and response.timing is not None and response.timing.first_token is not None:
            self._first_token = self._before_first_step + response.timing.first_token
        structure = self._request.structure
        answered = structure is not None and structure.answer_call(response) is not None
        if response.tool_calls and not answered:
            with self._lock:
                self._running = response
                self._results = [None] * len(response.tool_calls)
        self._emit(StepEnd(self._steps - 1, response))
        if self._ended:
            return
        if self._running is not None:
            self._run_tools(self._running)
        elif response.raw_finish_reason == "pause_turn":
            self._go_on(response)
        elif response.raw_finish_reason == "MALFORMED_FUNCTION_CALL":
            self._step_failed(ToolArgumentsError("the model's tool call was malformed"))
        elif structure is None:
            self._finish(response, response.message)
        else:
            self._check(structure, response)

    def _step_failed(self, error: Exception) -> None:
        if isinstance(error, LLMError) and error.partial is not None:
            self._usage = add_usage(self._usage, error.partial.usage)
        if isinstance(error, ToolArgumentsError) and self._corrections < self._request.max_corrections:
            self._guarded(partial(self._ask_for_arguments, error))()
        else:
            self._fail(error)

    def _go_on(self, response: Response) -> None:
        """Send back an answer that its vendor paused while server tools run: the model continues it."""
        self._sent.append(response.message)
        self._turn.append(response.message)
        self._ask()

    def _ask_for_arguments(self, error: ToolArgumentsError) -> None:
        """Ask again for a call that was not JSON. It cannot be sent back, so a user message says what is wrong."""
        text = "" if error.partial is None else error.partial.text
        self._corrections += 1
        self._emit(AnswerRejected(str(error), text))
        said = [Message.assistant(text)] if text else []
        self._sent += [*said, Message.user(f"No tool was called: {error}. Call it again, with valid JSON.")]
        if not self._ended:
            self._ask()

    def _run_tools(self, response: Response) -> None:
        """Start all calls that have no result yet, at once."""
        turn, results = self._request, self._results
        runs = [
            ToolRun(call, turn.conversation, turn.settings, self._values, partial(self._on_tool_event, results, at))
            for at, call in enumerate(response.tool_calls)
            if results[at] is None
        ]
        self._current.disposable = CompositeDisposable(*runs)
        for run in runs:
            run.start()

    def _on_tool_event(self, results: list[ToolResult | None], at: int, event: ToolEvent) -> None:
        """Keep a result and emit the event; the last result goes on with the turn."""
        with self._emitting:
            if results[at] is not None or self._ended:
                return
            if isinstance(event, ToolEnd):
                results[at] = event.result
            self._emit(event)
            if isinstance(event, ToolEnd) and None not in results:
                self._guarded(self._tools_done)()

    def _tools_done(self) -> None:
        """Add the answer and its results to the messages, and ask the model again."""
        with self._lock:
            if self._ended or self._running is None:
                return
            messages = self._with_results(self._running)
            self._sent += messages
            self._turn += messages
            self._running = None
        if self._options.get("tool_choice") not in (None, "auto", "none") and self._request.structure is None:
            # The required call has been made; if it were required in each step, the turn would not end.
            self._options = {**self._options, "tool_choice": None}
        self._ask()

    def _check(self, structure: Structure, response: Response) -> None:
        """Check a structured answer: finish the turn, or ask for a correction if it is not valid."""
        try:
            value = structure.value(response)
        except OutputParsingError as error:
            # A model that refuses does so again.
            refused = response.finish_reason in ("refusal", "content_filter")
            if refused or self._corrections >= self._request.max_corrections:
                error.partial = error.partial or response
                raise
            self._corrections += 1
            self._emit(AnswerRejected(str(error), structure.text(response)))
            self._sent += structure.correction(response, str(error))
            if not self._ended:
                self._ask()
        else:
            text = structure.text(response)
            message = response.message if text == response.text else Message.assistant(text)
            self._finish(response, message, StructuredAnswer(value))

    def _finish(self, response: Response, message: Message, *last: AssistantEvent) -> None:
        """End the turn: save its messages in the memory, then emit `last` and the StreamEnd, or the error of saving."""
        total = self._now() - self._started
        final = msgspec.structs.replace(response, usage=self._usage, timing=Timing(self._first_token, total))
        with self._save_lock:
            if not self._end():
                return
            try:
                self._request.save([*self._turn, *([message] if message.parts else ())])
                save_error = None
            except LLMError as error:
                save_error = error
        if save_error is not None:
            self._report(save_error)
            return
        for event in (*last, StreamEnd(final)):
            self._emit(event)
        self._observer.on_completed()

    def _fail(self, error: BaseException) -> None:
        """End the turn with an error; keep what is complete if the settings say so."""
        if not isinstance(error, LLMError):
            cause = error
            error = StreamError(error_text(cause))
            error.__cause__ = cause
        if not self._end():
            return
        self._current.dispose()
        if self._request.keep_partial:
            try:
                self._request.save(self._so_far(error.partial))
            except LLMError as save_error:
                error.add_note(str(save_error))
        self._report(error)

    def _report(self, error: LLMError) -> None:
        """Emit the error of the turn, with the answer so far and the usage of all steps."""
        error.provider = error.provider or self._request.model.provider
        error.model = error.model or self._request.model.model
        so_far = error.partial or self._answer or Response()
        error.partial = msgspec.structs.replace(so_far, usage=self._usage)
        emit_error(self._observer, error)

    def _so_far(self, partial_answer: Response | None = None) -> list[Message]:
        """Return the messages to keep of an unfinished turn: whole steps, and the text of the last answer."""
        with self._lock:
            if self._running is not None:
                return [*self._turn, *self._with_results(self._running)]
            answer = ResponseBuilder()
            for event in [] if partial_answer is not None else list(self._seen):
                answer.add(event)
            parts = (partial_answer or answer.response()).parts
            # Reasoning lacks its signature and a call its result; only text can be sent back.
            texts = tuple(part for part in parts if isinstance(part, TextPart) and part.text)
            return [*self._turn, Message("assistant", texts)] if texts else list(self._turn)

    def _with_results(self, response: Response) -> list[Message]:
        results = [
            ToolResult(call.id, CANCELLED, call.name, is_error=True) if result is None else result
            for call, result in zip(response.tool_calls, self._results, strict=True)
        ]
        return [response.message, Message.tool(*results)]

    def _end(self) -> bool:
        """End the turn; return False if it has ended before."""
        with self._lock:
            ended, self._ended = self._ended, True
        return not ended

    def _emit(self, event: AssistantEvent) -> None:
        try:
            self._on_next(event)
        except BaseException:
            # An error of the subscriber: neither the tool's nor the model's.
            self.dispose()
            report_exception()

    def _guarded(self, action: Callable[[], None]) -> Callable[[], None]:
        """Return `action` as a function that ends the turn with what `action` raises."""

        def guarded() -> None:
            if not self._ended:
                try:
                    action()
                except BaseException as error:  # user code may raise CancelledError, SystemExit ...
                    self._fail(error)

        return guarded

    def _subscribe(self, subscribe: Callable[[], abc.DisposableBase]) -> None:
        """Subscribe; disposing the turn disposes the subscription."""
        # Set before subscribing: the next step may begin before `subscribe` returns.
        place = SingleAssignmentDisposable()
        self._current.disposable = place
        place.disposable = self._values.copy().run(subscribe)

    def _now(self) -> float:
        return now(self._request.settings.scheduler)


def _both(first: Callable[[TokenEvent], None], second: Callable[[TokenEvent], None]) -> Callable[[TokenEvent], None]:
    def both(event: TokenEvent) -> None:
        first(event)
        second(event)

    return both
