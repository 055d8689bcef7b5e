"""One tool call, from its approval to its result. Every failure becomes a result, which the model reads."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context, ContextVar
from functools import partial
from typing import TypeAlias

import msgspec
from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, SerialDisposable

from .._json import valid_text
from ..events import StreamEnd
from ..messages import MediaPart, ToolCall, ToolResult
from ..options import Tool
from ._asyncio_loop import AsyncioLoop
from ._resolve import resolve
from ._scheduling import now, run_after, run_on
from .errors import error_text
from .events import ApprovalRequest, ToolEnd, ToolProgress, ToolStart
from .tools import RunnableTool, ToolContext, result_content

Approve: TypeAlias = Callable[[ToolCall], bool | str | Awaitable[bool | str] | Observable[bool | str]]
"""Decides whether a tool call may run: True allows it, a text is the reason for the refusal, which the model reads.

It is called on its own thread, so it may block. Several calls may be decided at the same time.
"""

ToolEvent: TypeAlias = ApprovalRequest | ToolStart | ToolProgress | ToolEnd

ToolSpan: TypeAlias = Callable[[ToolCall, Tool], Callable[[ToolResult | None], None]]

tool_span: ContextVar[ToolSpan | None] = ContextVar("rxllm_tool_span", default=None)
"""Called in the context of each tool run before the tool starts. It returns what to call with the result.

The result is None if the run was cancelled.
"""


class ToolSettings(msgspec.Struct, frozen=True):
    """Settings of an assistant for all of its tool calls; `timeout` in seconds."""

    tools: Mapping[str, RunnableTool]
    approve: Approve | None
    timeout: float | None
    scheduler: abc.SchedulerBase | None
    loop: AsyncioLoop


class ToolRun(abc.DisposableBase):
    """The execution of one call in the context `values`. `emit` gets its events from any thread, its `ToolEnd` last.

    Disposing cancels what can be cancelled; nothing is emitted after that.
    """

    def __init__(
        self,
        call: ToolCall,
        conversation: str,
        settings: ToolSettings,
        values: Context,
        emit: Callable[[ToolEvent], None],
    ) -> None:
        self._call = call
        self._settings = settings
        self._values = values
        self._emit = emit
        self._tool = settings.tools.get(call.name)
        self._context = ToolContext(call, conversation, self._progress)
        self._work = SerialDisposable()
        self._resources = CompositeDisposable(self._work)
        self._lock = threading.Lock()
        self._ended = False
        self._end_span: Callable[[ToolResult | None], None] | None = None
        self._started = now(settings.scheduler)

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
        guarded = partial(self._guarded, action, self._failed)
        self._resources.add(run_on(self._settings.scheduler, guarded, "tool", self._values))

    def _guarded(self, action: Callable[[], None], on_error: Callable[[BaseException], None]) -> None:
        """Call code that calls the user's code: everything that it raises becomes the result."""
        try:
            action()
        except BaseException as error:  # CancelledError, SystemExit ...: a tool ends neither its thread nor the turn
            on_error(error)

    def _begin(self) -> None:
        """Ask for approval if it is needed, else run the tool; fail if there is no such tool."""
        tool, approve = self._tool, self._settings.approve
        if self._ended:
            return
        if tool is None:
            known = ", ".join(self._settings.tools) or "none"
            self._fail(f"There is no tool {self._call.name!r}. The tools are: {known}")
        elif approve is not None and getattr(tool, "approve", None) is not False:
            self._emit(ApprovalRequest(self._call))
            self._guarded(lambda: self._ask(tool, approve), self._refuse)
        else:
            self._run(tool)

    def _ask(self, tool: RunnableTool, approve: Approve) -> None:
        """Ask `approve`; run the tool if the answer is True, else refuse it."""

        def answered(answer: object) -> None:
            if answer is True:
                # The answer may come on the thread of a user interface; no tool runs there.
                self._start(lambda: self._run(tool))
            else:
                self._refuse(answer if isinstance(answer, str) else "")

        resolve(
            approve(self._call),
            self._settings.loop,
            lambda answer: self._guarded(lambda: answered(answer), self._refuse),
            _ignore,
            self._refuse,
            self._work,
        )

    def _refuse(self, reason: str | BaseException) -> None:
        if isinstance(reason, BaseException):
            reason = f"the approval failed ({error_text(reason)})"
        ending = f": {reason}" if reason else "."
        self._finish(f"The user did not allow this call{ending}", is_error=True, refused=True)

    def _run(self, tool: RunnableTool) -> None:
        """Start the tool, with its timeout and span, and wait for its outcome."""
        if self._ended:
            return
        self._started = now(self._settings.scheduler)
        own: float | None = getattr(tool, "timeout", None)
        seconds = self._settings.timeout if own is None else own
        if seconds is not None:
            expired = f"The tool did not answer within {seconds:g} s."
            self._resources.add(run_after(self._settings.scheduler, seconds, lambda: self._fail(expired)))
        self._emit(ToolStart(self._call))
        self._start_span()
        outcome = tool.run(self._call.arguments, self._context)
        resolve(outcome, self._settings.loop, self._succeed, self._progress, self._failed, self._work)

    def _start_span(self) -> None:
        """Start the telemetry span of the run, if there is one; end it at once if the run has ended meanwhile."""
        start = tool_span.get()
        if start is None or self._tool is None:
            return
        end = start(self._call, self._tool.tool)
        with self._lock:
            if not self._ended:
                self._end_span = end
                return
        end(None)

    def _progress(self, value: object) -> None:
        if not self._ended:
            self._emit(ToolProgress(self._call.id, self._call.name, value))

    def _succeed(self, value: object) -> None:
        try:
            text, media = result_content(value.response.text if isinstance(value, StreamEnd) else value)
        except BaseException as error:
            self._failed(error)
        else:
            self._finish(text, is_error=False, media=media)

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, msgspec.ValidationError):
            self._fail(f"The arguments are not valid: {error}")
        else:
            self._fail(error_text(error))

    def _fail(self, text: str) -> None:
        self._finish(text, is_error=True)

    def _finish(self, text: str, *, is_error: bool, refused: bool = False, media: tuple[MediaPart, ...] = ()) -> None:
        seconds = now(self._settings.scheduler) - self._started
        result = ToolResult(self._call.id, valid_text(text), self._call.name, is_error, media)
        if self._close(result):
            self._emit(ToolEnd(self._call, result, seconds, refused))


def _ignore(_: object) -> None:
    """Ignore the items of an approval before the last one."""
