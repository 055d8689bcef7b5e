"""`rxllm chat`: a conversation in the terminal, its Markdown rendered while it streams.

Ctrl-C stops the answer, and closes its connection; a second one, or Ctrl-D, at the prompt ends the
program. What is typed is kept in a history file, conversations where `/save` says. Needs rich:
``pip install "rxllm[terminal]"``. Text from models can move nothing on the terminal but itself.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from types import ModuleType

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
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
    UsageUpdate,
    VendorEvent,
)
from ..messages import Message, messages_from_json, messages_to_json
from ..model import StreamingModel, create_streaming_model
from ..providers.catalog import split_model, vendors
from ..sinks.iterate import iter_events
from .availability import choose

readline: ModuleType | None
try:
    import readline
except ImportError:  # Windows has none: there, lines are edited as the console does it
    readline = None

HELP = """\
/model [PROVIDER:NAME]  the model that answers, or another one from now on
/system [TEXT]          instructions to the model; without text, none
/save [FILE]            write the conversation to a file; /load FILE reads it
/retry                  ask the last question again
/new                    begin a new conversation
/help, /quit"""

_FRAMES_PER_SECOND = 12
_WIDEST = 200
_FENCE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)


def main(argv: Sequence[str] | None = None) -> int:
    """Converse until the user leaves; returns the exit status. Raises `LLMError` where no model can be had."""
    parser = argparse.ArgumentParser(prog="rxllm chat", description="Converse with a language model.")
    add_arguments(parser)
    return run(parser.parse_args(argv))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("--model", metavar="PROVIDER[:NAME]", help="who answers (default: what is ready here)")
    parser.add_argument("--base-url", help="the address of the provider, where it is not its own")
    parser.add_argument("--system", help="instructions to the model")
    parser.add_argument("--history", type=Path, default=_history_file(), help="where what is typed is kept")
    parser.add_argument("--load", type=Path, metavar="FILE", help="go on with a conversation that /save wrote")


def run(arguments: argparse.Namespace) -> int:
    """Converse as the arguments say."""
    chat = Chat(_model(arguments.model, arguments.base_url), system=arguments.system)
    if arguments.load is not None:
        chat.load(str(arguments.load))
    with _history(arguments.history):
        chat.converse()
    return 0


class Chat:
    """A conversation: its model, its messages, and the commands that change them."""

    def __init__(self, model: StreamingModel, *, system: str | None = None, console: Console | None = None) -> None:
        self.messages: list[Message] = []
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
        """Read lines, and answer them, until there are no more."""
        self._say(f"{self._name()}. /help lists what else can be done.")
        while True:
            try:
                line = input("> ").strip()
            except (EOFError, KeyboardInterrupt):
                self._console.print()
                return
            if line in ("/quit", "/exit"):
                return
            if line:
                self.hear(line)

    def hear(self, line: str) -> None:
        """Do what a line says: a command, or a question."""
        word, _, rest = line.partition(" ")
        try:
            if not line.startswith("/"):
                self.ask(line)
            elif word in self._commands:
                self._commands[word](rest.strip())
            else:
                self._say(f"there is no command {word}; /help lists them")
        except LLMError as error:
            self._fail(str(error))
        except (OSError, ValueError) as error:
            self._fail(f"{word}: {error}")

    def ask(self, text: str) -> None:
        """Ask, and show the answer as it comes; whatever had come when it ended is part of the conversation."""
        self.messages.append(Message.user(text))
        answer = _Answer()
        try:
            # Ctrl-C leaves the loop, which disposes the stream.
            with contextlib.closing(iter_events(self._model.stream(self.messages))) as events, self._live(answer):
                for event in events:
                    answer.feed(event)
                    if (whole := answer.whole_blocks()) is not None:
                        self._console.print(whole)  # above what is still growing
        except KeyboardInterrupt:
            self._say("stopped")
        except LLMError as error:
            self._fail(str(error))
        self._console.print()
        message = answer.message()
        if message is not None:
            self.messages.append(message)

    def use(self, name: str) -> None:
        """Take another model."""
        if name:
            previous, self._model = self._model, _model(name, None)
            previous.close()
        self._say(self._name())

    def instruct(self, text: str) -> None:
        """Set the instructions, or take them away."""
        self.messages = [message for message in self.messages if message.role != "system"]
        if text:
            self.messages.insert(0, Message.system(text))

    def begin(self, _: str) -> None:
        """Forget all but the instructions."""
        self.messages = [message for message in self.messages if message.role == "system"]

    def retry(self, _: str) -> None:
        """Ask the last question again."""
        asked = max((at for at, message in enumerate(self.messages) if message.role == "user"), default=None)
        if asked is None:
            raise ValueError("nothing was asked yet")
        text = self.messages[asked].text
        del self.messages[asked:]
        self.ask(text)

    def save(self, name: str) -> None:
        """Write the conversation to a file."""
        path = Path(name or "conversation.json").expanduser()
        path.write_text(messages_to_json(self.messages), encoding="utf-8")
        self._say(f"saved to {path}")

    def load(self, name: str) -> None:
        """Go on with a saved conversation."""
        self.messages = list(messages_from_json(Path(name).expanduser().read_bytes()))
        self._say(f"{len(self.messages)} messages")

    def _live(self, answer: _Answer) -> contextlib.AbstractContextManager[object]:
        """What shows the part of the answer that still grows; where the output is no terminal, when it is whole."""
        return Live(console=self._console, get_renderable=answer.render, refresh_per_second=_FRAMES_PER_SECOND)

    def _name(self) -> str:
        return f"{self._model.provider}:{self._model.model}"

    def _say(self, text: str) -> None:
        self._console.print(Text(inert_text(text), style="dim"))

    def _fail(self, text: str) -> None:
        self._console.print(Text(inert_text(text), style="red"))


class _Answer:
    """An answer as far as it has come. Fed on one thread, rendered on another.

    Blocks of Markdown that are whole leave it for good, so that what is drawn anew stays short.
    """

    def __init__(self) -> None:
        self._text = ""
        self._shown = 0
        self._reasoning = ""
        self._response: Response | None = None

    def feed(self, event: object) -> None:
        """Take in an event."""
        match event:
            case TextDelta(text):
                self._text += text
            case ReasoningDelta(text):
                self._reasoning = (self._reasoning + text).rpartition("\n")[2][-_WIDEST:]
            case StreamReset():
                self._text, self._shown, self._reasoning = "", 0, ""
            case StreamEnd(response):
                self._response = response
            case StreamStart() | ToolCallStart() | ToolCallDelta() | ToolCallEnd() | UsageUpdate() | VendorEvent():
                pass
            case _:  # no token event
                pass

    def whole_blocks(self) -> RenderableType | None:
        """The blocks that have become whole since the last time."""
        end = self._text.rfind("\n\n", self._shown)
        if end < 0 or len(_FENCE.findall(self._text, self._shown, end)) % 2:
            return None
        whole, self._shown = self._text[self._shown : end], end + 2
        return Group(Markdown(inert_text(whole)), Text()) if whole.strip() else None

    def render(self) -> RenderableType:
        """What has not become whole; where there is no text at all, what the model thinks last."""
        growing = self._text[self._shown :]
        if growing or self._text or self._response is not None:
            return Markdown(inert_text(growing))
        return Text(inert_text(self._reasoning.strip() or "…"), style="dim italic")

    def message(self) -> Message | None:
        """What the conversation keeps of it."""
        if self._response is not None:
            return self._response.message
        return Message.assistant(self._text) if self._text else None


def _model(name: str | None, base_url: str | None) -> StreamingModel:
    """The model of this name: PROVIDER, PROVIDER:NAME, or with an address the NAME alone."""
    if name is None:
        provider, model = ("openai-compatible", None) if base_url else choose()
    else:
        provider, model = split_model(name)
        if provider not in {vendor.name for vendor in vendors()}:
            provider, model = ("openai-compatible", name) if base_url else choose(name)
    return create_streaming_model(provider, model=model, base_url=base_url)


def _history_file() -> Path:
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "rxllm" / "history"


@contextlib.contextmanager
def _history(path: Path) -> Generator[None, None, None]:
    """What is typed, in earlier conversations too, under the arrow keys. Only its owner can read the file."""
    if readline is None:
        yield
        return
    with contextlib.suppress(OSError):
        readline.read_history_file(path)
    try:
        yield
    finally:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            readline.set_history_length(1000)
            readline.write_history_file(path)
        except OSError as error:
            sys.stderr.write(f"rxllm: the history is not kept: {error}\n")
