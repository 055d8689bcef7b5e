"""The `rxllm` command: `rxllm "prompt"` streams an answer; `rxllm COMMAND` does something else.

Text from models goes to a terminal with its control sequences inert_text, and to a pipe or file
as it is. The exit status is 0, 1 after an error (told on stderr), 2 for wrong usage, 130 after
Ctrl-C, which closes the connection and leaves what had arrived.

A new subcommand is a `Command` and a row in `_COMMANDS`.
"""

from __future__ import annotations

import argparse
import io
import os
import select
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from importlib import import_module
from importlib.metadata import version
from types import ModuleType
from typing import NamedTuple, TextIO

from .._inert_text import inert_text
from ..errors import ConfigurationError, LLMError
from ..events import Response, StreamEnd, TextDelta, TokenEvent, event_to_json
from ..messages import Message
from ..model import StreamingModel, create_streaming_model
from ..providers.catalog import split_model, vendors
from ..providers.presets import model_presets
from ..sinks.iterate import iter_events
from .availability import availability, choose

_STDIN_SECONDS = 0.5
"""How long a pipe may stay silent that may or may not be meant for us."""


class Command(NamedTuple):
    """A subcommand: its one-line description, its arguments, and what it does; returns the exit status."""

    description: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line given, or the process's own, and return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        _never_fail_to_encode(stream)
    try:
        command = _COMMANDS.get(words[0]) if words else None
        if command is not None:
            parser = argparse.ArgumentParser(prog=f"rxllm {words.pop(0)}", description=command.description)
        else:
            command = _ASK
            parser = argparse.ArgumentParser(prog="rxllm", description=command.description, epilog=_epilog())
            parser.add_argument("--version", action="version", version=f"rxllm {version('rxllm')}")
        command.add_arguments(parser)
        return command.run(parser.parse_args(words))
    except LLMError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has left. The interpreter must not try to flush it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _add_ask_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "prompt", nargs="*", help="what to ask; - stands for standard input, which is asked where there is no prompt"
    )
    parser.add_argument("--provider", help="who to ask; by default the first that is ready (see `rxllm providers`)")
    parser.add_argument("--model", help="the model's name, or PROVIDER:NAME, or the path of a GGUF file")
    parser.add_argument("--base-url", help="the server's address, where it is not the provider's own")
    parser.add_argument("--system", help="instructions to the model")
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--max-tokens", type=int)
    parser.add_argument("--json", action="store_true", help="one event a line, as JSON")
    parser.add_argument("--stats", action="store_true", help="time to the first token, tokens/s and usage, on stderr")


def _ask(arguments: argparse.Namespace) -> int:
    messages = [Message.user(_prompt(arguments.prompt))]
    if arguments.system is not None:
        messages.insert(0, Message.system(arguments.system))
    show = _show_json if arguments.json else _show_text
    with _model(arguments) as model, closing(iter_events(model.stream(messages))) as events:
        response = show(events)
    if arguments.stats:
        print(_stats(response, model), file=sys.stderr)
    return 0


def _model(arguments: argparse.Namespace) -> StreamingModel:
    provider, model = arguments.provider, arguments.model
    if provider is None and model is not None and split_model(model)[0] in {vendor.name for vendor in vendors()}:
        provider, model = split_model(model)
    if provider is None:
        provider, model = ("openai-compatible", model) if arguments.base_url else choose(model)
    return create_streaming_model(
        provider,
        model=model,
        base_url=arguments.base_url,
        temperature=arguments.temperature,
        max_tokens=arguments.max_tokens,
    )


def _prompt(words: Sequence[str]) -> str:
    """What is asked: the arguments, "-" among them being standard input; what is piped in comes after them."""
    parts = [" ".join(words)]
    if "-" in words:
        place = words.index("-")
        parts = [" ".join(words[:place]), _stdin(), " ".join(words[place + 1 :])]
    elif not words or _is_piped_in():
        parts.append(_stdin())
    prompt = "\n\n".join(filter(None, map(str.strip, parts)))
    if not prompt:
        raise ConfigurationError('there is nothing to ask: rxllm "your question", or pipe one in')
    return prompt


def _stdin() -> str:
    """All of standard input, unless that is a keyboard: then somebody forgot the prompt."""
    return "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.read()


def _is_piped_in() -> bool:
    """Whether a file or a pipe was given to us as standard input.

    A pipe may as well have been left to us by whoever started us, with nothing ever to come: it
    counts if something comes soon.
    """
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):
        return False
    if not stat.S_ISFIFO(mode):
        return stat.S_ISREG(mode)
    if os.name == "nt" or select.select([sys.stdin], [], [], _STDIN_SECONDS)[0]:
        return True
    print(f"rxllm: nothing came through the pipe in {_STDIN_SECONDS} s; to wait for it, ask with -", file=sys.stderr)
    return False


def _show_text(events: Iterator[TokenEvent]) -> Response:
    """Write the text as it comes, and a new line after the last, however it ends."""
    safe = inert_text if sys.stdout.isatty() else str
    last = "\n"
    response = Response()
    try:
        for event in events:
            if isinstance(event, TextDelta) and (text := safe(event.text)):
                print(text, end="", flush=True)
                last = text[-1]
            elif isinstance(event, StreamEnd):
                response = event.response
    finally:
        if last != "\n":
            print(flush=True)
    return response


def _show_json(events: Iterator[TokenEvent]) -> Response:
    safe = inert_text if sys.stdout.isatty() else str
    response = Response()
    for event in events:
        print(safe(event_to_json(event)), flush=True)
        if isinstance(event, StreamEnd):
            response = event.response
    return response


def _stats(response: Response, model: StreamingModel) -> str:
    """One line: what answered, how fast, how much."""
    usage, timing = response.usage, response.timing
    said = [f"{model.provider}:{response.model or model.model}"]
    if timing is not None and timing.first_token is not None:
        said.append(f"first token {timing.first_token * 1000:.0f} ms")
        seconds = timing.total - timing.first_token
        if usage.output_tokens is not None and seconds > 0:
            said.append(f"{usage.output_tokens / seconds:.1f} tokens/s")
    if timing is not None:
        said.append(f"{timing.total:.2f} s in all")
    counts = {"in": usage.input_tokens, "out": usage.output_tokens, "reasoning": usage.reasoning_tokens}
    known = [f"{count} {name}" for name, count in counts.items() if count is not None]
    said.append(f"tokens {', '.join(known) or 'unknown'}")
    said.append(f"finish {response.raw_finish_reason or response.finish_reason}")
    return inert_text(" | ".join(said))


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    """A command that takes none."""


def _list_providers(_: argparse.Namespace) -> int:
    rows = [("PROVIDER", "READY", "DEFAULT MODEL", "NEEDS")]
    rows += [
        (vendor.name, "yes" if ready else "no", vendor.default_model or "-", needs)
        for vendor, ready, needs in availability()
    ]
    return _print_table(rows)


def _add_provider(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("provider", nargs="?", help="whose models; by default all that something is known of")


def _list_models(arguments: argparse.Namespace) -> int:
    rows = [("MODEL", "CONTEXT", "MAX OUTPUT", "ABILITIES", "AS OF", "RETIRES")]
    rows += [
        (
            f"{preset.provider}:{preset.model}",
            f"{preset.context_window:,}",
            "-" if preset.max_output is None else f"{preset.max_output:,}",
            " ".join(sorted(preset.abilities)) or "-",
            preset.date,
            preset.retires or "-",
        )
        for preset in model_presets(arguments.provider)
    ]
    return _print_table(rows)


def _print_table(rows: Sequence[tuple[str, ...]]) -> int:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(inert_text("  ".join(cells).rstrip()))
    return 0


def _epilog() -> str:
    rows = (f"rxllm {name}: {command.description}" for name, command in _COMMANDS.items())
    return "Commands: " + "; ".join(rows)


def _of_extra(description: str, module: str, extra: str) -> Command:
    """A command that another module is, loaded when it is asked for: its packages are an extra."""

    def load() -> ModuleType:
        try:
            return import_module(f"rxllm.{module}")
        except ImportError as error:
            raise ConfigurationError(
                f'this command needs more packages ({error}): pip install "rxllm[{extra}]"'
            ) from error

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        load().add_arguments(parser)

    def run(arguments: argparse.Namespace) -> int:
        return int(load().run(arguments))

    return Command(description, add_arguments, run)


def _fail(message: str) -> int:
    print(f"rxllm: {inert_text(message)}", file=sys.stderr)
    return 1


def _never_fail_to_encode(stream: TextIO | None) -> None:
    """Let the stream show a mark for what its encoding lacks, rather than fail in the middle of an answer."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")


_ASK = Command("Ask a language model, and see its answer as it comes.", _add_ask_arguments, _ask)
_COMMANDS: Mapping[str, Command] = {
    "providers": Command("list the providers, and what each needs", _no_arguments, _list_providers),
    "models": Command("list well-known models: context size, longest answer, abilities", _add_provider, _list_models),
    "chat": _of_extra("chat with a model in the terminal", "cli.chat", "terminal"),
    "serve": _of_extra("serve a chat page and the APIs behind it", "cli.serve", "web"),
}

if __name__ == "__main__":
    sys.exit(main())
