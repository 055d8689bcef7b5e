"""`rxllm chat`: a conversation in the terminal, its Markdown rendered while it streams.

Ctrl-C stops the answer and closes its connection. At the prompt, Ctrl-C twice or Ctrl-D ends the
program. A pasted text is one message, also if it has several lines. A history file keeps what you
type; `/save` keeps a conversation. Needs rich: ``pip install "rxllm[terminal]"``. Control sequences
in a model's text are made visible, not executed.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from itertools import takewhile
from operator import attrgetter
from pathlib import Path
from types import ModuleType

import reactivex.operators as rx
from reactivex import Subject
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markdown import Markdown
from rich.text import Text

from .._runtime.platform import private_file, user_folder
from .._text_without_controls import inert_text
from ..assistant import ChatMessage, ChatSession
from ..errors import ConfigurationError, LLMError
from ..events import StreamReset, TextDelta, TokenEvent
from ..messages import Message, ReasoningPart, messages_from_json, messages_to_json
from ..operators import MarkdownBlock, markdown_blocks
from ..sinks.iterate import iter_events
from .ask import path_of
from .logs import AnswerLog
from .model_arguments import add_model_arguments, model_of, names_provider, set_default_model, with_options

readline: ModuleType | None
try:
    import readline
except ImportError:  # Windows: the console edits lines
    readline = None

HELP = """\
/model [PROVIDER:NAME]  show the model, or change it (NAME alone: same server)
/system [TEXT]          set the instructions to the model; without text, remove them
/save [FILE]            write the conversation to a file; /load FILE reads it
/retry                  ask the last question again
/new                    start a new conversation
/help, /quit"""

_FRAMES_PER_SECOND = 12
_WIDEST = 200
"""Characters of the last line of the reasoning that are shown: a line without end would fill the screen."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    add_model_arguments(parser)
    parser.add_argument("--history", type=Path, default=user_folder("state") / "history", help="keeps what you type")
    parser.add_argument("--load", type=Path, metavar="FILE", help="continue a conversation that /save wrote")
    parser.add_argument("-c", "--continue", dest="go_on", action="store_true", help="continue the last conversation")


def run(arguments: argparse.Namespace) -> int:
    """Run a conversation with the model that `arguments` choose; return the exit status."""
    messages = []
    if arguments.go_on:
        earlier = AnswerLog().last()
        set_default_model(arguments, earlier.model)
        messages = earlier.conversation_messages()
    chat = Chat(arguments, messages)
    if arguments.system:
        chat.instruct(arguments.system)
    if arguments.load is not None:
        chat.load(str(arguments.load))
    with _history(arguments.history):
        chat.converse()
    return 0


class Chat:
    """A conversation: its model, its session, and the commands that change them. Used by one thread."""

    def __init__(self, arguments: argparse.Namespace, messages: Sequence[Message]) -> None:
        self._arguments = arguments
        self._model = model_of(arguments)
        self._session = ChatSession(self._model, messages=messages)
        self._saved: tuple[Message, ...] = ()
        self._console = Console()
        self._commands: Mapping[str, Callable[[str], object]] = {
            "/model": self.use,
            "/system": self.instruct,
            "/save": self.save,
            "/load": self.load,
            "/retry": self.retry,
            "/new": self.begin,
            "/help": lambda _: self._say(HELP),
        }

    def converse(self) -> None:
        """Read messages and answer them until the user leaves."""
        self._say(f"{self._name()}. /help lists the commands.")
        interrupted = False
        while True:
            try:
                message = input("> ").strip()
            except KeyboardInterrupt:
                self._console.print()
                if interrupted or not self._has_unsaved_answers():
                    return
                interrupted = True
                self._say("Ctrl-C again or Ctrl-D leaves and loses this conversation; /save keeps it")
                continue
            except EOFError:
                self._console.print()
                return
            interrupted = False
            if message in ("/quit", "/exit", "quit", "exit"):
                return
            if message:
                self.hear(message)

    def hear(self, message: str) -> None:
        """Run a command, or ask the model."""
        word, _, rest = message.partition(" ")
        try:
            if not message.startswith("/"):
                self._session.send(message)
                self._show()
            elif word in self._commands:
                self._commands[word](rest.strip())
            else:
                self._say(f"unknown command {word}; /help lists the commands")
        except ConfigurationError as error:
            self._fail(with_options(str(error)))
        except LLMError as error:
            self._fail(str(error))
        except (OSError, ValueError) as error:
            self._fail(f"{word}: {error}")

    def use(self, name: str) -> None:
        """Show the model, or change it to `name`: of the same server, unless it names a provider."""
        if name:
            arguments = argparse.Namespace(**{**vars(self._arguments), "model": name})
            if names_provider(name):
                arguments.provider = arguments.base_url = None
            previous, self._model, self._arguments = self._model, model_of(arguments), arguments
            self._go_on_from(self._session.history)
            previous.close()
        self._say(self._name())

    def instruct(self, text: str) -> None:
        """Set the instructions, or remove them."""
        said = [message for message in self._session.history if message.role != "system"]
        self._go_on_from([Message.system(text), *said] if text else said)

    def begin(self, _: str) -> None:
        """Remove all messages except the instructions."""
        self._go_on_from([message for message in self._session.history if message.role == "system"])

    def retry(self, _: str) -> None:
        """Ask the last question again."""
        if not self._session.regenerate():
            raise ValueError("there is no question yet")
        self._show()

    def save(self, name: str) -> None:
        """Write the conversation to a file."""
        path = path_of(name or "conversation.json")
        path.write_text(messages_to_json(self._session.history), encoding="utf-8")
        self._saved = self._session.history
        self._say(f"saved to {path}")

    def load(self, name: str) -> None:
        """Continue a saved conversation."""
        path = path_of(name)
        try:
            self._go_on_from(messages_from_json(path.read_bytes()))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"cannot load {path}: {error}") from error
        self._saved = self._session.history
        self._say(f"{len(self._saved)} messages")

    def _go_on_from(self, messages: Sequence[Message]) -> None:
        self._session.close()
        self._session = ChatSession(self._model, messages=messages)

    def _show(self) -> None:
        """Show the answer to the last question while it arrives. Ctrl-C stops it; a part of it stays."""
        answer = _Answer()
        states = self._session.states.pipe(rx.take_while(attrgetter("running"), inclusive=True))
        # Without a terminal, what still grows is written once, at the end.
        live = Live(console=self._console, get_renderable=answer.render, refresh_per_second=_FRAMES_PER_SECOND)
        try:
            with contextlib.closing(iter_events(states)) as running, live:
                for state in running:
                    answer.show(state.messages[-1])
                    if (whole := answer.whole_blocks()) is not None:
                        self._console.print(whole)  # above the part that still grows
        except KeyboardInterrupt:
            self._session.stop()
            self._say("stopped")
        if (error := self._session.state.error) is not None:
            self._fail(str(error))
        self._console.print()

    def _has_unsaved_answers(self) -> bool:
        said = self._session.history
        return any(each.role == "assistant" for each in said) and said != self._saved

    def _name(self) -> str:
        return f"{self._model.provider}:{self._model.model}"

    def _say(self, text: str) -> None:
        self._console.print(Text(inert_text(text), style="dim"))

    def _fail(self, text: str) -> None:
        self._console.print(Text(inert_text(text), style="red"))


class _Answer:
    """An answer so far. One thread feeds it, another renders it.

    Closed blocks of Markdown are printed once and not drawn again, so that each redraw is short.
    """

    def __init__(self) -> None:
        self._events: Subject[TokenEvent] = Subject()
        self._blocks: list[MarkdownBlock] = []
        self._printed = 0
        self._text = ""
        self._message = ChatMessage("", "assistant", status="streaming")
        self._events.pipe(markdown_blocks()).subscribe(self._put)

    def show(self, message: ChatMessage) -> None:
        """Show what the message is now."""
        if not message.text.startswith(self._text):
            self._text = ""
            self._events.on_next(StreamReset("the answer begins anew"))
        self._events.on_next(TextDelta(message.text[len(self._text) :]))
        self._message, self._text = message, message.text
        if message.status != "streaming":
            self._events.on_completed()

    def whole_blocks(self) -> RenderableType | None:
        """Return the blocks that have been closed since the last call."""
        closed = [*takewhile(attrgetter("closed"), self._blocks[self._printed :])]
        self._printed += len(closed)
        return Group(*map(self._rendered, closed)) if closed else None

    def render(self) -> RenderableType:
        """Return the blocks that still grow; the last line of the reasoning if there is no text yet."""
        growing = self._blocks[self._printed :]
        if growing or self._text or self._message.status != "streaming":
            return Group(*map(self._rendered, growing))
        reasoning = "".join(part.text for part in self._message.parts if isinstance(part, ReasoningPart))
        last_line = reasoning.strip().rpartition("\n")[2][-_WIDEST:]
        return Text(inert_text(last_line or "…"), style="dim italic")

    @staticmethod
    def _rendered(block: MarkdownBlock) -> RenderableType:
        gap = (Text(),) if block.closed and block.text.endswith("\n\n") else ()
        return Group(Markdown(inert_text(block.markdown)), *gap)

    def _put(self, block: MarkdownBlock) -> None:
        """Add or replace a block. A block with an earlier index voids those after it."""
        if block.index < self._printed and self._blocks[block.index].text == block.text:
            return  # only its link definitions are new: what is printed stays
        self._blocks[block.index :] = [block]
        self._printed = min(self._printed, block.index)


@contextlib.contextmanager
def _history(path: Path) -> Generator[None, None, None]:
    """Keep what you type for the arrow keys, also of earlier conversations. Only you can read the file."""
    if readline is None:
        yield
        return
    readline.parse_and_bind("set enable-bracketed-paste on")  # a paste is one message; CPython turns it off
    with contextlib.suppress(OSError):
        readline.read_history_file(path)
    try:
        yield
    finally:
        try:
            readline.set_history_length(1000)
            readline.write_history_file(private_file(path))
        except OSError as error:
            sys.stderr.write(f"rxllm: cannot write the history: {error}\n")
