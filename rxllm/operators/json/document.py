"""Where the JSON is in what a model says, and how JSON comes: as the text, or as a tool's arguments.

The JSON is the whole text, or, where other text stands first, the first fenced code block that
begins with a brace or bracket. A tool's arguments are a document per call of that tool.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import StringIO
from typing import Literal, Protocol, TypeVar

from ..._json import encode
from ...errors import OutputParsingError
from ...events import StreamEnd, StreamReset, TextDelta, TokenEvent, ToolCallDelta, ToolCallEnd, ToolCallStart
from .._operator import Operator, PlainStep, run_steps
from ..text.code_blocks import CodeBlockDelta, CodeBlockEnd, CodeBlockEvent, CodeBlocks, CodeBlockStart
from .tree import JsonTree

_SPACE = " \t\r\n\ufeff"
_BRACKETS = ("{", "[")

B = TypeVar("B")
Out = TypeVar("Out", covariant=True)


class Reader(Protocol[Out]):
    """Makes values of one JSON document as it comes. Both methods raise `OutputParsingError`."""

    def feed(self, text: str, /) -> Sequence[Out]:
        """The values that follow from `text`."""
        ...

    def close(self) -> Sequence[Out]:
        """The values that follow from the document's end."""
        ...


def read_json(start: Callable[[], Reader[B]], tool: str | None) -> Operator[TokenEvent | str, B]:
    """The operator that reads the text, or each call of `tool`, with a fresh reader."""

    def step() -> _TextStep[B] | _ToolStep[B]:
        return _TextStep(start) if tool is None else _ToolStep(start, tool)

    return run_steps(step)


class JsonDocument:
    """Finds the JSON in text as it comes, and grows its tree."""

    def __init__(self, items_at: tuple[str, ...] | None = None) -> None:
        self.tree = JsonTree(items_at)
        self._said = StringIO()
        self._blocks: CodeBlocks | None = None  # where other text stands first
        self._place: Literal["before", "in", "beside", "behind"] = "before"

    @property
    def text(self) -> str:
        """All that was fed."""
        return self._said.getvalue()

    @property
    def empty(self) -> bool:
        """Whether no text has come at all."""
        return self._said.tell() == 0

    def feed(self, text: str) -> None:
        """Read on; raises `OutputParsingError` when this cannot become JSON any more."""
        self._said.write(text)
        try:
            if self._blocks is not None:
                self._read(self._blocks.feed(text))
            elif self._reaches_json(text):
                self.tree.feed(text.lstrip(_SPACE) if self._place == "before" else text)
                self._place = "in"
            elif text.strip(_SPACE):
                self._blocks = CodeBlocks()
                self._read(self._blocks.feed(text))
        except ValueError as error:
            raise self._not_json(str(error)) from error

    def finish(self) -> None:
        """The text has ended; raises `OutputParsingError` where the JSON has not."""
        try:
            self._read(self._blocks.close() if self._blocks is not None else ())
        except ValueError as error:
            raise self._not_json(str(error)) from error
        if not self.tree.done:
            outside = self._place in ("before", "beside")
            raise self._not_json("it holds no object or array" if outside else "it ended before its JSON did")

    def _not_json(self, fault: str) -> OutputParsingError:
        return OutputParsingError(f"the answer is not the JSON it should be: {fault}", text=self.text)

    def _reaches_json(self, text: str) -> bool:
        return self._place == "in" or text.lstrip(_SPACE)[:1] in _BRACKETS

    def _read(self, events: Sequence[CodeBlockEvent]) -> None:
        for event in events:
            if self._place == "behind":
                return
            match event:
                case CodeBlockStart():
                    self._place = "before"
                case CodeBlockDelta(text=code):
                    self._read_code(code)
                case CodeBlockEnd():
                    self._place = "behind" if self._place == "in" else "beside"

    def _read_code(self, code: str) -> None:
        if self._place == "before" and code.strip(_SPACE):
            self._place = "in" if self._reaches_json(code) else "beside"
        if self._place == "in":
            self.tree.feed(code)


class _TextStep(PlainStep[B]):
    """The text is the document."""

    def __init__(self, start: Callable[[], Reader[B]]) -> None:
        self._start = start
        self._reader: Reader[B] | None = start()

    def feed(self, item: TokenEvent | str, /) -> Sequence[B]:
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


class _ToolStep(PlainStep[B]):
    """Each call of the tool is a document."""

    def __init__(self, start: Callable[[], Reader[B]], tool: str) -> None:
        self._start = start
        self._tool = tool
        self._readers: dict[int, Reader[B]] = {}
        self._begun: set[int] = set()  # calls whose arguments came in deltas

    def feed(self, item: TokenEvent | str, /) -> Sequence[B]:
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
