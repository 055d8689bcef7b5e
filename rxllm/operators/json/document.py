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
from ...events import StreamEnd, StreamReset, TextDelta, TokenEvent, ToolCallDelta, ToolCallEnd, ToolCallStart
from .._operator import Operator, Step, TextReader, run_steps
from ..text.code_blocks import CodeBlockDelta, CodeBlockEnd, CodeBlockEvent, CodeBlocks, CodeBlockStart
from .tree import JsonTree

_SPACE = " \t\r\n\ufeff"
_BRACKETS = ("{", "[")
_BRACKET = re.compile(r"[{\[]")
_THOUGHT = re.compile(r"\s*<think>.*?</think>", re.DOTALL)

B = TypeVar("B")


def read_json(start: Callable[[], TextReader[B]], tool: str | None) -> Operator[TokenEvent | str, B]:
    """Return the operator that reads the text, or each call of `tool`, with a new reader of one JSON document."""
    return run_steps(lambda: _TextStep(start) if tool is None else _ToolStep(start, tool))


def json_values(text: str) -> Iterator[object]:
    """Yield the objects and arrays in a complete answer, the most likely one first."""
    text, fenced = _answer_and_blocks(text)
    begin = len(text) - len(text.lstrip(_SPACE))
    marked_first = sorted(fenced, key=lambda block: not block.language.lower().startswith("json"))
    for code, at in ((text, begin), *((block.code, 0) for block in marked_first)):
        if code[at:].lstrip(_SPACE)[:1] in _BRACKETS and (tree := _complete(code, at)).done:
            yield tree.root()
    within = list(_values_within(text))
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
        tree = _complete(text, bracket.start())
        at = max(tree.stopped_at, bracket.end())
        if tree.done:
            yield tree.root()


def _complete(text: str, at: int) -> JsonTree:
    """Return the tree of the document that begins at `at`, as far as it is JSON."""
    tree = JsonTree()
    with contextlib.suppress(ValueError):
        tree.feed(text, at)
    return tree


class JsonDocument:
    """Finds the JSON in text as it comes, and grows its tree."""

    def __init__(self, items_at: tuple[str, ...] | None = None) -> None:
        self._items_at = items_at
        self.tree = JsonTree(items_at)
        """The current document; replaced by a new one when it turns out to be no JSON."""
        self._all = StringIO()
        self._blocks: CodeBlocks | None = None
        """Finds fenced blocks, if the answer does not begin with a document."""
        self._place: Literal["before", "in", "behind", "other", "failed"] = "before"
        """Where reading is: relative to the document, in text or code that is none, or behind the fault of one."""
        self._error = ""

    @property
    def text(self) -> str:
        """All text so far."""
        return self._all.getvalue()

    def feed(self, text: str) -> None:
        """Read on. If the answer does not begin with a document, or the document fails, its code blocks are read."""
        self._all.write(text)
        if self._blocks is not None:
            self._read_blocks(self._blocks.feed(text))
            return
        if self._place == "before":
            text = text.lstrip(_SPACE)
        self._read(text)
        next_line = ""
        if self._place == "failed":
            _, next_line, text = text[self.tree.stopped_at :].partition("\n")
            self.tree.stopped_at = 0
        if self._place == "other" or next_line:
            self._place = "other"
            self._blocks = CodeBlocks()
            self._read_blocks(self._blocks.feed(text))

    def not_json(self) -> OutputParsingError:
        """Return the error for an answer that has ended without a complete object or array."""
        if self._blocks is not None:
            self._read_blocks(self._blocks.close())
        open_now = self._place == "in"
        fault = self._error or ("it ended before its JSON did" if open_now else "it holds no object or array")
        return OutputParsingError(f"the answer is not valid JSON: {fault}", text=self.text)

    def _read_blocks(self, events: Sequence[CodeBlockEvent]) -> None:
        """Read the code blocks up to the first one that is JSON; later ones are ignored."""
        for event in events:
            match event:
                case CodeBlockStart() if self._place != "behind":
                    self._place = "before"
                case CodeBlockDelta(text=code):
                    self._read(code)
                case CodeBlockEnd() if self._place == "in":
                    self._give_up("its code block ended before its JSON did")
                case _:
                    pass

    def _read(self, code: str) -> None:
        """Read what is JSON if it begins with a bracket; a fault gives up this document, and another may follow."""
        if self._place == "before" and (code := code.lstrip(_SPACE)):
            self._place = "in" if code[0] in _BRACKETS else "other"
        if self._place != "in":
            return
        try:
            self.tree.feed(code)
        except ValueError as error:
            self._give_up(str(error))
        else:
            if self.tree.done:
                self._place = "behind"

    def _give_up(self, fault: str) -> None:
        self._error = self._error or fault
        self._place = "failed"
        failed, self.tree = self.tree, JsonTree(self._items_at)
        self.tree.stopped_at = failed.stopped_at


class _TextStep(Step[TokenEvent | str, B]):
    """Reads the text as the document."""

    def __init__(self, start: Callable[[], TextReader[B]]) -> None:
        self._start = start
        self._reader: TextReader[B] | None = start()

    def feed(self, item: TokenEvent | str, /) -> Sequence[B]:
        """Read the text of an event, or a string. A reset starts again; the end of the answer closes the document."""
        if type(item) is TextDelta:
            return self._reader.feed(item.text) if self._reader is not None else ()
        if isinstance(item, str):
            return self._reader.feed(item) if self._reader is not None else ()
        if type(item) is StreamReset:
            self._reader = self._start()
        elif type(item) is StreamEnd:
            try:
                return self.close()
            except OutputParsingError as error:
                error.partial = item.response
                raise
        return ()

    def close(self) -> Sequence[B]:
        reader, self._reader = self._reader, None
        return () if reader is None else reader.close()


class _ToolStep(Step[TokenEvent | str, B]):
    """Reads the arguments of each call of the tool as a document."""

    def __init__(self, start: Callable[[], TextReader[B]], tool: str) -> None:
        self._start = start
        self._tool = tool
        self._readers: dict[int, TextReader[B]] = {}
        self._begun: set[int] = set()  # the calls whose arguments came in deltas

    def feed(self, item: TokenEvent | str, /) -> Sequence[B]:
        """Read the arguments as they come in deltas; those of a call that has none, at its end."""
        match item:
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
                self._readers.clear()
                self._begun.clear()
            case _:
                pass
        return ()

    def close(self) -> Sequence[B]:
        return [value for reader in self._readers.values() for value in reader.close()]
