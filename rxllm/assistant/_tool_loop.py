"""One turn as it runs: ask the model, run its tools, ask again, until it answers.

Token events go from the model's thread directly to the subscriber. All other events are emitted on the thread on which
they happen, one at a time. The memory is written once: when the turn completes, or (with `keep_partial`) with the
messages so far when it fails or is disposed.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import threading
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import TypeAlias, TypeVar

import msgspec
from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, SerialDisposable, SingleAssignmentDisposable

from .._core.error_format import error_text
from .._core.scheduling import TimerScheduler
from .._core.stream_errors import emit_error
from .._core.token_usage import add_usage
from .._history import cancelled
from .._runtime.errors import report_exception
from ..errors import LLMError, OutputParsingError, StreamError, ToolArgumentsError
from ..events import DELTA_EVENTS, Response, StreamEnd, Timing, TokenEvent, Usage, UsageUpdate
from ..messages import Message, TextPart, ToolResult
from ..operators._response_builder import ResponseBuilder
from ..options import CallOptions
from ._tool_run import ToolEvent, ToolRun, run_on
from ._turn_request import TurnRequest
from ._unique_call_ids import CallIds
from .errors import MaxIterationsError
from .events import AnswerRejected, AssistantEvent, PartialAnswer, StepEnd, StepStart, StructuredAnswer, ToolEnd
from .structured import Structure

log = logging.getLogger("rxllm")

T = TypeVar("T")
Starts: TypeAlias = Generator[Callable[[], None], None, T]
"""A part of a turn that yields functions. Each starts something that calls `ToolLoop._advance` when it has ended."""


class ToolLoop(abc.DisposableBase):
    """One subscription to a turn. `_turn` is all of it, in order; `_advance` runs it from one wait to the next."""

    def __init__(self, request: TurnRequest, observer: abc.ObserverBase[AssistantEvent]) -> None:
        self._request = request
        self._settings = request.settings
        self._observer = observer
        self._on_next = observer.on_next
        self._options: CallOptions = request.options
        self._values = contextvars.copy_context()
        """The subscriber's context variables; tools and requests run with them, on whichever thread they start."""
        self._current = SerialDisposable()
        """The request or the tools that run now."""
        self._start = SingleAssignmentDisposable()
        """The first `_advance`, until the scheduler has run it."""
        self._lock = threading.RLock()
        """Guards what the memory gets. Of the user's code only the memory runs under it."""
        self._emitting = threading.RLock()
        """Held while a tool emits an event."""
        self._ended = False
        self._waits = self._turn()
        """Yields what must be started next, and stands still until that has ended."""
        self._call_ids = CallIds(())
        self._sent: list[Message] = []
        """What the next request sends."""
        self._kept: list[Message] = [request.input.question]
        """What the memory keeps of the turn: messages that are complete without what is still to come."""
        self._running: Response | None = None
        """The answer whose tools run now."""
        self._results: list[ToolResult | None] = []
        """The results of its calls; None for those that still run."""
        self._steps = 0
        self._corrections = 0
        self._seen: list[TokenEvent] = []
        """The events of the current step, if a turn that is cut off is to be kept."""
        self._answer: Response | None = None
        """The answer of the current step."""
        self._usage = Usage()
        """Of the steps that have ended."""
        self._clock = self._settings.scheduler or TimerScheduler.singleton()
        self._started = self._clock.now
        self._first_token: float | None = None

    def start(self) -> ToolLoop:
        """Begin, on the scheduler."""
        try:
            self._start.disposable = run_on(self._settings.scheduler, self._advance, "turn", self._values)
        except Exception as error:  # there is no thread, or the scheduler is disposed
            self._fail(error)
        return self

    def dispose(self) -> None:
        """Stop the request or the tools. When this returns, the memory is written."""
        ended = self._end()
        self._start.dispose()
        self._current.dispose()
        with contextlib.suppress(ValueError):  # it runs now, and ends at its next wait
            self._waits.close()
        if ended and self._settings.keep_partial:
            try:
                self._request.save(self._so_far())
            except LLMError:
                log.exception("a cancelled turn could not be written to the memory")

    def _advance(self, error: Exception | None = None) -> None:
        """Run the turn until it waits for something, and start that; `error` is raised where the turn waits."""
        if self._ended:
            return
        try:
            start = next(self._waits, None) if error is None else self._waits.throw(error)
            if start is not None and not self._ended:
                start()
        except BaseException as raised:  # user code may raise CancelledError, SystemExit ...
            self._fail(raised)

    def _turn(self) -> Starts[None]:
        """Ask the model, and run its tools, until it gives an answer that is valid."""
        given, structure = self._request.input, self._request.structure
        recalled: list[tuple[Message, ...]] = []
        yield partial(self._subscribe, self._request.recall(), recalled.append)
        self._sent = self._request.first_messages(recalled[0])
        before_first_step = self._seconds()
        self._call_ids = CallIds([*self._sent, *([given.answer] if given.answer is not None else ())])
        if given.answer is not None:
            known = {result.id: result for result in given.results}
            calls = given.answer.tool_calls
            self._begin_tools(
                Response(tool_calls=calls, parts=given.answer.parts), [known.get(one.id) for one in calls]
            )
            yield from self._run_tools()
        while True:
            try:
                response = yield from self._step()
            except ToolArgumentsError as error:
                text = "" if error.partial is None else error.partial.text
                said = [Message.assistant(text)] if text else []
                # The call cannot be sent back, so a user message says what is wrong.
                wrong = Message.user(f"No tool was called: {error}. Call it again, with valid JSON.")
                self._correct(error, text, [*said, wrong])
                continue
            if self._steps == 1 and response.timing is not None and response.timing.first_token is not None:
                self._first_token = before_first_step + response.timing.first_token
            if self._running is not None:
                yield from self._run_tools()
            elif response.raw_finish_reason == "pause_turn":  # the vendor's own tools run: the model continues it
                self._keep([response.message])
            elif structure is None:
                self._finish(response, response.message)
                return
            elif self._is_valid(structure, response):
                return

    def _step(self) -> Starts[Response]:
        """Make a request, and return its answer; if the answer calls tools, they are ready to run."""
        structure, most = self._request.structure, self._settings.max_iterations
        if self._steps >= most:
            raise MaxIterationsError(f"the turn has no answer after {most} requests (max_iterations)")
        self._seen = []
        self._answer = None
        self._call_ids.begin_step()
        on_event: Callable[[TokenEvent], None] = (
            self._on_event_to_keep if self._settings.keep_partial else self._on_event
        )
        if structure is not None:
            on_event = _both(on_event, structure.follow(lambda value: self._emit(PartialAnswer(value))))
        self._emit(StepStart(self._steps))
        self._steps += 1
        try:
            yield lambda: self._subscribe(self._settings.model.stream(self._sent, **self._options), on_event)
        except LLMError as error:
            if error.partial is not None:
                self._usage = add_usage(self._usage, error.partial.usage)
            raise
        response: Response | None = self._answer
        if response is None:
            raise StreamError("the model's stream completed without its StreamEnd")
        self._usage = add_usage(self._usage, response.usage)
        if response.tool_calls and (structure is None or structure.answer_call(response) is None):
            self._begin_tools(response, [None for _ in response.tool_calls])
        self._emit(StepEnd(self._steps - 1, response))
        if response.raw_finish_reason == "MALFORMED_FUNCTION_CALL" and self._running is None:
            raise ToolArgumentsError("the model's tool call was malformed")
        return response

    def _on_event(self, event: TokenEvent) -> None:
        if type(event) in DELTA_EVENTS:
            self._on_next(event)
        else:
            self._on_other(event)

    def _on_other(self, event: TokenEvent) -> None:
        """Emit an event of a step; keep its answer, and add up usage."""
        match self._call_ids.renamed(event):
            case StreamEnd(response):
                self._answer = response
            case UsageUpdate(usage):
                self._on_next(UsageUpdate(add_usage(self._usage, usage)))
            case other:
                self._on_next(other)

    def _on_event_to_keep(self, event: TokenEvent) -> None:
        self._seen.append(event)
        self._on_event(event)

    def _begin_tools(self, response: Response, results: list[ToolResult | None]) -> None:
        """Note the answer whose tools are to run, with the results that they have already."""
        with self._lock:
            self._running, self._results = response, results

    def _run_tools(self) -> Starts[None]:
        """Run the calls that have no result yet, all at once; add the answer and its results to the messages."""
        yield self._start_tools
        with self._lock:
            if self._ended or self._running is None:
                return
            messages = self._with_results(self._running)
            self._running = None
            self._keep(messages)
        if self._options.get("tool_choice") not in (None, "auto", "none") and self._request.structure is None:
            # The required call has been made; if it were required in each step, the turn would not end.
            self._options = {**self._options, "tool_choice": None}

    def _start_tools(self) -> None:
        """Start the calls that have no result yet."""
        calls, results = () if self._running is None else self._running.tool_calls, self._results
        conversation, settings = self._request.conversation, self._settings
        runs = [
            ToolRun(call, conversation, settings, self._values, partial(self._on_tool_event, results, at))
            for at, call in enumerate(calls)
            if results[at] is None
        ]
        self._current.disposable = CompositeDisposable(*runs)
        for run in runs:
            run.start()

    def _on_tool_event(self, results: list[ToolResult | None], at: int, event: ToolEvent) -> None:
        """Keep a result and emit the event; the last result goes on with the turn."""
        with self._emitting:
            if self._ended or results[at] is not None:
                return
            if isinstance(event, ToolEnd):
                results[at] = event.result
            self._emit(event)
            if isinstance(event, ToolEnd) and None not in results:
                self._advance()

    def _keep(self, messages: Sequence[Message]) -> None:
        """Add messages to what the next step sends, and to what the memory keeps."""
        self._sent += messages
        self._kept += messages

    def _correct(self, error: LLMError, text: str, messages: Sequence[Message]) -> None:
        """Have the next step send `messages`, which ask for a better answer; raise `error` if that was done enough."""
        if self._corrections >= self._request.max_corrections:
            raise error
        self._corrections += 1
        self._emit(AnswerRejected(str(error), text))
        self._sent += messages

    def _is_valid(self, structure: Structure, response: Response) -> bool:
        """Finish the turn with a structured answer, or ask for a better one and return False."""
        text = structure.text(response)
        try:
            value = structure.value(response)
        except OutputParsingError as error:
            if response.finish_reason in ("refusal", "content_filter"):  # a model that refuses does so again
                raise
            self._correct(error, text, structure.correction(response, str(error)))
            return False
        message = response.message if text == response.text else Message.assistant(text)
        self._finish(response, message, StructuredAnswer(value))
        return True

    def _finish(self, response: Response, message: Message, *last: AssistantEvent) -> None:
        """End the turn: save its messages in the memory, then emit `last` and the StreamEnd, or the error of saving."""
        timing = Timing(self._first_token, self._seconds())
        final = msgspec.structs.replace(response, usage=self._usage, timing=timing)
        with self._lock:
            if not self._end():
                return
            try:
                self._request.save([*self._kept, *([message] if message.parts else ())])
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
        if self._settings.keep_partial:
            try:
                self._request.save(self._so_far(error.partial))
            except LLMError as save_error:
                error.add_note(str(save_error))
        self._report(error)

    def _report(self, error: LLMError) -> None:
        """Emit the error of the turn, with the answer so far and the usage of all steps."""
        error.provider = error.provider or self._settings.model.provider
        error.model = error.model or self._settings.model.model
        so_far = error.partial or self._answer or Response()
        error.partial = msgspec.structs.replace(so_far, usage=self._usage)
        emit_error(self._observer, error)

    def _so_far(self, partial_answer: Response | None = None) -> list[Message]:
        """Return the messages to keep of an unfinished turn: whole steps, and the text of the last answer."""
        with self._lock:
            if self._running is not None:
                return [*self._kept, *self._with_results(self._running)]
            answer = ResponseBuilder()
            for event in [] if partial_answer is not None else list(self._seen):
                answer.add(event)
            parts = (partial_answer or answer.response()).parts
            # Reasoning lacks its signature and a call its result; only text can be sent back.
            texts = tuple(part for part in parts if isinstance(part, TextPart) and part.text)
            return [*self._kept, *([Message("assistant", texts)] if texts else ())]

    def _with_results(self, response: Response) -> list[Message]:
        calls = zip(response.tool_calls, self._results, strict=True)
        results = [cancelled(call) if result is None else result for call, result in calls]
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

    def _subscribe(self, source: Observable[T], on_next: Callable[[T], None]) -> None:
        """Subscribe; the turn continues at the end. Disposing the turn disposes the subscription."""
        # Set before subscribing: the next step may begin before `subscribe` returns.
        place = SingleAssignmentDisposable()
        self._current.disposable = place
        place.disposable = self._values.copy().run(source.subscribe, on_next, self._advance, self._advance)

    def _seconds(self) -> float:
        """Return the seconds since the start."""
        return (self._clock.now - self._started).total_seconds()


def _both(first: Callable[[TokenEvent], None], second: Callable[[TokenEvent], None]) -> Callable[[TokenEvent], None]:
    def both(event: TokenEvent) -> None:
        first(event)
        second(event)

    return both
