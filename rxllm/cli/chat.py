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
from pathlib import Path
from types import ModuleType

from reactivex import Subject
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markdown import Markdown
from rich.text import Text

from .._inert_text import inert_text
from ..errors import LLMError
from ..events import (
    ReasoningDelta,
    Response,
    StreamEnd,
    StreamReset,
    StreamStart,
    TextDelta,
    TokenEvent,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    UsageUpdate,
    VendorEvent,
)
from ..messages import Message, messages_from_json, messages_to_json
from ..model import StreamingModel
from ..operators import MarkdownBlock, markdown_blocks
from ..sinks.iterate import iter_events
from .logs import AnswerLog
from .model_arguments import add_model_arguments, model_named, model_of
from .settings import private_file, state_folder

readline: ModuleType | None
try:
    import readline
except ImportError:  # Windows: the console edits lines
    readline = None

HELP = """\
/model [PROVIDER:NAME]  show the model, or change it
/system [TEXT]          set the instructions to the model; without text, remove them
/save [FILE]            write the conversation to a file; /load FILE reads it
/retry                  ask the last question again
/new                    start a new conversation
/help, /quit"""

_FRAMES_PER_SECOND = 12
_WIDEST = 200


def main(argv: Sequence[str] | None = None) -> int:
    """Run a conversation until the user leaves; return the exit status.

    Args:
        argv: the words after the command; default: those of the process.

    Raises:
        LLMError: there is no model.
    """
    parser = argparse.ArgumentParser(prog="rxllm chat", description="Converse with a language model.")
    add_arguments(parser)
    return run(parser.parse_args(argv))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    add_model_arguments(parser)
    parser.add_argument("--history", type=Path, default=state_folder() / "history", help="keeps what you type")
    parser.add_argument("--load", type=Path, metavar="FILE", help="continue a conversation that /save wrote")
    parser.add_argument("-c", "--continue", dest="go_on", action="store_true", help="continue the last conversation")


def run(arguments: argparse.Namespace) -> int:
    """Run a conversation with the model that `arguments` choose; return the exit status."""
    latest = AnswerLog().latest() if arguments.go_on else []
    if latest and arguments.model is None and arguments.provider is None and arguments.base_url is None:
        arguments.model = latest[0].model
    chat = Chat(model_of(arguments), system=arguments.system)
    if latest:
        chat.messages = latest[0].conversation_messages()
    if arguments.load is not None:
        chat.load(str(arguments.load))
    with _history(arguments.history):
        chat.converse()
    return 0


class Chat:
    """A conversation: its model, its messages, and the commands that change them. Used by one thread."""

    def __init__(self, model: StreamingModel, *, system: str | None = None, console: Console | None = None) -> None:
        self.messages: list[Message] = []
        self._saved: tuple[Message, ...] = ()
        self._model = model
        self._console = console or Console()
        self._commands: Mapping[str, Callable[[str], object]] = {
            "/model": self.use,
            "/system": self.instruct,
            "/save": self.save,
            "/load": self.load,
            "/retry": self.retry,
            "/new": self.begin,
            "/help": lambda _: self._say(HELP),
        }
        if system:
            self.instruct(system)

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
            if message in ("/quit", "/exit"):
                return
            if message:
                self.hear(message)

    def hear(self, message: str) -> None:
        """Run a command, or ask the model."""
        word, _, rest = message.partition(" ")
        try:
            if not message.startswith("/"):
                self.ask(message)
            elif word in self._commands:
                self._commands[word](rest.strip())
            else:
                self._say(f"unknown command {word}; /help lists the commands")
        except LLMError as error:
            self._fail(str(error))
        except (OSError, ValueError) as error:
            self._fail(f"{word}: {error}")

    def ask(self, text: str) -> None:
        """Ask the model and show its answer while it arrives. A part of an answer stays in the conversation."""
        self.messages.append(Message.user(text))
        answer = _Answer()
        try:
            # Ctrl-C leaves the loop, which disposes the stream.
            with contextlib.closing(iter_events(self._model.stream(self.messages))) as events, self._live(answer):
                for event in events:
                    answer.feed(event)
                    if (whole := answer.whole_blocks()) is not None:
                        self._console.print(whole)  # above the part that still grows
        except KeyboardInterrupt:
            self._say("stopped")
        except LLMError as error:
            self._fail(str(error))
        self._console.print()
        message = answer.message()
        if message is not None:
            self.messages.append(message)

    def use(self, name: str) -> None:
        """Show the model, or change it to `name`."""
        if name:
            previous, self._model = self._model, model_named(name)
            previous.close()
        self._say(self._name())

    def instruct(self, text: str) -> None:
        """Set the instructions, or remove them."""
        self.messages = [message for message in self.messages if message.role != "system"]
        if text:
            self.messages.insert(0, Message.system(text))

    def begin(self, _: str) -> None:
        """Remove all messages except the instructions."""
        self.messages = [message for message in self.messages if message.role == "system"]

    def retry(self, _: str) -> None:
        """Ask the last question again."""
        last = max((at for at, message in enumerate(self.messages) if message.role == "user"), default=None)
        if last is None:
            raise ValueError("there is no question yet")
        text = self.messages[last].text
        del self.messages[last:]
        self.ask(text)

    def save(self, name: str) -> None:
        """Write the conversation to a file."""
        path = Path(name or "conversation.json").expanduser()
        path.write_text(messages_to_json(self.messages), encoding="utf-8")
        self._saved = tuple(self.messages)
        self._say(f"saved to {path}")

    def load(self, name: str) -> None:
        """Continue a saved conversation."""
        self.messages = list(messages_from_json(Path(name).expanduser().read_bytes()))
        self._saved = tuple(self.messages)
        self._say(f"{len(self.messages)} messages")

    def _live(self, answer: _Answer) -> contextlib.AbstractContextManager[object]:
        """Return the display of the part that still grows. Without a terminal it is written once, at the end."""
        return Live(console=self._console, get_renderable=answer.render, refresh_per_second=_FRAMES_PER_SECOND)

    def _has_unsaved_answers(self) -> bool:
        return any(each.role == "assistant" for each in self.messages) and tuple(self.messages) != self._saved

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
        self._reasoning = ""
        self._response: Response | None = None
        self._events.pipe(markdown_blocks()).subscribe(self._put)

    def feed(self, event: TokenEvent) -> None:
        """Add an event."""
        match event:
            case TextDelta(text):
                self._text += text
            case ReasoningDelta(text):
                self._reasoning = (self._reasoning + text).rpartition("\n")[2][-_WIDEST:]
            case StreamReset():
                self._text, self._reasoning = "", ""
            case StreamEnd(response):
                self._response = response
            case StreamStart() | ToolCallStart() | ToolCallDelta() | ToolCallEnd() | UsageUpdate() | VendorEvent():
                pass
        self._events.on_next(event)

    def whole_blocks(self) -> RenderableType | None:
        """Return the blocks that have been closed since the last call."""
        blocks = self._blocks
        start = end = self._printed
        while end < len(blocks) and blocks[end].closed:
            end += 1
        self._printed = end
        return Group(*(self._rendered(block) for block in blocks[start:end])) if end > start else None

    def render(self) -> RenderableType:
        """Return the blocks that still grow; the last line of the reasoning if there is no text yet."""
        growing = self._blocks[self._printed :]
        if growing or self._text or self._response is not None:
            return Group(*map(self._rendered, growing))
        return Text(inert_text(self._reasoning.strip() or "…"), style="dim italic")

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

    def message(self) -> Message | None:
        """Return what the conversation keeps of the answer; None if nothing has come."""
        if self._response is not None:
            return self._response.message
        return Message.assistant(self._text) if self._text else None


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
