"""A conversation as observable state, for any user interface: what is said, whether an answer runs, what went wrong.

What a command does depends on the status, but no status makes it raise. Call it on any thread; it does not block.

==============  ===========================  ==========================================  ====================
command, event  ready, error                 submitted, streaming                        the status then
==============  ===========================  ==========================================  ====================
send            asks                         stops the answer, then asks                 submitted
regenerate      drops the last answer, asks  the same, after a stop                      submitted
edit            drops what follows, asks     the same, after a stop                      submitted
stop            nothing                      marks the answer as stopped                 ready
approve         nothing                      decides a tool call that waits              unchanged
clear           drops all messages           the same, after a stop                      ready
load            replaces all messages        the same, after a stop                      ready
close           completes the Observables    the same, after a stop                      (none)
first content   (ignored)                    the answer has begun                        streaming
end of answer   (ignored)                    the answer is done                          ready
failure         (ignored)                    the answer is marked as failed              error
==============  ===========================  ==========================================  ====================
"""

from __future__ import annotations

import logging
import operator
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypeVar

from reactivex import Observable, abc
from reactivex import operators as rx
from reactivex.disposable import SingleAssignmentDisposable
from reactivex.subject import AsyncSubject

from .._arguments import check_arguments
from .._core.awaitable import AwaitableObservable
from .._core.error_format import as_exception
from .._core.scheduling import TimerScheduler
from .._history import with_valid_text
from ..messages import Message, Part, ToolCall
from ..model import StreamingModel
from ..prompt import Prompt, messages_of
from ._chat_answer import ChatAnswer
from ._chat_approval import ask
from ._chat_log import ChatLog, Ending
from ._chat_messages import ChatMessage, ChatState, ChatStatus
from ._chat_states import StateEmitter
from .assistant import Assistant
from .events import AssistantEvent
from .memory import Memory, Window

T = TypeVar("T")

log = logging.getLogger("rxllm")


class _Turn:
    """A question that is being answered."""

    def __init__(self, answer: ChatAnswer) -> None:
        self.answer = answer
        self.decisions: defaultdict[str, AsyncSubject[bool | str]] = defaultdict(AsyncSubject)
        """What emits the decisions about tool calls, by the call's id; made by the question or by the decision."""
        self.decided: set[str] = set()
        self.subscription = SingleAssignmentDisposable()
        self.ended = threading.Event()


class ChatSession(abc.DisposableBase):
    """Keeps a conversation with a model or an assistant, and says what has changed. Thread-safe; never blocks.

    Args:
        model: A model, or an assistant without a memory of its own (with one, each turn fails). Tools whose calls a
            person approves need ``Assistant(..., approve=ask_user)``.
        memory: Where the conversation is kept. It is saved whenever an answer ends; `load` reads it.
        conversation: The conversation's name in the memory.
        messages: What was said before, system messages too; `load` replaces it. Any prompt that models take.
        window: Chooses the messages to send of a long conversation, `last_tokens(4000)` for example; all by default.
        frame: The shortest time between two emissions, in seconds, while text arrives. All else is emitted at once.
        scheduler: Runs the timer of the frames and the work with the memory; by default daemon threads.

    Example:
        >>> from rxllm.testing import ScriptedModel
        >>> session = ChatSession(ScriptedModel("Hello, Ada"))
        >>> id = session.send("I am Ada")
        >>> state = session.wait()
        >>> [message.text for message in state.messages], state.status
        (['I am Ada', 'Hello, Ada'], 'ready')
    """

    @check_arguments
    def __init__(
        self,
        model: StreamingModel | Assistant,
        *,
        memory: Memory | None = None,
        conversation: str = "",
        messages: Prompt = (),
        window: Window | None = None,
        frame: float = 1 / 60,
        scheduler: abc.SchedulerBase | None = None,
    ) -> None:
        self._assistant = model if isinstance(model, Assistant) else Assistant(model)
        self._memory = memory
        self._conversation = conversation
        self._window = window
        self._scheduler = scheduler or TimerScheduler.singleton()
        self._lock = threading.RLock()
        self._memory_lock = threading.Lock()
        """Held for each use of the memory, and while the history to save is read: so the last save has the newest."""
        self._log = ChatLog(messages_of(messages) if messages else ())
        self._status: ChatStatus = "ready"
        self._error: Exception | None = None
        self._turn: _Turn | None = None
        self._loading: object = None  # identifies the last `load`; None if `clear` came after it
        self._emitter = StateEmitter(self._lock, self._take_state, frame, self._scheduler)

    @property
    def state(self) -> ChatState:
        """The state that was emitted last."""
        return self._emitter.states.value

    @property
    def history(self) -> tuple[Message, ...]:
        """What was said, without a running answer: `messages_to_json` keeps it, another session continues from it."""
        with self._lock:
            return self._log.history()

    @property
    def states(self) -> Observable[ChatState]:
        """The state now and after each change, on the thread that brought the change; completes at `close`."""
        return AwaitableObservable(lambda observer, _: self._emitter.states.subscribe(observer))

    @property
    def messages(self) -> Observable[tuple[ChatMessage, ...]]:
        """The messages now and after each change. A message that has not changed is the same object as before."""
        return self._part(lambda state: state.messages)

    @property
    def status(self) -> Observable[ChatStatus]:
        """The status now and after each change."""
        return self._part(lambda state: state.status)

    @property
    def error(self) -> Observable[Exception | None]:
        """What the last answer failed with; None while there is no failure."""
        return self._part(lambda state: state.error)

    def send(self, *content: str | Part) -> str:
        """Add a message of the user, and ask for an answer; a running answer is stopped first.

        Args:
            content: Texts, and parts such as `ImagePart`.

        Returns:
            The id of the message; empty if the session is closed.
        """
        return self._ask(content, lambda: len(self._log.shown))

    def edit(self, message_id: str, *content: str | Part) -> str:
        """Replace a message of the user, drop all that follows it, and ask for an answer.

        Args:
            message_id: The id of the message.
            content: As for `send`.

        Returns:
            The id of the new message; empty if there is no such message, or the session is closed.
        """
        return self._ask(content, lambda: self._log.place(message_id))

    def regenerate(self) -> str:
        """Drop the last answer, and ask for another; this is what "retry" does after a failure, too.

        Returns:
            The id of the user's last message; empty if there is none, or the session is closed.
        """
        return self._ask(None, self._log.place)

    def stop(self) -> None:
        """Stop the running answer; what has arrived stays, marked as stopped. The connection closes."""
        with self._lock:
            turn = self._end_turn("stopped")
        self._after(turn)

    def approve(self, call_id: str, yes: bool = True, reason: str = "") -> bool:
        """Decide about a tool call that waits.

        Args:
            call_id: The id of the call, which is that of its part.
            yes: True lets the tool run.
            reason: Why it may not; the model reads it.

        Returns:
            False if no such call waits (any more).
        """
        with self._lock:
            if self._turn is None or not self._turn.answer.waits(call_id):
                return False
            decision = self._turn.decisions[call_id]
            if call_id in self._turn.decided:
                return False
            self._turn.decided.add(call_id)
        decision.on_next(True if yes else reason or False)
        decision.on_completed()
        return True

    def clear(self) -> None:
        """Drop all messages, in the memory too; a running answer is stopped."""
        with self._lock:
            turn = self._end_turn("stopped")
            self._log.drop(0)
            self._status, self._error, self._loading = "ready", None, None
        self._after(turn)
        self.save()

    def load(self) -> None:
        """Replace all messages by those in the memory, on a thread of its own; a running answer is stopped.

        A failure of the memory becomes the session's error. Without a memory this does nothing.
        """
        if self._memory is not None:
            self._loading = this = object()
            self._scheduler.schedule(self._load, this)

    def save(self) -> None:
        """Write the conversation to the memory, on a thread of its own; it is done by itself when an answer ends.

        A failure of the memory becomes the session's error. Without a memory this does nothing.
        """
        if self._memory is not None and not self._emitter.closed:
            self._scheduler.schedule(self._save)

    def wait(self, timeout: float | None = None) -> ChatState:
        """Block until no answer runs; for tests and scripts, not for user interfaces.

        Args:
            timeout: The longest wait in seconds; None waits for as long as it takes.

        Returns:
            The state then.

        Raises:
            TimeoutError: An answer still runs.
        """
        emitted, turn = threading.Event(), self._turn  # another thread may emit states from before the turn still
        began = time.monotonic()
        subscription = self._emitter.states.subscribe(
            lambda state: None if state.running else emitted.set(), on_completed=emitted.set
        )
        try:
            for event in (emitted,) if turn is None else (turn.ended, emitted):
                if not event.wait(None if timeout is None else began + timeout - time.monotonic()):
                    raise TimeoutError(f"an answer still runs after {timeout:g} s")
        finally:
            subscription.dispose()
        with self._lock:
            return self._take_state()

    def close(self) -> None:
        """Stop the running answer and complete all Observables. Later commands do nothing."""
        with self._lock:
            turn = self._end_turn("stopped")
            self._emitter.closed = True
        self._after(turn)

    def dispose(self) -> None:
        """Close."""
        self.close()

    def _part(self, choose: Callable[[ChatState], T]) -> Observable[T]:
        return self.states.pipe(rx.map(choose), rx.distinct_until_changed(comparer=operator.is_))

    def _ask(self, content: Sequence[str | Part] | None, place: Callable[[], int]) -> str:
        """Put a message of the user at `place()`, or keep the one there; drop what follows it, and ask again.

        `place` returns an index into `shown`, -1 for none. It is called under the lock, as another thread may change
        the messages until then.
        """
        message = None if content is None else with_valid_text(Message.user(*content))
        with self._lock:
            if self._emitter.closed or place() < 0:
                return ""
            before = self._end_turn("stopped")
            at = place()  # now, because a stopped answer has become a message
            if message is None:
                self._log.drop(at + 1)
            else:
                self._log.drop(at)
                self._log.add_question(message)
            question, history = self._log.shown[-1].id, self._log.history()
            self._turn = turn = _Turn(ChatAnswer(self._log.next_id()))
            self._status, self._error = "submitted", None
        self._after(before)
        self._subscribe(turn, history)
        return question

    def _subscribe(self, turn: _Turn, history: Sequence[Message]) -> None:
        """Start the turn; what it raises becomes its error."""

        def request_approval(call: ToolCall) -> Observable[bool | str]:
            with self._lock:
                return turn.decisions[call.id]

        token = ask.set(request_approval)
        try:
            prompt = history if self._window is None else self._window(history)
            turn.subscription.disposable = self._assistant.stream(prompt).subscribe(
                lambda event: self._on_event(turn, event),
                lambda error: self._on_end(turn, error),
                lambda: self._on_end(turn, None),
            )
        except BaseException as error:  # of the window, or an option or a prompt that the model cannot take
            self._on_end(turn, as_exception(error))
        finally:
            ask.reset(token)

    def _on_event(self, turn: _Turn, event: AssistantEvent) -> None:
        """Add an event to the answer; emit at once, or with the next frame if it is only more text."""
        with self._lock:
            if turn is not self._turn:
                return
            urgent = turn.answer.add(event)
            if self._status == "submitted" and turn.answer.begun:
                self._status, urgent = "streaming", True
        if urgent:
            self._emitter.emit()
        else:
            self._emitter.emit_soon()

    def _on_end(self, turn: _Turn, error: Exception | None) -> None:
        """End the turn, with an error or without, unless another has taken its place."""
        with self._lock:
            if turn is not self._turn:
                return
            if error is None:
                self._end_turn("done")
            else:
                turn.answer.fail(error)
                self._end_turn("failed")
                self._status, self._error = "error", error
        self._after(turn)

    def _end_turn(self, ending: Ending) -> _Turn | None:
        """Put the answer among the messages and return the turn, which is to be disposed. The caller holds the lock."""
        turn, self._turn = self._turn, None
        if turn is not None:
            self._log.add_answer(turn.answer, ending)
            self._status = "ready"
            turn.ended.set()
        return turn

    def _after(self, ended: _Turn | None) -> None:
        """Emit; and if a turn has ended, dispose and save. The caller must not hold the lock."""
        self._emitter.emit()
        if ended is not None:
            ended.subscription.dispose()
            self.save()

    def _take_state(self) -> ChatState:
        """Return the state as it is now. The caller holds the lock."""
        running = () if self._turn is None else (self._turn.answer.message(),)
        return ChatState((*self._log.shown, *running), self._status, self._error)

    def _load(self, _: abc.SchedulerBase, this: object = None) -> None:
        """Show the stored conversation; a turn that has begun meanwhile is stopped. Runs on the scheduler."""
        assert self._memory is not None
        try:
            with self._memory_lock:
                found = self._memory.messages(self._conversation)
        except BaseException as error:
            self._fail(as_exception(error))
            return
        with self._lock:
            if self._loading is not this:
                return
            turn = self._end_turn("stopped")
            self._log.replace(found)
            self._status, self._error = "ready", None
        self._after(turn)

    def _save(self, *_: object) -> None:
        """Store the session's history as the conversation in the memory. Runs on the scheduler."""
        assert self._memory is not None
        try:
            with self._memory_lock:
                self._memory.replace(self._conversation, self.history)
        except BaseException as error:
            self._fail(as_exception(error))

    def _fail(self, error: Exception) -> None:
        """Make a failure of the memory the session's error; a running answer continues."""
        log.warning("a chat session's memory failed: %s", error)
        with self._lock:
            self._error = error
            if self._turn is None:
                self._status = "error"
        self._emitter.emit()
