"""What a wire sends for a conversation: shared by the tests of all requests."""

from __future__ import annotations

import json
from typing import NamedTuple

from rxllm._protocol import Wire, WireRequest
from rxllm.messages import Message
from rxllm.options import Options, Tool
from tests.providers.recordings import Payload

HELLO = (Message.user("Hi"),)
WEATHER = Tool("weather", "Tells it.", {"type": "object", "properties": {"city": {"type": "string"}}})


class Asker(NamedTuple):
    """Asks over one wire; `everywhere`: the fields that every request has, and `history` that of the messages."""

    wire: Wire
    model: str
    everywhere: tuple[str, ...] = ()
    history: str = ""

    def request(self, *messages: Message, model: str = "", **options: object) -> WireRequest:
        """The request for a conversation; without one, "Hi" is said."""
        return self.wire.request(messages or HELLO, model or self.model, Options(**options))  # type: ignore[arg-type]  # by name

    def asked(self, *messages: Message, model: str = "", **options: object) -> Payload:
        """The body, without what every request has."""
        fields: Payload = json.loads(self.request(*messages, model=model, **options).body)
        left_out = (*self.everywhere, "" if messages else self.history)
        return {name: value for name, value in fields.items() if name not in left_out}


def headers_of(**headers: str) -> dict[str, str]:
    """Headers by keyword: x_tenant is the header x-tenant."""
    return {name.replace("_", "-"): value for name, value in headers.items()}
