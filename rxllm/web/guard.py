"""Who may use a server: its own page, allowed origins, clients with its token; and which address a client has.

A web page anywhere can send requests to a server on its visitor's machine or network. So a request with an Origin other
than the server's own, or an allowed one, is refused, and so is one for a host name that the server does not have: by
that name a foreign page would pose as the server's own.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..errors import ConfigurationError
from .formats.errors import Problem

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Guard:
    """The rules of one server.

    Args:
        origins: Other pages that may use it, such as "https://app.example.com"; "*" for all.
        hosts: The names that it has, without ports; "*" for any, which is only safe with a token or `authenticate`.
        token: With it, everything but the page itself needs the header "Authorization: Bearer TOKEN" or
            "x-api-key: TOKEN"; for a WebSocket, "?token=TOKEN" will do.
        proxies: Addresses of reverse proxies whose X-Forwarded-For is believed.

    Raises:
        ConfigurationError: The token is empty, or text stands for a set.

    Example:
        >>> Guard().problem({"host": "127.0.0.1:8000", "origin": "https://evil.example"}).message
        'pages of that origin may not use this server'
    """

    origins: frozenset[str] = frozenset()
    hosts: frozenset[str] = LOOPBACK_NAMES
    token: str | None = None
    proxies: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Refuse what would let strangers in: no token equals an empty one, and text has all its substrings."""
        if self.token == "":
            raise ConfigurationError("the token is empty: no client would need one")
        if any(isinstance(names, str) for names in (self.origins, self.hosts, self.proxies)):
            raise ConfigurationError("origins, hosts and proxies are sets of text")

    def __repr__(self) -> str:
        return f"Guard(origins={set(self.origins)}, hosts={set(self.hosts)}, token={'set' if self.token else None})"

    def problem(self, headers: Mapping[str, str], query_token: str = "", *, public: bool = False) -> Problem | None:
        """Return why a request is refused, None if it is not.

        Args:
            headers: The request's, names in lower case.
            query_token: The token in the address of a WebSocket.
            public: Whether the request needs no token.
        """
        host = headers.get("host", "")
        if "*" not in self.hosts and _name_of(host) not in self.hosts:
            return Problem(403, "this server does not have that host name", "host_not_allowed")
        origin = headers.get("origin")
        if origin is not None and not self._is_own(origin, host) and not self.allows(origin):
            return Problem(403, "pages of that origin may not use this server", "origin_not_allowed")
        if self.token is None or public:
            return None
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if any(_equal(given, self.token) for given in (bearer, headers.get("x-api-key", ""), query_token)):
            return None
        return Problem(401, "this server needs its token", "invalid_api_key")

    def allows(self, origin: str) -> bool:
        """Return whether pages of this other origin may use the server."""
        return "*" in self.origins or origin in self.origins

    def client_of(self, headers: Mapping[str, str], peer: str) -> str:
        """Return the address of the client: the last one in X-Forwarded-For that is no proxy, if `peer` is a proxy."""
        if peer not in self.proxies:
            return peer
        hops = [hop.strip() for hop in headers.get("x-forwarded-for", "").split(",")]
        return next((hop for hop in reversed(hops) if hop and hop not in self.proxies), peer)

    def _is_own(self, origin: str, host: str) -> bool:
        try:
            return urlsplit(origin).netloc == host
        except ValueError:
            return False


def _equal(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def _name_of(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
