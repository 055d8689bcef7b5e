"""One tool call, from its approval to its result. Whatever goes wrong is a result too: the model is told."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from typing import TypeAlias

import msgspec
from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, SerialDisposable

from ..events import StreamEnd
from ..messages import ToolCall, ToolResult
from ._outcome import settle
from ._scheduling import now, run_after, run_on
from .events import ApprovalRequest, ToolEnd, ToolProgress, ToolStart
from .tools import RunnableTool, ToolContext, result_text

Approve: TypeAlias = Callable[[ToolCall], bool | str | Awaitable[bool | str] | Observable[bool | str]]
"""Whether a call may run: asked on a thread of its own, so it may block; several may be asked at once.

Only True lets it. Text is the reason why it may not, which the model is told.
"""

ToolEvent: TypeAlias = ApprovalRequest | ToolStart | ToolProgress | ToolEnd


class ToolSettings(msgspec.Struct, frozen=True):
    """What holds for all calls of an assistant."""

    tools: Mapping[str, RunnableTool]
    approve: Approve | None
    timeout: float | None
    scheduler: abc.SchedulerBase | None


class ToolRun(abc.DisposableBase):
    """One call as it runs, in the context `values`. `tell` gets its events from any thread, its `ToolEnd` last.

    Disposing cancels what runs as far as it lets itself be cancelled, and nothing is told after.
    """

    def __init__(
        self,
        call: ToolCall,
        conversation: str,
        settings: ToolSettings,
        values: Context,
        tell: Callable[[ToolEvent], None],
    ) -> None:
        self._call = call
        self._settings = settings
        self._values = values
        self._tell = tell
        self._tool = settings.tools.get(call.name)
        self._context = ToolContext(call, conversation, self._progress)
        self._work = SerialDisposable()
        self._resources = CompositeDisposable(self._work)
        self._lock = threading.Lock()
        self._over = False
        self._started = now(settings.scheduler)

    def start(self) -> None:
        """Begin, on the scheduler."""
        self._resources.add(run_on(self._settings.scheduler, self._begin, "tool", self._values))

    def dispose(self) -> None:
        self._close()

    def _close(self) -> bool:
        """Whether this call ends the run."""
        with self._lock:
            if self._over:
                return False
            self._over = True
        self._context.cancelled.set()
        self._resources.dispose()
        return True

    def _begin(self) -> None:
        tool, approve = self._tool, self._settings.approve
        if self._over:
            return
        if tool is None:
            known = ", ".join(self._settings.tools) or "none"
            self._fail(f"There is no tool {self._call.name!r}. The tools are: {known}")
        elif approve is not None and getattr(tool, "approve", None) is not False:
            self._tell(ApprovalRequest(self._call))
            self._guarded(lambda: approve(self._call), lambda answer: self._answered(tool, answer), _ignore)
        else:
            self._run(tool)

    def _answered(self, tool: RunnableTool, answer: object) -> None:
        if answer is True:
            # Whatever answered may be a user interface: no tool runs on its thread.
            self._resources.add(run_on(self._settings.scheduler, lambda: self._run(tool), "tool", self._values))
        else:
            reason = f": {answer}" if isinstance(answer, str) and answer else "."
            self._finish(f"The user did not allow this call{reason}", is_error=True, refused=True)

    def _run(self, tool: RunnableTool) -> None:
        if self._over:
            return
        self._started = now(self._settings.scheduler)
        own: float | None = getattr(tool, "timeout", None)
        seconds = self._settings.timeout if own is None else own
        if seconds is not None:
            expired = f"The tool did not answer within {seconds:g} s."
            self._resources.add(run_after(self._settings.scheduler, seconds, lambda: self._fail(expired)))
        self._tell(ToolStart(self._call))
        self._guarded(lambda: tool.run(self._call.arguments, self._context), self._succeed, self._progress)

    def _guarded(
        self, begin: Callable[[], object], on_value: Callable[[object], None], on_item: Callable[[object], None]
    ) -> None:
        """Do what a user's function does; what it raises is a result."""
        try:
            outcome = begin()
        except (Exception, SystemExit) as error:  # a tool may not end the program, nor its thread unseen
            self._failed(error)
        else:
            settle(outcome, on_value, on_item, self._failed, self._work)

    def _progress(self, value: object) -> None:
        if not self._over:
            self._tell(ToolProgress(self._call.id, self._call.name, value))

    def _succeed(self, value: object) -> None:
        try:
            text = result_text(value.response.text if isinstance(value, StreamEnd) else value)
        except Exception as error:
            self._failed(error)
        else:
            self._finish(text, is_error=False)

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, msgspec.ValidationError):
            self._fail(f"The arguments are not valid: {error}")
        else:
            self._fail(f"{type(error).__name__}: {error}")

    def _fail(self, text: str) -> None:
        self._finish(text, is_error=True)

    def _finish(self, text: str, *, is_error: bool, refused: bool = False) -> None:
        seconds = now(self._settings.scheduler) - self._started
        if self._close():
            result = ToolResult(self._call.id, text, self._call.name, is_error)
            self._tell(ToolEnd(self._call, result, seconds, refused))


def _ignore(_: object) -> None:
    """Progress of an approval is nobody's business."""
