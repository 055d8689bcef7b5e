"""Each tool call of a conversation by an id of its own.

Some wires give no ids, and some vendors begin again with "call_0" in each answer. Whoever is asked
to approve a call, or shows it, knows it by its id: a second call must not pass for the first.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable

import msgspec

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
    """Gives a call another id where an earlier one of `messages`, or of the turn, has it already."""

    def __init__(self, messages: Iterable[Message]) -> None:
        self._used = {call.id for message in messages for call in message.tool_calls}
        self._here: dict[int, str] = {}
        """The ids of the calls of this step, by index."""
        self._given: defaultdict[str, list[str]] = defaultdict(list)
        """The same by the id that the vendor gave, in order: an answer may repeat even that."""

    def begin_step(self) -> None:
        """The model is asked: what it calls are other calls."""
        self._here.clear()
        self._given.clear()

    def told(self, event: TokenEvent) -> TokenEvent:
        """The event with ids that tell calls apart."""
        match event:
            case ToolCallStart(index, given, name):
                return ToolCallStart(index, self._new(index, given), name)
            case ToolCallEnd(index, call):
                return ToolCallEnd(index, _with_id(call, self._here.get(index, call.id)))
            case StreamReset():
                self._used.difference_update(self._here.values())
                self.begin_step()
            case StreamEnd(response):
                event = StreamEnd(self._answer(response))
            case StreamStart() | TextDelta() | ReasoningDelta() | ToolCallDelta() | UsageUpdate() | VendorEvent():
                pass
        return event

    def _new(self, index: int, given: str) -> str:
        number, name = 2, given
        while name in self._used:
            name = f"{given}_{number}"
            number += 1
        self._used.add(name)
        self._here[index] = name
        self._given[given].append(name)
        return name

    def _answer(self, response: Response) -> Response:
        if all(names == [given] for given, names in self._given.items()):
            return response
        calls = tuple(map(self._renamed(), response.tool_calls))
        rename = self._renamed()
        parts: tuple[Part, ...] = tuple(rename(part) if isinstance(part, ToolCall) else part for part in response.parts)
        return msgspec.structs.replace(response, tool_calls=calls, parts=parts)

    def _renamed(self) -> Callable[[ToolCall], ToolCall]:
        """What renames the calls of the answer, one after the other."""
        given = {name: deque(names) for name, names in self._given.items()}

        def rename(call: ToolCall) -> ToolCall:
            names = given.get(call.id)
            return _with_id(call, names.popleft()) if names else call

        return rename


def _with_id(call: ToolCall, name: str) -> ToolCall:
    return call if name == call.id else msgspec.structs.replace(call, id=name)
