"""`rxllm "prompt"`: ask one question and write the answer while it arrives.

Text from models goes to a terminal with its control sequences made visible, and to a pipe or file
as it is.
"""

from __future__ import annotations

import argparse
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from string import Template

import msgspec

from .._core.error_format import ErrorRecord
from .._json import decode, is_object
from .._media import media_of_file
from .._runtime.platform import has_input
from .._text_without_controls import inert_text
from ..errors import ConfigurationError, LLMError
from ..events import Response, StreamEnd, TextDelta, TokenEvent
from ..messages import AudioPart, DocumentPart, ImagePart, Message, Part
from ..model import StreamingModel
from ..options import JsonFormat
from ..sinks.iterate import iter_events
from .logs import AnswerLog, LogEntry
from .model_arguments import add_model_arguments, model_of, set_default_model
from .settings import PromptTemplate, read_template

_STDIN_SECONDS = 0.5
"""How long a pipe may stay silent that may or may not be meant for this command."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a question."""
    parser.add_argument(
        "prompt", nargs="*", help="the question; - stands for standard input, which is read if there is no prompt"
    )
    parser.add_argument("--version", action="version", version=f"rxllm {version('rxllm')}")
    add_model_arguments(parser)
    parser.add_argument("-c", "--continue", dest="go_on", action="store_true", help="continue the last conversation")
    parser.add_argument(
        "-a", "--attach", action="append", default=[], metavar="FILE", help="an image, document or sound; repeatable"
    )
    parser.add_argument("--schema", metavar="JSON|FILE", help="a JSON schema: the answer is JSON that fits it")
    parser.add_argument("-t", "--template", metavar="NAME|FILE", help="a stored prompt (see `rxllm templates`)")
    parser.add_argument(
        "-p", "--param", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a value of the template"
    )
    parser.add_argument("--json", action="store_true", help="write one event in each line, as JSON")
    parser.add_argument("--stats", action="store_true", help="write time, tokens/s and usage to stderr")
    parser.add_argument("--no-log", action="store_true", help="do not store the answer (see `rxllm logs`)")


def run(arguments: argparse.Namespace) -> int:
    """Ask, show the answer and log it. With `--json` an error is a line too, the last. Return the exit status."""
    try:
        _run(arguments)
    except LLMError as error:
        if arguments.json:
            _print_json({"type": "error", **msgspec.to_builtins(ErrorRecord.of(error))})
        raise
    return 0


def _run(arguments: argparse.Namespace) -> None:
    """Ask the model that the arguments, the template or the conversation that is continued name."""
    template = read_template(arguments.template) if arguments.template else PromptTemplate()
    log = AnswerLog()
    earlier = log.last() if arguments.go_on else None
    asked = read_prompt(arguments.prompt)
    prompt = template.fill(asked, {name: readable(value) for name, value in arguments.param})
    needed = asked if "input" in Template(template.prompt).get_identifiers() else prompt
    if not needed.strip() and not arguments.attach:
        raise ConfigurationError('there is no question: rxllm "your question", or pipe one in')
    _set_defaults(arguments, template, earlier)
    messages = [] if earlier is None else earlier.conversation_messages()
    if arguments.system is not None:
        messages = [Message.system(readable(arguments.system)), *(each for each in messages if each.role != "system")]
    messages.append(Message.user(prompt, *map(attachment, arguments.attach)))
    schema = template.schema if arguments.schema is None else read_schema(arguments.schema)
    with model_of(arguments) as model:
        stream = model.stream(messages, response_format=JsonFormat(schema)) if schema else model.stream(messages)
        with closing(iter_events(stream)) as events:
            response = _show(events, as_json=arguments.json)
        if not arguments.no_log:
            _store(log, f"{model.provider}:{model.model}", messages, response, earlier)
        if arguments.stats:
            print(stats(response, model), file=sys.stderr)


def _set_defaults(arguments: argparse.Namespace, template: PromptTemplate, earlier: LogEntry | None) -> None:
    """Fill in what the command line leaves open: from the template, then from the conversation that is continued."""
    for name in ("system", "temperature", "max_tokens"):
        if getattr(arguments, name) is None:
            setattr(arguments, name, getattr(template, name))
    set_default_model(arguments, template.model or (None if earlier is None else earlier.model))


def _store(
    log: AnswerLog, model: str, messages: Sequence[Message], response: Response, earlier: LogEntry | None
) -> None:
    """Log the answer. A log that cannot be written costs a warning, not the answer."""
    try:
        log.add(model, messages, response, earlier)
    except ConfigurationError as error:
        print(f"rxllm: {inert_text(str(error))}", file=sys.stderr)


def attachment(name: str) -> Part:
    """Return the file `name` as a part of a message. Raises `ConfigurationError` if it cannot be one."""
    path = path_of(name)
    try:
        media = media_of_file(path, "")
    except OSError as error:
        raise ConfigurationError(f"cannot read {name}: {error.strerror}") from error
    except ValueError as error:
        message = f"the kind of {name} is unknown: its name needs an extension such as .png or .pdf"
        raise ConfigurationError(message) from error
    if not media["data"]:
        raise ConfigurationError(f"{name} is empty")
    match media["media_type"].partition("/")[0]:
        case "image":
            return ImagePart(**media)
        case "audio":
            return AudioPart(**media)
        case _:
            return DocumentPart(**media, name=readable(path.name))


def read_schema(text: str) -> dict[str, object]:
    """Return the JSON schema that `text` is, or that the file of this name holds."""
    try:
        source = text if text.lstrip().startswith("{") else path_of(text).read_text(encoding="utf-8-sig")
        schema = decode(source.encode())
    except OSError as error:
        raise ConfigurationError(f"cannot read the schema {text}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"the schema is not JSON: {error}") from error
    if not is_object(schema):
        raise ConfigurationError("the schema must be a JSON object")
    return dict(schema)


def read_prompt(words: Sequence[str]) -> str:
    """Return the question: the words, with standard input in place of "-", or after them if it is not a terminal."""
    words = [readable(word) for word in words]
    parts = [" ".join(words)]
    if "-" in words:
        place = words.index("-")
        parts = [" ".join(words[:place]), _stdin(typed=True), " ".join(words[place + 1 :])]
    elif not words or _is_piped_in():
        parts.append(_stdin())
    return "\n\n".join(filter(None, map(str.strip, parts)))


def path_of(name: str) -> Path:
    """Return the path with your home in the place of `~`; `~someone` stays if there is no such user."""
    return Path(os.path.expanduser(name))  # that of Path raises


def readable(word: str) -> str:
    """Return a word of the command line read as UTF-8, whatever the locale is; what is not UTF-8 becomes a mark."""
    return os.fsencode(word).decode("utf-8", "replace")


def _stdin(*, typed: bool = False) -> str:
    """Return all of standard input. Of a keyboard only if `typed`: else the prompt was forgotten."""
    return "" if sys.stdin is None or (sys.stdin.isatty() and not typed) else sys.stdin.read().removeprefix("\ufeff")


def _is_piped_in() -> bool:
    """Return whether a file or a pipe with content is standard input.

    A pipe may also be inherited from the parent process and stay silent forever, so it counts
    only if something arrives soon.
    """
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):
        return False
    if not stat.S_ISFIFO(mode):
        return stat.S_ISREG(mode)
    if has_input(sys.stdin, _STDIN_SECONDS):
        return True
    print(f"rxllm: the pipe was silent for {_STDIN_SECONDS} s; to wait for it, ask with -", file=sys.stderr)
    return False


def _show(events: Iterator[TokenEvent], *, as_json: bool) -> Response:
    """Write each event as JSON, or the text as it arrives and a line end after it, also if the stream fails."""
    last = "\n"
    response = Response()
    try:
        for event in events:
            if as_json:
                _print_json(event)
            elif isinstance(event, TextDelta) and event.text:
                _write(event.text)
                last = event.text[-1]
            if isinstance(event, StreamEnd):
                response = event.response
    finally:
        if last != "\n":
            _write("\n")
    return response


def _print_json(value: object) -> None:
    _write(msgspec.json.encode(value).decode() + "\n")


def _write(text: str) -> None:
    """Write text, on a terminal without its control sequences."""
    print(inert_text(text) if sys.stdout.isatty() else text, end="", flush=True)


def stats(response: Response, model: StreamingModel) -> str:
    """Return one line: which model answered, how fast and how much."""
    usage, timing = response.usage, response.timing
    fields = [f"{model.provider}:{response.model or model.model}"]
    if timing is not None and timing.first_token is not None:
        fields.append(f"first token {timing.first_token * 1000:.0f} ms")
        seconds = timing.total - timing.first_token
        if usage.output_tokens is not None and seconds > 0:
            fields.append(f"{usage.output_tokens / seconds:.1f} tokens/s")
    if timing is not None:
        fields.append(f"{timing.total:.2f} s in all")
    counts = {"in": usage.input_tokens, "out": usage.output_tokens, "reasoning": usage.reasoning_tokens}
    known = [f"{count} {name}" for name, count in counts.items() if count is not None]
    fields.append(f"tokens {', '.join(known) or 'unknown'}")
    fields.append(f"finish {response.raw_finish_reason or response.finish_reason}")
    return inert_text(" | ".join(fields))
