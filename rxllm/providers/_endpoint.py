"""One vendor at one address: what the encoder and the decoder of a wire share.

Signatures, ciphers and fields that we do not model mean something only to the server that made them: sent
to another one, they are refused. Message parts keep them under `Endpoint.key`, and only the same endpoint
sends them back. What you put under the wire's own name ("anthropic") goes to every endpoint of that wire.

Tool names are mapped here too: vendors take other characters and lengths than MCP servers use.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from urllib.parse import urlsplit

from ..messages import VendorFields, VendorPart

TOOL_NAME = "[a-zA-Z0-9_-]{1,64}"
"""What all vendors take; Gemini's must not begin with a digit or a dash."""
_MAX_NAMES = 4096
"""Names remembered to be mapped back: more are the tools of requests long ended."""


class Endpoint:
    """The provider `provider`, which speaks `wire` at `url`; `wire` alone stands for any address."""

    def __init__(self, wire: str, provider: str, url: str = "", *, tool_names: str = TOOL_NAME) -> None:
        parts = urlsplit(url)
        self.wire = wire
        self.provider = provider
        self.host = parts.hostname or ""
        self.key = f"{wire}@{parts.hostname}{parts.path}" if url else wire
        """The key of this endpoint's own fields in `vendor`, and the `wire` of its own `VendorPart`."""
        self._tool_name = re.compile(tool_names)
        self._names: dict[str, str] = {}

    def fields(self, vendor: VendorFields | None) -> Mapping[str, object]:
        """Return the fields of a part that go back to this endpoint."""
        if not vendor:
            return {}
        own, anywhere = vendor.get(self.key), vendor.get(self.wire)
        return {**anywhere, **own} if own and anywhere and self.key != self.wire else own or anywhere or {}

    def is_own(self, part: VendorPart) -> bool:
        """Return whether a part was made by this endpoint, or for this wire."""
        return part.wire in (self.key, self.wire)

    def wire_name(self, name: str) -> str:
        """Return a tool's name as the vendor takes it: other characters replaced, a hash of the name at its end."""
        if self._tool_name.fullmatch(name):
            return name
        start = re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:55]
        wire_name = f"{start}_{sha256(name.encode('utf-8', 'replace')).hexdigest()[:8]}"
        if not self._tool_name.fullmatch(wire_name):
            wire_name = f"_{wire_name[1:]}"
        if len(self._names) >= _MAX_NAMES:
            self._names.clear()
        self._names[wire_name] = name
        return wire_name

    def tool_name(self, wire_name: str) -> str:
        """Return the tool's own name for the name that the vendor uses."""
        return self._names.get(wire_name, wire_name)
