"""Give each tool call of a conversation its own id.

Some wires send no ids, and some vendors start at "call_0" in each answer. A user interface identifies a call by its id,
for example for an approval: a second call must not be taken for the first.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable

import msgspec

from .._history import unique_id, with_id
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
from ..messages import Message, Part, ToolCall


class CallIds:
    """Gives a call another id if a call of `messages`, or an earlier one of the turn, has the same."""

    def __init__(self, messages: Iterable[Message]) -> None:
        self._used = {call.id for message in messages for call in message.tool_calls}
        self._here: dict[int, str] = {}
        """The ids of the calls of this step, by index."""
        self._given: defaultdict[str, list[str]] = defaultdict(list)
        """The same by the vendor's id, in order; one answer may repeat an id."""

    def begin_step(self) -> None:
        """Start a step: its calls are new ones."""
        self._here.clear()
        self._given.clear()

    def renamed(self, event: TokenEvent) -> TokenEvent:
        """Return the event with distinct ids."""
        match event:
            case ToolCallStart(index, given, name):
                return ToolCallStart(index, self._new(index, given), name)
            case ToolCallEnd(index, call):
                return ToolCallEnd(index, with_id(call, self._here.get(index, call.id)))
            case StreamReset():
                self._used.difference_update(self._here.values())
                self.begin_step()
            case StreamEnd(response):
                event = StreamEnd(self._answer(response))
            case StreamStart() | TextDelta() | ReasoningDelta() | ToolCallDelta() | UsageUpdate() | VendorEvent():
                pass
        return event

    def _new(self, index: int, given: str) -> str:
        name = unique_id(given, self._used)
        self._here[index] = name
        self._given[given].append(name)
        return name

    def _answer(self, response: Response) -> Response:
        if all(names == [given] for given, names in self._given.items()):
            return response
        calls = tuple(map(self._rename(), response.tool_calls))
        rename = self._rename()
        parts: tuple[Part, ...] = tuple(rename(part) if isinstance(part, ToolCall) else part for part in response.parts)
        return msgspec.structs.replace(response, tool_calls=calls, parts=parts)

    def _rename(self) -> Callable[[ToolCall], ToolCall]:
        """Return a function that renames the calls of the answer, to be called with one after the other."""
        given = {name: deque(names) for name, names in self._given.items()}

        def rename(call: ToolCall) -> ToolCall:
            names = given.get(call.id)
            return with_id(call, names.popleft()) if names else call

        return rename
