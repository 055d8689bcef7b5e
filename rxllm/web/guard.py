"""Who may use a server: the page it serves, those who hold its token, and nobody through somebody's browser.

A web page anywhere can send requests to a server on its visitor's machine or network. So a request
that bears an Origin other than the server's own (or an allowed one) is refused, and so is one for
a host name the server does not go by: that is how a foreign page would pose as the own one.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Guard:
    """The rules of one server.

    `origins` are other pages that may use it ("https://app.example.com"; "*" for all). `hosts` are the
    names it goes by, without ports; "*" for any, which is only safe with a `token`. With a `token`, all
    but the page itself needs the header "Authorization: Bearer TOKEN" (for a WebSocket, also "?token=").

    >>> Guard().refusal({"host": "127.0.0.1:8000", "origin": "https://evil.example"}, {}) is None
    False
    """

    origins: frozenset[str] = frozenset()
    hosts: frozenset[str] = LOOPBACK_NAMES
    token: str | None = None

    def __repr__(self) -> str:
        return f"Guard(origins={set(self.origins)}, hosts={set(self.hosts)}, token={'set' if self.token else None})"

    def refusal(self, headers: Mapping[str, str], query: Mapping[str, str], *, public: bool = False) -> str | None:
        """Why a request is refused; None where it is not. The `public` needs no token."""
        host = headers.get("host", "")
        if "*" not in self.hosts and _name_of(host) not in self.hosts:
            return "this server does not go by that host name"
        origin = headers.get("origin")
        if origin is not None and not self._is_own(origin, host) and not self.allows(origin):
            return "pages of that origin may not use this server"
        if self.token is None or public:
            return None
        given = headers.get("authorization", "").removeprefix("Bearer ") or query.get("token", "")
        if hmac.compare_digest(given.encode(), self.token.encode()):
            return None
        return "this server needs its token"

    def allows(self, origin: str) -> bool:
        """Whether pages of another origin may use the server."""
        return "*" in self.origins or origin in self.origins

    def _is_own(self, origin: str, host: str) -> bool:
        return urlsplit(origin).netloc == host


def _name_of(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
