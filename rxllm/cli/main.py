"""The `rxllm` command: `rxllm "prompt"` streams an answer; `rxllm COMMAND` runs a subcommand.

The exit status is 0; 1 after an error, which is written to stderr; 2 for wrong usage; 130 after
Ctrl-C, which closes the connection and keeps what had arrived; 141 if the reader of a pipe has left.

A new subcommand is a `Command` and a row in `_COMMANDS`.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from textwrap import fill
from typing import Any, NamedTuple

from .._runtime.platform import is_closed_pipe, make_text_safe
from .._text_without_controls import inert_text
from ..errors import ConfigurationError, LLMError, MissingPackageError
from ..providers.model_presets import model_presets
from ..providers.vendors import vendors
from . import ask
from .availability import is_ready, needs
from .logs import AnswerLog
from .model_arguments import with_options
from .settings import Keys, read_template, template_folder


class Command(NamedTuple):
    """A subcommand: its one-line description, its arguments, and a function that returns the exit status."""

    description: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return the exit status.

    Args:
        arguments: the words after the command; default: those of the process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["help"]:
        words = ["--help"]
    make_text_safe((sys.stdin, sys.stdout, sys.stderr))
    if sys.stdout is None:  # the shell's `>&-`
        return _fail("standard output is closed")
    try:
        Keys().to_environment()
        name = words.pop(0) if words and words[0] in _COMMANDS else ""
        if not name and 0 < len(words) <= 2:  # a line of more words is a question
            for meant in get_close_matches(words[0], _COMMANDS, n=1, cutoff=0.8):
                return _fail(
                    f"there is no command {words[0]!r}. Did you mean `rxllm {meant}`? To ask it: rxllm -- ...", 2
                )
        command = _COMMANDS[name] if name else _ASK
        parser = argparse.ArgumentParser(
            prog=f"rxllm {name}".strip(),
            description=command.description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(parser)
        status = command.run(parser.parse_args(words))
        sys.stdout.flush()
        return status
    except ConfigurationError as error:
        return _fail(with_options(str(error)))
    except LLMError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return 130
    except OSError as error:  # a full disk, for example
        _discard_output()
        if is_closed_pipe(error):
            return 141
        return _fail(f"{error.filename or 'cannot write'}: {error.strerror}")


def _discard_output() -> None:
    """Send what is still buffered to the null device: the interpreter flushes it once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _no_arguments(_: argparse.ArgumentParser) -> None:
    """Add nothing."""


def _list_providers(_: argparse.Namespace) -> int:
    rows = [("PROVIDER", "READY", "DEFAULT MODEL", "NEEDS")]
    rows += [
        (each.name, "yes" if is_ready(each) else "no", each.default_model or "-", ", ".join(needs(each)))
        for each in vendors()
    ]
    return _print_table(rows)


def _add_provider(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("provider", nargs="?", help="list its models only")


def _list_models(arguments: argparse.Namespace) -> int:
    """Print a table of the models whose facts are known."""
    rows = [("MODEL", "CONTEXT", "MAX OUTPUT", "RETIRES", "ABILITIES")]
    rows += [
        (
            f"{preset.provider}:{preset.model}",
            f"{preset.context_window:,}",
            "-" if preset.max_output is None else f"{preset.max_output:,}",
            preset.retires or "-",
            " ".join(sorted(preset.abilities)) or "-",
        )
        for preset in model_presets(arguments.provider)
    ]
    return _print_table(rows)


def _print_table(rows: Sequence[tuple[str, ...]]) -> int:
    """Print rows as columns. On a terminal that is too narrow, the last column has a line of its own."""
    *widths, last = [max(map(len, column)) for column in zip(*rows, strict=True)]
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 1000
    is_narrow = sum(widths) + 2 * len(widths) + last > columns
    widths[0] = min(widths[0], columns - sum(widths[1:]) - 2 * len(widths[1:]))  # a longer name shifts its row only
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True))
        line = inert_text("  ".join(cells))
        last_cell = fill(inert_text(row[-1]), columns, initial_indent="    ", subsequent_indent="    ")
        print(f"{line.rstrip()}\n{last_cell}" if is_narrow else f"{line}  {last_cell.strip()}")
    return 0


def _add_keys_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("set", "remove", "list", "path"))
    parser.add_argument("provider", nargs="?", help="whose key: openai, anthropic, ...")
    parser.add_argument("--value", help="the key (default: you type it, or pipe it in)")
    parser.set_defaults(show_help=parser.print_help)


def _manage_keys(arguments: argparse.Namespace) -> int:
    """Store, remove or list keys. A key is never printed."""
    keys = Keys()
    match arguments.action:
        case None:
            arguments.show_help()
        case "list":
            print("\n".join(sorted(keys.read())) or "no key is stored")
        case "path":
            print(keys.path)
        case action:
            if arguments.provider is None:
                raise ConfigurationError(f"name a provider: rxllm keys {action} openai")
            if action == "remove":
                keys.remove(arguments.provider)
            else:
                keys.set(arguments.provider, arguments.value or _typed_key(arguments.provider))
                print(f"stored in {keys.path}")
    return 0


def _typed_key(provider: str) -> str:
    if sys.stdin is not None and sys.stdin.isatty():
        with contextlib.suppress(EOFError):  # Ctrl-D
            return getpass.getpass(f"key of {provider}: ").strip()
        return ""
    return ask.read_prompt(())


def _add_logs_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", "--count", type=int, default=3, help="how many answers, default 3")
    parser.add_argument("--path", action="store_true", help="print the path of the SQLite file instead")


def _show_logs(arguments: argparse.Namespace) -> int:
    """Print the latest answers, the oldest first."""
    if arguments.count < 1:
        raise ConfigurationError("-n takes a number of answers, 1 or more")
    log = AnswerLog()
    if arguments.path:
        print(log.path)
        return 0
    latest = log.latest(arguments.count)
    if not latest:
        print("no answer is stored")
    for entry in reversed(latest):
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.time))
        print(inert_text(f"# {when}  {entry.model}  conversation {entry.conversation}"))
        print(inert_text(f"> {entry.prompt}\n\n{entry.answer}\n"))
    return 0


def _list_templates(_: argparse.Namespace) -> int:
    for path in sorted(template_folder().glob("*.toml")):
        try:
            shown = read_template(str(path)).prompt.partition("\n")[0]
        except ConfigurationError as error:
            shown = str(error)
        print(inert_text(f"{path.stem}: {shown}"))
    print(f"Templates are TOML files in {template_folder()}")
    return 0


def _of_extra(description: str, module: str, extra: str) -> Command:
    """Return a command of another module, which is loaded when the command is used: its packages are an extra."""

    def call(function: str, argument: object) -> Any:
        try:
            loaded = import_module(f"rxllm.{module}")
        except MissingPackageError:
            raise
        except ImportError as error:
            raise ConfigurationError(
                f'this command needs more packages ({error}): pip install "rxllm[{extra}]"'
            ) from error
        return getattr(loaded, function)(argument)

    return Command(description, partial(call, "add_arguments"), partial(call, "run"))


def _fail(message: str, status: int = 1) -> int:
    with contextlib.suppress(OSError):
        print(f"rxllm: {inert_text(message)}", file=sys.stderr)
    return status


_COMMANDS: Mapping[str, Command] = {
    "providers": Command("list the providers, and what each needs", _no_arguments, _list_providers),
    "models": Command("list well-known models, with sizes and abilities", _add_provider, _list_models),
    "keys": Command("store the keys of providers", _add_keys_arguments, _manage_keys),
    "logs": Command("show the latest answers", _add_logs_arguments, _show_logs),
    "templates": Command("list stored prompts", _no_arguments, _list_templates),
    "chat": _of_extra("chat with a model in the terminal", "cli.chat", "terminal"),
    "serve": _of_extra("serve a chat page and the APIs behind it", "cli.serve", "web"),
}
_ROWS = "\n".join(f"  rxllm {name:9}  {command.description}" for name, command in _COMMANDS.items())
_ASK = Command(
    f"Ask a language model, and see its answer while it arrives.\n\ncommands:\n{_ROWS}", ask.add_arguments, ask.run
)

if __name__ == "__main__":
    sys.exit(main())
