"""Memory: conversations in a store, and which of their messages are sent to a model.

A turn is added as a whole when it has ended, so that each call stays with its result and concurrent turns of one
conversation do not mix. Stores and memories are thread-safe and may be shared by assistants.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeAlias

import reactivex as rx
from reactivex import Observable
from reactivex import operators as rx_ops

from .._arguments import check_arguments
from .._core.error_format import error_text
from .._core.token_usage import estimated_tokens
from .._json import encode
from ..errors import ConfigurationError, LLMError, StreamError
from ..events import Response, TokenEvent
from ..messages import Message, ReasoningPart, TextPart, ToolCall, ToolResult
from ..model import StreamingModel
from ..operators._operator import check_number
from ..operators.text.plain import response
from ..providers.model_presets import model_preset
from .errors import MemoryStoreError

log = logging.getLogger("rxllm")

Window: TypeAlias = Callable[[Sequence[Message]], Sequence[Message]]
"""Takes a conversation, the newest message last, and returns the messages to send.

Use `last_messages`, `last_tokens`, `within_context`, or your own function.
"""

_SUMMARY = "Summary of the conversation so far: "
_ASK_FOR_SUMMARY = (
    "Summarise the conversation above in a few sentences, for yourself to go on from: "
    "facts, names, decisions, open questions. Answer with the summary alone."
)


class MemoryStore(Protocol):
    """Keeps conversations. Must be thread-safe."""

    def load(self, conversation: str, /) -> Sequence[Message]:
        """Return all messages, the oldest first; none for an unknown conversation.

        Args:
            conversation: The name of the conversation.
        """
        ...

    def append(self, conversation: str, messages: Sequence[Message], /) -> None:
        """Add the messages of a turn at the end: all of them, adjacent, or none.

        Args:
            conversation: The name of the conversation.
            messages: The messages to add.
        """
        ...

    def replace(self, conversation: str, old: Sequence[Message], new: Sequence[Message], /) -> bool:
        """Replace the beginning of a conversation; return False if it does not begin with `old`.

        Args:
            conversation: The name of the conversation.
            old: The messages that the conversation begins with.
            new: The messages to put in their place.
        """
        ...


class InMemoryStore:
    """Keeps conversations in the memory of this process. Thread-safe."""

    def __init__(self) -> None:
        self._conversations: dict[str, tuple[Message, ...]] = {}
        self._lock = threading.Lock()

    def load(self, conversation: str, /) -> tuple[Message, ...]:
        """Return all messages of a conversation.

        Args:
            conversation: The name of the conversation.
        """
        return self._conversations.get(conversation, ())

    def append(self, conversation: str, messages: Sequence[Message], /) -> None:
        """Add messages at the end.

        Args:
            conversation: The name of the conversation.
            messages: The messages to add.
        """
        with self._lock:
            self._conversations[conversation] = (*self.load(conversation), *messages)

    def replace(self, conversation: str, old: Sequence[Message], new: Sequence[Message], /) -> bool:
        """Replace the beginning of a conversation; return False if it does not begin with `old`.

        Args:
            conversation: The name of the conversation.
            old: The messages that the conversation begins with.
            new: The messages to put in their place.
        """
        with self._lock:
            messages = self.load(conversation)
            if messages[: len(old)] != tuple(old):
                return False
            self._conversations[conversation] = (*new, *messages[len(old) :])
            if not self._conversations[conversation]:
                del self._conversations[conversation]
            return True


class Summary:
    """Keeps a conversation short: the summary of its older messages takes their place in the store.

    The summary is written as part of a turn. If that fails, the turn continues with all messages, and the failure is
    logged.

    Args:
        model: The model that writes the summary.
        after: The number of messages above which a summary is written.
        keep: The number of newest messages that stay as they are.
        instructions: What the model is asked, after the messages.

    Raises:
        ConfigurationError: `after` or `keep` is not a whole number, 0 or more.
    """

    @check_arguments
    def __init__(
        self, model: StreamingModel, *, after: int = 40, keep: int = 10, instructions: str = _ASK_FOR_SUMMARY
    ) -> None:
        check_number("Summary(after=...)", after, 0)
        check_number("Summary(keep=...)", keep, 0)
        self._model = model
        self._after = after
        self._keep = keep
        self._instructions = instructions

    def due(self, messages: Sequence[Message]) -> int:
        """Return how many messages from the start are to be summarised now; 0 for none.

        Args:
            messages: The conversation.
        """
        if len(messages) <= self._after:
            return 0
        return len(messages) - len(_from_turn(messages, 0, len(messages) - self._keep))

    def stream(self, messages: Sequence[Message]) -> Observable[Message]:
        """Return an Observable of the summary, as a message.

        Args:
            messages: The messages to summarise.
        """
        said = "\n\n".join(map(_as_text, messages))
        events: Observable[TokenEvent] = self._model.stream(f"{said}\n\n{self._instructions}")
        return events.pipe(response(), rx_ops.map(_summary_message))


class Memory:
    """What an assistant remembers: a store, the window of it that is sent, and perhaps a summary of the rest.

    Args:
        store: Keeps the conversations; default: an `InMemoryStore`.
        window: Chooses the messages to send; default: all of them.
        summary: Shortens long conversations; default: they stay as they are.

    >>> memory = Memory(window=last_messages(20))
    >>> memory.add("ada", [Message.user("Hello"), Message.assistant("Hello, Ada")])
    >>> [message.text for message in memory.messages("ada")]
    ['Hello', 'Hello, Ada']
    """

    @check_arguments
    def __init__(
        self, store: MemoryStore | None = None, *, window: Window | None = None, summary: Summary | None = None
    ) -> None:
        self.store: MemoryStore = InMemoryStore() if store is None else store
        self._window = window
        self._summary = summary

    def messages(self, conversation: str = "") -> tuple[Message, ...]:
        """Return all messages of a conversation. Raises what the store raises.

        Args:
            conversation: The name of the conversation.
        """
        return tuple(self.store.load(conversation))

    def add(self, conversation: str, messages: Sequence[Message]) -> None:
        """Add messages to a conversation. Raises what the store raises.

        Args:
            conversation: The name of the conversation.
            messages: The messages to add.
        """
        self.store.append(conversation, messages)

    def clear(self, conversation: str = "") -> None:
        """Delete a conversation. Raises what the store raises.

        Args:
            conversation: The name of the conversation.
        """
        self.replace(conversation, ())

    def replace(self, conversation: str, messages: Sequence[Message]) -> None:
        """Replace all messages of a conversation. Raises what the store raises.

        Args:
            conversation: The name of the conversation.
            messages: The messages to put in their place.
        """
        while not self.store.replace(conversation, self.messages(conversation), messages):
            """Another thread has changed it."""

    def recall(self, conversation: str, question: Message) -> Observable[tuple[Message, ...]]:
        """Return an Observable of the messages to send, `question` the last. Writes a summary first if one is due.

        Raises what the store and the window raise; later errors are emitted as an `LLMError`.

        Args:
            conversation: The name of the conversation.
            question: The user's new message.
        """
        messages = self.messages(conversation)
        summary, due = self._summary, self._summary.due(messages) if self._summary is not None else 0
        if summary is None or not due:
            return rx.just(self._windowed([*messages, question]))
        old, recent = messages[:due], messages[due:]

        def keep(written: Message) -> tuple[Message, ...]:
            with store_errors("written"):
                self.store.replace(conversation, old, [written])
            with store_errors("read"):
                return self._windowed([written, *recent, question])

        def go_on(error: Exception, _: Observable[tuple[Message, ...]]) -> Observable[tuple[Message, ...]]:
            log.warning("the conversation could not be summarised: %s", error_text(error))
            with store_errors("read"):
                return rx.just(self._windowed([*messages, question]))

        return summary.stream(old).pipe(rx_ops.map(keep), rx_ops.catch(go_on))

    def _windowed(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        return tuple(messages if self._window is None else self._window(messages))


@contextmanager
def store_errors(action: str) -> Generator[None, None, None]:
    """Raise what the code inside raises as an `LLMError`: everything else than one becomes a `MemoryStoreError`.

    Args:
        action: What fails: "read" or "written".
    """
    try:
        yield
    except LLMError:
        raise
    except BaseException as error:  # stores and windows are code of the user
        raise MemoryStoreError(f"the conversation could not be {action}: {error_text(error)}") from error


@check_arguments
def last_messages(count: int) -> Window:
    """Return a window of at most the last `count` messages, cut before a user message; it keeps the newest turn whole.

    System messages (summaries, for example) at the beginning stay, and are not counted.

    Args:
        count: The most messages to send, 0 or more.

    Raises:
        ConfigurationError: `count` is not a whole number, 0 or more.
    """
    check_number("last_messages(count=...)", count, 0)
    return last_tokens(count, count=lambda message: int(message.role != "system"))


@check_arguments
def last_tokens(budget: int, *, count: Callable[[Message], int] | None = None) -> Window:
    """Return a window of the last turns that fit in `budget` tokens; it keeps the newest turn whole.

    The assistant's system message and the schemas of its tools are sent too, and are not counted.

    Args:
        budget: The most tokens to send, 0 or more.
        count: Returns the tokens of a message; default: `message_tokens`, an estimate.

    Raises:
        ConfigurationError: `budget` is not a whole number, 0 or more.
    """
    check_number("last_tokens(budget=...)", budget, 0)
    counted = count or message_tokens

    def window(messages: Sequence[Message]) -> Sequence[Message]:
        """Return the head, and as many of the last messages as fit into what it leaves of the budget."""
        head = _head(messages)
        left = budget - sum(map(counted, messages[:head]))
        start = len(messages)
        while start > head and left >= (size := counted(messages[start - 1])):
            left -= size
            start -= 1
        return _from_turn(messages, head, start)

    return window


@check_arguments
def within_context(
    model: StreamingModel, *, answer: int | None = None, count: Callable[[Message], int] | None = None
) -> Window:
    """Return `last_tokens` with the budget of `model`: its context window without room for the answer.

    Tokens are estimated, and tools and the assistant's system message need room too, so leave some.

    Args:
        model: The model whose context window counts (`rxllm.model_preset`).
        answer: Tokens to keep free for the answer; default: as many as the model can write, at most half the window.
        count: Returns the tokens of a message; default: `message_tokens`, an estimate.

    Raises:
        ConfigurationError: The context window of the model is not known.

    >>> from rxllm import create_streaming_model
    >>> memory = Memory(window=within_context(create_streaming_model("openai:gpt-5.4-mini", api_key="k")))
    """
    preset = model_preset(model.provider, model.model)
    if preset is None:
        raise ConfigurationError(
            f"the context window of {model.provider}:{model.model} is not known: use last_tokens(budget)"
        )
    return last_tokens(preset.max_input if answer is None else preset.context_window - answer, count=count)


def message_tokens(message: Message) -> int:
    """Return an estimate of the tokens of a message, from its JSON; images and sound are not counted.

    Args:
        message: Any message.
    """
    counted = (TextPart, ReasoningPart, ToolCall, ToolResult)
    return 4 + sum(estimated_tokens(encode(part).decode()) for part in message.parts if isinstance(part, counted))


def _from_turn(messages: Sequence[Message], head: int, start: int) -> Sequence[Message]:
    """Return the head, and the whole turns from `start` on, at least the newest; all messages if none must go."""
    if start <= head:
        return messages
    questions = [at for at, message in enumerate(messages) if message.role == "user"] or [head]
    turn = next((at for at in questions if at >= start), questions[-1])
    return [*messages[:head], *messages[turn:]]


def _head(messages: Sequence[Message]) -> int:
    return next((at for at, message in enumerate(messages) if message.role != "system"), len(messages))


def _as_text(message: Message) -> str:
    results = [part.content for part in message.parts if isinstance(part, ToolResult)]
    calls = [f"{call.name}({encode(call.arguments).decode()})" for call in message.tool_calls]
    return f"{message.role}: " + "\n".join(filter(None, [message.text, *calls, *results]))


def _summary_message(written: Response) -> Message:
    if not written.text.strip():  # it would take the place of what was said
        raise StreamError("the summary is empty")
    return Message.system(_SUMMARY + written.text)
