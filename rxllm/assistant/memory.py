"""Memory: conversations by name, kept in a store, and what of them a model is sent.

A turn is added whole, when it is over, so that no call is ever parted from its result, and turns
on one conversation at a time do not mix. Stores and memories may be shared by assistants and threads.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import reactivex as rx
from reactivex import Observable
from reactivex import operators as rx_ops

from .._core.token_usage import estimated_tokens
from .._json import encode
from ..errors import ConfigurationError
from ..events import Response, TokenEvent
from ..messages import Message, ReasoningPart, TextPart, ToolCall, ToolResult
from ..model import StreamingModel
from ..operators.text.plain import response
from ..providers.presets import model_preset

log = logging.getLogger("rxllm")

Window: TypeAlias = Callable[[Sequence[Message]], Sequence[Message]]
"""Of a conversation, the newest message last, the messages to send.

`last_messages`, `last_tokens`, `within_context`, or your own.
"""

_SUMMARY = "Summary of the conversation so far: "
_ASK_FOR_SUMMARY = (
    "Summarise the conversation above in a few sentences, for yourself to go on from: "
    "facts, names, decisions, open questions. Answer with the summary alone."
)


class MemoryStore(Protocol):
    """Where conversations are kept. Called from many threads at once."""

    def load(self, conversation: str, /) -> Sequence[Message]:
        """All its messages, the oldest first; none for a conversation that is not there."""
        ...

    def append(self, conversation: str, messages: Sequence[Message], /) -> None:
        """Add the messages of a turn: all of them, next to each other, or none."""
        ...

    def replace(self, conversation: str, old: Sequence[Message], new: Sequence[Message], /) -> bool:
        """Put `new` in the place of `old`, with which the conversation begins; False where it begins otherwise."""
        ...


class InMemoryStore:
    """Conversations in this process, for as long as it lives."""

    def __init__(self) -> None:
        self._conversations: dict[str, tuple[Message, ...]] = {}
        self._lock = threading.Lock()

    def load(self, conversation: str, /) -> tuple[Message, ...]:
        """All messages of a conversation."""
        return self._conversations.get(conversation, ())

    def append(self, conversation: str, messages: Sequence[Message], /) -> None:
        """Add messages at the end."""
        with self._lock:
            self._conversations[conversation] = (*self.load(conversation), *messages)

    def replace(self, conversation: str, old: Sequence[Message], new: Sequence[Message], /) -> bool:
        """Replace the beginning, if it is `old`."""
        with self._lock:
            messages = self.load(conversation)
            if messages[: len(old)] != tuple(old):
                return False
            self._conversations[conversation] = (*new, *messages[len(old) :])
            if not self._conversations[conversation]:
                del self._conversations[conversation]
            return True


class Summary:
    """Keeps a conversation short: when it has more than `after` messages, all but the last `keep` are summarised.

    `model` writes the summary, as part of the turn; it takes their place in the store. Where that
    fails the turn goes on with all messages, and the failure is logged.
    """

    def __init__(
        self, model: StreamingModel, *, after: int = 40, keep: int = 10, instructions: str = _ASK_FOR_SUMMARY
    ) -> None:
        self._model = model
        self._after = after
        self._keep = keep
        self._instructions = instructions

    def due(self, messages: Sequence[Message]) -> int:
        """How many messages from the start are to be summarised now; 0 for none."""
        if len(messages) <= self._after:
            return 0
        return len(messages) - len(_from_turn(messages, 0, len(messages) - self._keep))

    def stream(self, messages: Sequence[Message]) -> Observable[Message]:
        """The message that stands for `messages`."""
        said = "\n\n".join(map(_told, messages))
        events: Observable[TokenEvent] = self._model.stream(f"{said}\n\n{self._instructions}")
        return events.pipe(response(), rx_ops.map(_summary_message))


class Memory:
    """What an assistant remembers: a store, the window of it that is sent, and maybe a summary of the rest.

    >>> memory = Memory(window=last_messages(20))
    >>> memory.add("ada", [Message.user("Hello"), Message.assistant("Hello, Ada")])
    >>> [message.text for message in memory.messages("ada")]
    ['Hello', 'Hello, Ada']
    """

    def __init__(
        self, store: MemoryStore | None = None, *, window: Window | None = None, summary: Summary | None = None
    ) -> None:
        self.store: MemoryStore = InMemoryStore() if store is None else store
        self._window = window
        self._summary = summary

    def messages(self, conversation: str = "") -> tuple[Message, ...]:
        """All that is kept of a conversation."""
        return tuple(self.store.load(conversation))

    def add(self, conversation: str, messages: Sequence[Message]) -> None:
        """Add messages to a conversation."""
        self.store.append(conversation, messages)

    def clear(self, conversation: str = "") -> None:
        """Forget a conversation."""
        while not self.store.replace(conversation, self.messages(conversation), ()):
            """Another thread has changed it."""

    def recall(self, conversation: str, question: Message) -> Observable[tuple[Message, ...]]:
        """What to send of a conversation, with `question` at its end; emitted once.

        Raises what the store raises. Where a summary is due it is written now, and kept.
        """
        messages = self.messages(conversation)
        summary, due = self._summary, self._summary.due(messages) if self._summary is not None else 0
        if summary is None or not due:
            return rx.just(self._seen([*messages, question]))
        old, recent = messages[:due], messages[due:]

        def keep(written: Message) -> tuple[Message, ...]:
            self.store.replace(conversation, old, [written])
            return self._seen([written, *recent, question])

        def go_on(error: Exception, _: Observable[tuple[Message, ...]]) -> Observable[tuple[Message, ...]]:
            log.warning("the conversation could not be summarised: %s", error)
            return rx.just(self._seen([*messages, question]))

        return summary.stream(old).pipe(rx_ops.map(keep), rx_ops.catch(go_on))

    def _seen(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        return tuple(messages if self._window is None else self._window(messages))


def last_messages(count: int) -> Window:
    """The last `count` messages at most, from the start of a turn; the newest turn is never cut.

    Instructions and summaries at the beginning stay, and are not counted.
    """

    def window(messages: Sequence[Message]) -> Sequence[Message]:
        head = _head(messages)
        return _from_turn(messages, head, max(head, len(messages) - count))

    return window


def last_tokens(budget: int, *, count: Callable[[Message], int] | None = None) -> Window:
    """As many of the last turns as fit in `budget` tokens, with the question; the newest turn is never cut.

    `count` tells a message's tokens; by default it is estimated from its text. The assistant's own
    instructions and the schemas of its tools are sent besides, and not counted.
    """
    counted = count or message_tokens

    def window(messages: Sequence[Message]) -> Sequence[Message]:
        head = _head(messages)
        left = budget - sum(map(counted, messages[:head]))
        start = len(messages)
        while start > head and left >= (size := counted(messages[start - 1])):
            left -= size
            start -= 1
        return _from_turn(messages, head, start)

    return window


def within_context(
    model: StreamingModel, *, answer: int | None = None, count: Callable[[Message], int] | None = None
) -> Window:
    """`last_tokens`, with the budget that is known of `model`: its context window, less room for the answer.

    `answer` tokens are kept for that, by default as many as the model can write, half of its window
    at most. Tokens are estimated, so leave some air: tools and the assistant's own instructions need
    a place too. Raises `ConfigurationError` where nothing is known of the model (`rxllm.model_preset`).

    >>> from rxllm import create_streaming_model
    >>> memory = Memory(window=within_context(create_streaming_model("openai:gpt-4o-mini", api_key="k")))
    """
    preset = model_preset(model.provider, model.model)
    if preset is None:
        raise ConfigurationError(
            f"nothing is known of the context window of {model.provider}:{model.model}: give last_tokens(budget)"
        )
    return last_tokens(preset.max_input if answer is None else preset.context_window - answer, count=count)


def message_tokens(message: Message) -> int:
    """About how many tokens a message is, by its JSON; images and sound are not in it."""
    counted = (TextPart, ReasoningPart, ToolCall, ToolResult)
    return 4 + sum(estimated_tokens(encode(part).decode()) for part in message.parts if isinstance(part, counted))


def _from_turn(messages: Sequence[Message], head: int, start: int) -> Sequence[Message]:
    """The head, and the whole turns from `start` on; at least the newest."""
    questions = [at for at, message in enumerate(messages) if message.role == "user"] or [head]
    turn = next((at for at in questions if at >= start), questions[-1])
    return [*messages[:head], *messages[turn:]]


def _head(messages: Sequence[Message]) -> int:
    return next((at for at, message in enumerate(messages) if message.role != "system"), len(messages))


def _told(message: Message) -> str:
    results = [part.content for part in message.parts if isinstance(part, ToolResult)]
    calls = [f"{call.name}({encode(call.arguments).decode()})" for call in message.tool_calls]
    return f"{message.role}: " + "\n".join(filter(None, [message.text, *calls, *results]))


def _summary_message(written: Response) -> Message:
    return Message.system(_SUMMARY + written.text)
