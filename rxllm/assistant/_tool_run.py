"""One tool call, from its approval to its result. Every failure becomes a result, which the model reads."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from contextvars import Context, ContextVar
from functools import partial
from typing import TypeAlias

import msgspec
from reactivex import abc
from reactivex.disposable import CompositeDisposable, Disposable, SerialDisposable

from .._core.error_format import error_text
from .._core.scheduling import TimerScheduler
from .._json import valid_text
from .._runtime.thread_cache import workers
from ..events import StreamEnd
from ..messages import MediaPart, ToolCall, ToolResult
from ..options import Tool
from ._await_value import resolve
from ._turn_request import Approve, AssistantSettings
from .events import ApprovalRequest, ToolEnd, ToolProgress, ToolStart
from .tools import RunnableTool, ToolContext, result_content

ToolEvent: TypeAlias = ApprovalRequest | ToolStart | ToolProgress | ToolEnd

ToolSpan: TypeAlias = Callable[[ToolCall, Tool], Callable[[ToolResult | None], None]]

tool_span: ContextVar[ToolSpan | None] = ContextVar("rxllm_tool_span", default=None)
"""Called in the context of each tool run before the tool starts. It returns what to call with the result.

The result is None if the run was cancelled.
"""

_numbers = itertools.count(1)


def run_on(
    scheduler: abc.SchedulerBase | None, work: Callable[[], None], name: str, values: Context
) -> abc.DisposableBase:
    """Run `work` on `scheduler`, or on a daemon thread `rxllm-<name>-<n>`, in a copy of the context `values`."""
    context = values.copy()  # two threads cannot be in the same context at the same time
    if scheduler is None:
        workers.run(f"rxllm-{name}-{next(_numbers)}", partial(context.run, work))
        return Disposable()
    return scheduler.schedule(lambda _, __: context.run(work))


class ToolRun(abc.DisposableBase):
    """The execution of one call in the context `values`. `emit` gets its events from any thread, its `ToolEnd` last.

    Disposing cancels what can be cancelled; nothing is emitted after that.
    """

    def __init__(
        self,
        call: ToolCall,
        conversation: str,
        settings: AssistantSettings,
        values: Context,
        emit: Callable[[ToolEvent], None],
    ) -> None:
        self._call = call
        self._settings = settings
        self._values = values
        self._emit = emit
        self._context = ToolContext(call, conversation, self._progress)
        self._clock = settings.scheduler or TimerScheduler.singleton()
        self._work = SerialDisposable()
        self._resources = CompositeDisposable(self._work)
        self._lock = threading.Lock()
        self._ended = False
        self._end_span: Callable[[ToolResult | None], None] | None = None
        self._started = self._clock.now

    def start(self) -> None:
        """Begin, on the scheduler."""
        self._start(self._begin)

    def dispose(self) -> None:
        self._close(None)

    def _close(self, result: ToolResult | None) -> bool:
        """End the run; return False if it has ended before."""
        with self._lock:
            if self._ended:
                return False
            self._ended = True
        self._context.cancelled.set()
        self._resources.dispose()
        if self._end_span is not None:
            self._end_span(result)
        return True

    def _start(self, action: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                action()
            except BaseException as error:  # CancelledError, SystemExit ...: they end neither the thread nor the turn
                self._fail(error)

        self._resources.add(run_on(self._settings.scheduler, guarded, "tool", self._values))

    def _begin(self) -> None:
        """Ask for approval if it is needed, else run the tool; fail if there is no such tool."""
        tool, approve = self._settings.tools.get(self._call.name), self._settings.approve
        if self._ended:
            return
        if tool is None:
            known = ", ".join(self._settings.tools) or "none"
            self._fail(f"There is no tool {self._call.name!r}. The tools are: {known}")
        elif approve is None or getattr(tool, "approve", None) is False:
            self._run(tool)
        else:
            self._ask(tool, approve)

    def _ask(self, tool: RunnableTool, approve: Approve) -> None:
        """Ask `approve`; run the tool if the answer is True, else refuse it."""

        def answered(answer: object) -> None:
            if answer is True:
                # The answer may come on the thread of a user interface; no tool runs there.
                self._start(partial(self._run, tool))
            else:
                self._refuse(f": {answer}" if answer and isinstance(answer, str) else ".")

        def failed(error: BaseException) -> None:
            self._refuse(f": the approval failed ({error_text(error)})")

        self._emit(ApprovalRequest(self._call))
        if self._ended:  # the subscriber has disposed the turn
            return
        resolve(partial(approve, self._call), self._settings.loop, answered, _ignore, failed, self._work)

    def _run(self, tool: RunnableTool) -> None:
        """Start the tool, with its timeout and span, and wait for its outcome."""
        self._started = self._clock.now
        own: float | None = getattr(tool, "timeout", None)
        seconds = self._settings.tool_timeout if own is None else own
        if seconds is not None:
            expired = f"The tool did not answer within {seconds:g} s."
            self._resources.add(self._clock.schedule_relative(seconds, lambda _, __: self._fail(expired)))
        self._emit(ToolStart(self._call))
        if self._ended:  # the subscriber has disposed the turn, or has taken all the time that the tool had
            return
        self._start_span(tool)
        run = partial(tool.run, self._call.arguments, self._context)
        resolve(run, self._settings.loop, self._succeed, self._progress, self._fail, self._work)

    def _start_span(self, tool: RunnableTool) -> None:
        """Start the telemetry span of the run, if there is one; end it at once if the run has ended meanwhile."""
        start = tool_span.get()
        if start is None:
            return
        end = start(self._call, tool.tool)
        with self._lock:
            if not self._ended:
                self._end_span = end
                return
        end(None)

    def _progress(self, value: object) -> None:
        if not self._ended:
            self._emit(ToolProgress(self._call.id, self._call.name, value))

    def _succeed(self, value: object) -> None:
        text, media = result_content(value.response.text if isinstance(value, StreamEnd) else value)
        self._finish(text, media=media)

    def _refuse(self, ending: str) -> None:
        self._finish(f"The user did not allow this call{ending}", is_error=True, refused=True)

    def _fail(self, problem: str | BaseException) -> None:
        if isinstance(problem, msgspec.ValidationError):
            problem = f"The arguments are not valid: {problem}"
        self._finish(problem if isinstance(problem, str) else error_text(problem), is_error=True)

    def _finish(
        self, text: str, *, is_error: bool = False, refused: bool = False, media: tuple[MediaPart, ...] = ()
    ) -> None:
        seconds = (self._clock.now - self._started).total_seconds()
        result = ToolResult(self._call.id, valid_text(text), self._call.name, is_error, media)
        if self._close(result):
            self._emit(ToolEnd(self._call, result, seconds, refused))


def _ignore(_: object) -> None:
    """Ignore the items of an approval before the last one."""
