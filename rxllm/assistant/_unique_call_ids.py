"""Give each tool call of a conversation its own id.

Some wires send no ids, and some vendors start at "call_0" in each answer. A user interface identifies a call by its id,
for example for an approval: a second call must not be taken for the first.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable

import msgspec

from .._history import unique_id, with_id
from ..events import Response, StreamEnd, StreamReset, TokenEvent, ToolCallEnd, ToolCallStart
from ..messages import Message, ToolCall


class CallIds:
    """Gives a call another id if a call of `messages`, or an earlier one of the turn, has the same."""

    def __init__(self, messages: Iterable[Message]) -> None:
        self._used = {call.id for message in messages for call in message.tool_calls}
        self._here: dict[int, tuple[str, str]] = {}
        """The calls of this step by index: the vendor's id, which one answer may repeat, and the new one."""

    def begin_step(self) -> None:
        """Start a step: its calls are new ones."""
        self._here.clear()

    def renamed(self, event: TokenEvent) -> TokenEvent:
        """Return the event with distinct ids."""
        if isinstance(event, ToolCallStart):
            new = unique_id(event.id, self._used)
            self._here[event.index] = event.id, new
            return msgspec.structs.replace(event, id=new)
        if isinstance(event, ToolCallEnd) and event.index in self._here:
            return ToolCallEnd(event.index, with_id(event.call, self._here[event.index][1]))
        if isinstance(event, StreamReset):
            self._used.difference_update(new for _, new in self._here.values())
            self.begin_step()
        if isinstance(event, StreamEnd) and any(given != new for given, new in self._here.values()):
            return StreamEnd(self._answer(event.response))
        return event

    def _answer(self, response: Response) -> Response:
        """Return the answer with the new ids: calls of one vendor's id have them in the order of their starts."""
        new_ids: defaultdict[str, deque[str]] = defaultdict(deque)
        for given, new in self._here.values():
            new_ids[given].append(new)
        calls = [
            with_id(call, new_ids[call.id].popleft()) if new_ids[call.id] else call for call in response.tool_calls
        ]
        renamed = iter(calls)
        parts = tuple(next(renamed, part) if isinstance(part, ToolCall) else part for part in response.parts)
        return msgspec.structs.replace(response, tool_calls=tuple(calls), parts=parts)
