"""One turn as it runs: ask the model, run its tools, ask again, until it answers.

Token events go from the model's thread straight to the subscriber. Whatever else is told comes
from the thread on which it happened, one at a time. The memory is written once: when the turn has
ended well, or (if that is asked for) with what there is when it fails or is disposed.
"""

from __future__ import annotations

import contextvars
import logging
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
from reactivex import abc
from reactivex.disposable import CompositeDisposable, SerialDisposable, SingleAssignmentDisposable

from .._core.stream import emit_error
from .._core.token_usage import add_usage
from ..errors import ConfigurationError, LLMError, OutputParsingError, StreamError, ToolArgumentsError
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
from ._call_ids import CallIds
from ._plan import Plan, TurnContext
from ._scheduling import now, run_on
from ._tool_run import ToolEvent, ToolRun
from .errors import MaxIterationsError
from .events import AnswerRejected, AssistantEvent, PartialAnswer, StepEnd, StepStart, StructuredAnswer, ToolEnd
from .structured import Structure

log = logging.getLogger("rxllm")

_PASSED_ON = frozenset({TextDelta, ReasoningDelta, ToolCallDelta})
"""What comes by the token."""


class Turn(abc.DisposableBase):
    """One subscription to a turn."""

    def __init__(self, plan: Plan, observer: abc.ObserverBase[AssistantEvent]) -> None:
        self._plan = plan
        self._observer = observer
        self._on_next = observer.on_next
        self._options: CallOptions = plan.options
        self._values = contextvars.copy_context()
        """The subscriber's: what tools and requests see of them must not hang on who it is that starts them."""
        self._current = SerialDisposable()
        self._opening = SingleAssignmentDisposable()
        self._lock = threading.Lock()
        """Held for a moment where the turn changes: never while anybody else's code is called."""
        self._telling = threading.RLock()
        """Held while tools tell what they do."""
        self._keeping = threading.RLock()
        """Held from the end of the turn until the memory is written."""
        self._ended = False
        self._call_ids = CallIds(())
        self._sent: list[Message] = []
        self._turn: list[Message] = [plan.opening.question]
        """What the memory is to keep of the turn: messages that stand without what is still to come."""
        self._steps = 0
        self._corrections = 0
        self._seen: list[TokenEvent] = []
        self._answer: Response | None = None
        self._running: Response | None = None
        """The answer whose tools run."""
        self._results: list[ToolResult | None] = []
        self._usage = Usage()
        self._started = self._now()
        self._before_first_step = 0.0
        self._first_token: float | None = None

    def start(self) -> Turn:
        """Begin, on the scheduler."""
        self._opening.disposable = run_on(
            self._plan.settings.scheduler, self._guarded(self._recall), "turn", self._values
        )
        return self

    def dispose(self) -> None:
        """Stop the request or the tools; once this returns the memory is as it will be."""
        with self._keeping:
            ended = self._end()
        self._opening.dispose()
        self._current.dispose()
        if ended and self._plan.keep_partial:
            try:
                self._plan.keep(self._so_far())
            except LLMError:
                log.exception("a cancelled turn could not be kept")

    def _recall(self) -> None:
        recalled = self._plan.recall()
        self._hold(lambda: recalled.subscribe(self._recalled, self._fail))

    def _recalled(self, messages: tuple[Message, ...]) -> None:
        self._guarded(partial(self._open, messages))()

    def _open(self, messages: tuple[Message, ...]) -> None:
        instructions = [self._system_text(messages)]
        if self._plan.structure is not None:
            instructions.append(self._plan.structure.instructions)
        instructions += [message.text for message in messages if message.role == "system"]
        text = "\n\n".join(filter(None, instructions))
        said = [message for message in messages if message.role != "system"]
        self._sent = [Message.system(text), *said] if text else said
        self._before_first_step = self._now() - self._started
        answer = self._plan.opening.answer
        self._call_ids = CallIds(said if answer is None else [*said, answer])
        if answer is None:
            self._ask()
        else:
            self._go_on(answer, self._plan.opening.results)

    def _go_on(self, answer: Message, results: Sequence[ToolResult]) -> None:
        """First run what an earlier answer has asked for, and has not got."""
        known = {result.id: result for result in results}
        response = Response(tool_calls=answer.tool_calls, parts=answer.parts)
        with self._lock:
            self._running = response
            self._results = [known.get(call.id) for call in response.tool_calls]
        self._run_tools(response)

    def _system_text(self, messages: tuple[Message, ...]) -> str | None:
        plan = self._plan
        if not callable(plan.system):
            return plan.system
        try:
            return plan.system(TurnContext(plan.conversation, plan.opening.question, messages, plan.variables))
        except LLMError:
            raise
        except Exception as error:
            raise ConfigurationError(f"the function given as system= failed: {error}") from error

    def _ask(self) -> None:
        """One step: a request, its events passed on."""
        plan = self._plan
        if self._steps >= plan.max_iterations:
            raise MaxIterationsError(
                f"the turn has not come to an answer in {plan.max_iterations} steps (max_iterations)"
            )
        self._seen = []
        self._answer = None
        self._call_ids.begin_step()
        on_event: Callable[[TokenEvent], None] = self._on_event if not plan.keep_partial else self._on_event_to_keep
        if plan.structure is not None:
            on_event = _both(on_event, plan.structure.follow(self._tell_partial))
        self._tell(StepStart(self._steps))
        if self._ended:
            return
        self._steps += 1
        events = plan.model.stream(self._sent, **self._options)
        completed = self._guarded(self._step_done)
        self._hold(lambda: events.subscribe(on_event, self._step_failed, completed))

    def _on_event(self, event: TokenEvent) -> None:
        """The token road."""
        if type(event) in _PASSED_ON:
            self._on_next(event)
        else:
            self._on_other(self._call_ids.told(event))

    def _on_event_to_keep(self, event: TokenEvent) -> None:
        self._seen.append(event)
        self._on_event(event)

    def _on_other(self, event: TokenEvent) -> None:
        match event:
            case StreamEnd(response):
                self._answer = response
            case UsageUpdate(usage):
                self._on_next(UsageUpdate(add_usage(self._usage, usage)))
            case _:
                self._on_next(event)

    def _step_done(self) -> None:
        response = self._answer
        if response is None:
            raise StreamError("the model's stream completed without its StreamEnd")
        self._usage = add_usage(self._usage, response.usage)
        if self._steps == 1 and response.timing is not None and response.timing.first_token is not None:
            self._first_token = self._before_first_step + response.timing.first_token
        structure = self._plan.structure
        answered = structure is not None and structure.answer_call(response) is not None
        if response.tool_calls and not answered:
            with self._lock:
                self._running = response
                self._results = [None] * len(response.tool_calls)
        self._tell(StepEnd(self._steps - 1, response))
        if self._ended:
            return
        if self._running is not None:
            self._run_tools(self._running)
        elif structure is None:
            self._finish(response, response.message)
        else:
            self._check(structure, response)

    def _step_failed(self, error: Exception) -> None:
        if isinstance(error, LLMError) and error.partial is not None:
            self._usage = add_usage(self._usage, error.partial.usage)
        if isinstance(error, ToolArgumentsError) and self._corrections < self._plan.max_corrections:
            self._guarded(partial(self._ask_for_arguments, error))()
        else:
            self._fail(error)

    def _ask_for_arguments(self, error: ToolArgumentsError) -> None:
        """Ask again for a call that was no JSON: it cannot be sent back, so what is wrong is said by the user."""
        text = "" if error.partial is None else error.partial.text
        self._corrections += 1
        self._tell(AnswerRejected(str(error), text))
        said = [Message.assistant(text)] if text else []
        self._sent += [*said, Message.user(f"No tool was called: {error}. Call it again, with valid JSON.")]
        if not self._ended:
            self._ask()

    def _run_tools(self, response: Response) -> None:
        plan, results = self._plan, self._results
        runs = [
            ToolRun(call, plan.conversation, plan.settings, self._values, partial(self._on_tool_event, results, at))
            for at, call in enumerate(response.tool_calls)
            if results[at] is None
        ]
        self._current.disposable = CompositeDisposable(*runs)
        for run in runs:
            run.start()

    def _on_tool_event(self, results: list[ToolResult | None], at: int, event: ToolEvent) -> None:
        with self._telling:
            if results[at] is not None or self._ended:
                return
            if isinstance(event, ToolEnd):
                results[at] = event.result
            self._tell(event)
            if isinstance(event, ToolEnd) and None not in results:
                self._guarded(self._tools_done)()

    def _tools_done(self) -> None:
        with self._lock:
            if self._ended or self._running is None:
                return
            messages = self._with_results(self._running)
            self._sent += messages
            self._turn += messages
            self._running = None
        if self._options.get("tool_choice") not in (None, "auto", "none") and self._plan.structure is None:
            # A call that was demanded has been made: demanded again and again, no turn would end.
            self._options = {**self._options, "tool_choice": None}
        self._ask()

    def _check(self, structure: Structure, response: Response) -> None:
        try:
            value = structure.value(response)
        except OutputParsingError as error:
            if self._corrections >= self._plan.max_corrections:
                error.partial = error.partial or response
                raise
            self._corrections += 1
            self._tell(AnswerRejected(str(error), structure.text(response)))
            self._sent += structure.correction(response, str(error))
            if not self._ended:
                self._ask()
        else:
            text = structure.text(response)
            message = response.message if text == response.text else Message.assistant(text)
            self._finish(response, message, StructuredAnswer(value))

    def _finish(self, response: Response, message: Message, *last: AssistantEvent) -> None:
        total = self._now() - self._started
        final = msgspec.structs.replace(response, usage=self._usage, timing=Timing(self._first_token, total))
        with self._keeping:
            if not self._end():
                return
            try:
                self._plan.keep([*self._turn, *([message] if message.parts else ())])
                unkept = None
            except LLMError as error:
                unkept = error
        if unkept is not None:
            self._report(unkept)
            return
        for event in (*last, StreamEnd(final)):
            self._tell(event)
        self._observer.on_completed()

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, LLMError):
            cause = error
            error = StreamError(f"{type(cause).__name__}: {cause}")
            error.__cause__ = cause
        if not self._end():
            return
        self._current.dispose()
        if self._plan.keep_partial:
            try:
                self._plan.keep(self._so_far(error.partial))
            except LLMError as unkept:
                error.add_note(str(unkept))
        self._report(error)

    def _report(self, error: LLMError) -> None:
        error.provider = error.provider or self._plan.model.provider
        error.model = error.model or self._plan.model.model
        so_far = error.partial or self._answer or Response()
        error.partial = msgspec.structs.replace(so_far, usage=self._usage)
        emit_error(self._observer, error)

    def _so_far(self, partial_answer: Response | None = None) -> list[Message]:
        """What of the turn can stay: whole steps, results or the lack of them, the text of a cut answer."""
        with self._lock:
            if self._running is not None:
                return [*self._turn, *self._with_results(self._running)]
            answer = ResponseBuilder()
            for event in [] if partial_answer is not None else list(self._seen):
                answer.add(event)
            parts = (partial_answer or answer.response()).parts
            # A cut reasoning lacks its signature, a cut call its result: only text stands by itself.
            texts = tuple(part for part in parts if isinstance(part, TextPart) and part.text)
            return [*self._turn, Message("assistant", texts)] if texts else list(self._turn)

    def _with_results(self, response: Response) -> list[Message]:
        results = [
            ToolResult(call.id, "The call was cancelled.", call.name, is_error=True) if result is None else result
            for call, result in zip(response.tool_calls, self._results, strict=True)
        ]
        return [response.message, Message.tool(*results)]

    def _end(self) -> bool:
        """Whether this is what ends the turn."""
        with self._lock:
            ended, self._ended = self._ended, True
        return not ended

    def _tell(self, event: AssistantEvent) -> None:
        try:
            self._on_next(event)
        except Exception:
            # The subscriber's own: it is not the tool's or the model's, and not ours to handle.
            self.dispose()
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))

    def _tell_partial(self, value: object) -> None:
        self._tell(PartialAnswer(value))

    def _guarded(self, action: Callable[[], None]) -> Callable[[], None]:
        """`action`, what it raises ending the turn."""

        def guarded() -> None:
            if not self._ended:
                try:
                    action()
                except Exception as error:
                    self._fail(error)

        return guarded

    def _hold(self, subscribe: Callable[[], abc.DisposableBase]) -> None:
        """Subscribe, so that disposing the turn disposes that."""
        # Its own place first: the next step may have begun before `subscribe` returns.
        place = SingleAssignmentDisposable()
        self._current.disposable = place
        place.disposable = self._values.copy().run(subscribe)

    def _now(self) -> float:
        return now(self._plan.settings.scheduler)


def _both(first: Callable[[TokenEvent], None], second: Callable[[TokenEvent], None]) -> Callable[[TokenEvent], None]:
    def both(event: TokenEvent) -> None:
        first(event)
        second(event)

    return both
