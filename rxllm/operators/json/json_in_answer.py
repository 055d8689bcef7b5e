"""Where the JSON is in an answer, and how it comes: as the text, or as the arguments of a tool.

The JSON of a complete answer is the first of these that is complete: a document at its beginning (after a `<think>`
block); the last fenced block marked as JSON; the last other fenced block; the first object within the text; the first
array. What follows it is ignored. While the answer is being written, a document at its beginning and those in fenced
blocks are read as they come; if the complete answer holds a better one, that comes last.

The arguments of a tool are one document per call.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from io import StringIO
from typing import Literal, TypeVar

from ..._json import decode, encode
from ...errors import OutputParsingError
from ...events import Response, StreamEnd, StreamReset, TextDelta, TokenEvent, ToolCallDelta, ToolCallEnd, ToolCallStart
from .._operator import Operator, Step, TextReader, run_steps
from ..text.code_blocks import CodeBlockDelta, CodeBlockEnd, CodeBlocks, CodeBlockStart
from .incremental_parser import JsonTree

_SPACE = " \t\r\n\ufeff"
_BRACKETS = ("{", "[")
_BRACKET = re.compile(r"[{\[]")
_THOUGHT = re.compile(r"\s*<think>.*?</think>", re.DOTALL)

B = TypeVar("B")


def read_json(start: Callable[[], TextReader[B]], tool: str | None) -> Operator[TokenEvent | str, B]:
    """Return the operator that reads the text, or each call of `tool`, with a new reader of one JSON document."""
    return run_steps(lambda: _JsonStep(start, tool))


def json_values(text: str) -> Iterator[object]:
    """Yield the objects and arrays in a complete answer, the most likely one first."""
    for code, at in _candidates(text):
        tree, fault = _document_at(code, at)
        if not fault:
            yield tree.root()
    within = list(_values_within(_answer_and_blocks(text)[0]))
    yield from (value for value in within if isinstance(value, dict))
    yield from (value for value in within if isinstance(value, list))


def json_scalars(text: str) -> Iterator[object]:
    """Yield the text, number or literal that a complete answer is, or that its fenced blocks are."""
    text, fenced = _answer_and_blocks(text)
    for code in (text, *(block.code for block in fenced)):
        with contextlib.suppress(ValueError, RecursionError):
            value = decode(code)
            if not isinstance(value, dict | list):
                yield value


def not_json(text: str) -> OutputParsingError:
    """Return the error for an answer without a complete object or array: the fault of the most likely place."""
    faults = filter(None, (_document_at(code, at)[1] for code, at in _candidates(text)))
    fault = next(faults, "it holds no object or array")
    return OutputParsingError(f"the answer is not valid JSON: {fault}", text=text)


def _candidates(text: str) -> Iterator[tuple[str, int]]:
    """Yield where a document begins at the beginning of a complete answer or of a fenced block, most likely first."""
    text, fenced = _answer_and_blocks(text)
    marked_first = sorted(fenced, key=lambda block: not block.language.lower().startswith("json"))
    for code in (text, *(block.code for block in marked_first)):
        begin = len(code) - len(code.lstrip(_SPACE))
        if code.startswith(_BRACKETS, begin):
            yield code, begin


def _answer_and_blocks(text: str) -> tuple[str, list[CodeBlockEnd]]:
    """Return a complete answer without its `<think>` block, and its fenced blocks, the last one first."""
    thought = _THOUGHT.match(text)
    text = text[thought.end() :] if thought else text
    blocks = CodeBlocks()
    fenced = [event for event in (*blocks.feed(text), *blocks.close()) if isinstance(event, CodeBlockEnd)]
    return text, fenced[::-1]


def _values_within(text: str) -> Iterator[object]:
    """Yield the documents anywhere in `text`, in order; linear, as none is read again."""
    at = 0
    while (bracket := _BRACKET.search(text, at)) is not None:
        tree, fault = _document_at(text, bracket.start())
        at = max(tree.stopped_at, bracket.end())
        if not fault:
            yield tree.root()


def _document_at(text: str, at: int) -> tuple[JsonTree, str]:
    """Return the tree of the document that begins at `at`, and why it is not complete; "" if it is."""
    tree = JsonTree()
    try:
        tree.feed(text, at)
    except ValueError as error:
        return tree, str(error)
    return tree, "" if tree.done else "it ended before its JSON did"


def note_answer(error: OutputParsingError, response: Response) -> None:
    """Put the answer into the error, and into its message that the answer was cut off, if it was."""
    error.partial = response
    if response.finish_reason == "length":
        error.args = (f"{error}; the answer reached its limit of tokens (max_tokens)",)


class JsonDocument:
    """Finds the JSON in text as it comes, and grows its tree."""

    def __init__(self, items_at: tuple[str, ...] | None = None) -> None:
        self._items_at = items_at
        self.tree = JsonTree(items_at)
        """The current document; replaced by a new one when it turns out to be no JSON."""
        self._all = StringIO()
        self._blocks: CodeBlocks | None = None
        """Finds fenced blocks, if the answer does not begin with a document."""
        self._place: Literal["before", "in", "behind", "other"] = "before"
        """Where reading is: relative to the document, or in text or code that is none."""

    @property
    def text(self) -> str:
        """All text so far."""
        return self._all.getvalue()

    def feed(self, text: str) -> None:
        """Read on. If the answer does not begin with a document, or the document fails, its code blocks are read."""
        self._all.write(text)
        if self._blocks is None:
            self._read(text)
            if self._place != "other":
                return
            self._blocks, text = CodeBlocks(), self.text
        for event in self._blocks.feed(text):
            match event:
                case CodeBlockStart() if self._place != "behind":
                    self._place = "before"
                case CodeBlockDelta(text=code):
                    self._read(code)
                case CodeBlockEnd() if self._place == "in":
                    self._give_up()
                case _:
                    pass

    def _read(self, code: str) -> None:
        """Read what is JSON if it begins with a bracket; a fault gives up this document, and another may follow."""
        if self._place == "before" and (code := code.lstrip(_SPACE)):
            self._place = "in" if code.startswith(_BRACKETS) else "other"
        if self._place != "in":
            return
        try:
            self.tree.feed(code)
        except ValueError:
            self._give_up()
        else:
            if self.tree.done:
                self._place = "behind"

    def _give_up(self) -> None:
        self._place, self.tree = "other", JsonTree(self._items_at)


class _JsonStep(Step[TokenEvent | str, B]):
    """Reads the text as a document, or the arguments of each call of a tool."""

    def __init__(self, start: Callable[[], TextReader[B]], tool: str | None) -> None:
        self._start = start
        self._tool = tool
        self._text = start() if tool is None else None
        """Reads the text, until it has ended."""
        self._readers: dict[int, TextReader[B]] = {}
        """Read the calls of the tool that have begun, by their index."""
        self._begun: set[int] = set()  # the calls whose arguments came in deltas

    def feed(self, item: TokenEvent | str, /) -> Sequence[B]:
        """Read text or arguments. A reset starts again; the end of the answer, or of a call, closes a document."""
        if type(item) is TextDelta:
            return self._text.feed(item.text) if self._text is not None else ()
        match item:
            case str() if self._text is not None:
                return self._text.feed(item)
            case ToolCallStart(index=index, name=name) if name == self._tool:
                self._readers[index] = self._start()
            case ToolCallDelta(index, arguments) if index in self._readers:
                if index not in self._begun:
                    arguments = arguments[arguments.find("{") :] if "{" in arguments else ""
                if arguments:
                    self._begun.add(index)
                    return self._readers[index].feed(arguments)
            case ToolCallEnd(index, call) if index in self._readers:
                reader = self._readers.pop(index)
                whole = () if index in self._begun else reader.feed(encode(call.arguments).decode())
                self._begun.discard(index)
                return (*whole, *reader.close())
            case StreamReset():
                self._text = self._start() if self._tool is None else None
                self._readers.clear()
                self._begun.clear()
            case StreamEnd(response):
                try:
                    return self.close()
                except OutputParsingError as error:
                    note_answer(error, response)
                    raise
            case _:
                pass
        return ()

    def close(self) -> Sequence[B]:
        readers = [*self._readers.values()] if self._text is None else [self._text]
        self._text, self._readers = None, {}
        return [value for reader in readers for value in reader.close()]
