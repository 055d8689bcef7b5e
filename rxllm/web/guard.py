"""Who may use a server: its own page, allowed origins, clients with its token; and which address a client has.

A web page anywhere can send requests to a server on its visitor's machine or network. So a request with an Origin other
than the server's own, or an allowed one, is refused, and so is one for a host name that the server does not have: by
that name a foreign page would pose as the server's own.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from ..errors import AuthenticationError, ConfigurationError, PermissionDeniedError

_DEFAULT_PORTS = {"http": 80, "https": 443}
_WITH_PORT = re.compile(r"^(\[.+\]|[^:]+):\d+$")
"""An address as some proxies (Azure's) write it; each connection of a client has another port."""

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
        >>> Guard().check({"host": "127.0.0.1:8000", "origin": "https://evil.example"})
        Traceback (most recent call last):
        rxllm.errors.PermissionDeniedError: pages of that origin may not use this server
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
        object.__setattr__(self, "hosts", frozenset(name.lower() for name in self.hosts))  # as browsers write them
        object.__setattr__(self, "origins", frozenset(name.lower().removesuffix("/") for name in self.origins))

    def __repr__(self) -> str:
        return f"Guard(origins={set(self.origins)}, hosts={set(self.hosts)}, token={'set' if self.token else None})"

    def check(self, headers: Mapping[str, str], query_token: str = "", *, public: bool = False) -> None:
        """Refuse a request that breaks the rules.

        Args:
            headers: The request's, names in lower case.
            query_token: The token in the address of a WebSocket.
            public: Whether the request needs no token.

        Raises:
            PermissionDeniedError: The host name is not the server's, or the origin may not use it (403).
            AuthenticationError: The token is missing (401).
        """
        host = headers.get("host", "")
        if "*" not in self.hosts and _parsed(f"//{host}").hostname not in self.hosts:
            raise PermissionDeniedError("this server does not have that host name", status_code=403)
        origin = headers.get("origin")
        parsed = _parsed(origin or "")
        # A proxy may add the port that browsers leave out.
        is_own = host != "" and host in (parsed.netloc, f"{parsed.netloc}:{_DEFAULT_PORTS.get(parsed.scheme, 0)}")
        if origin is not None and not is_own and not self.allows(origin):
            raise PermissionDeniedError("pages of that origin may not use this server", status_code=403)
        if self.token is None or public:
            return
        bearer = headers.get("authorization", "")
        bearer = bearer[7:] if bearer.lower().startswith("bearer ") else bearer
        given = (bearer, headers.get("x-api-key", ""), query_token)
        if not any(hmac.compare_digest(one.encode(), self.token.encode()) for one in given):
            raise AuthenticationError("this server needs its token", status_code=401)

    def allows(self, origin: str) -> bool:
        """Return whether pages of this other origin may use the server."""
        return "*" in self.origins or origin in self.origins

    def client_of(self, headers: Mapping[str, str], peer: str) -> str:
        """Return the client's address: the last one in X-Forwarded-For that is not a proxy, if `peer` is a proxy."""
        if peer not in self.proxies:
            return peer
        hops = [_WITH_PORT.sub(r"\1", hop.strip()) for hop in headers.get("x-forwarded-for", "").split(",")]
        return next((hop for hop in reversed(hops) if hop and hop not in self.proxies), peer)


def _parsed(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")
