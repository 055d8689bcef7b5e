"""Name look-ups that a caller can leave at any time.

getaddrinfo cannot be interrupted, so it runs on a thread of its own. Callers that ask for the same name at the same
time share one look-up: a resolver that hangs costs one thread, not one for each stream.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from concurrent.futures import Future
from functools import lru_cache, partial
from itertools import chain, zip_longest
from typing import Any, TypeAlias

from urllib3.util.connection import allowed_gai_family

from .._runtime.platform import after_fork

Address: TypeAlias = tuple[int, int, int, str, Any]
"""As `socket.getaddrinfo` returns it: family, type, protocol, canonical name, address."""

_lookups: dict[tuple[str, int], Future[list[Address]]] = {}
"""Those that run. The operations on it are atomic, because callbacks and signal handlers must not meet a lock."""
after_fork(_lookups.clear)


@lru_cache(256)
def is_address(host: str) -> bool:
    """Return whether `host` is an IP address, which needs no look-up."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def addresses(host: str, port: int) -> list[Address]:
    """Return the TCP addresses of `host`; blocks for as long as the resolver does."""
    return list(socket.getaddrinfo(host, port, allowed_gai_family(), socket.SOCK_STREAM))


def start_lookup(host: str, port: int) -> Future[list[Address]]:
    """Start a look-up, or join the one for the same name that is running.

    Raises:
        RuntimeError: No thread could be started.
    """
    new = Future[list[Address]]()
    lookup = _lookups.setdefault((host, port), new)
    if lookup is new:
        try:
            threading.Thread(target=partial(_look_up, host, port, new), name="rxllm-dns", daemon=True).start()
        except BaseException as error:
            _lookups.pop((host, port), None)
            new.set_exception(error)
            raise
    return lookup


def _look_up(host: str, port: int, lookup: Future[list[Address]]) -> None:
    try:
        lookup.set_result(addresses(host, port))
    except BaseException as error:
        lookup.set_exception(error)
    finally:
        _lookups.pop((host, port), None)


def interleaved(found: list[Address]) -> list[Address]:
    """Return the addresses with the families alternating, beginning with the first one's (RFC 8305, section 4)."""
    first = [address for address in found if address[0] == found[0][0]]
    others = [address for address in found if address[0] != found[0][0]]
    return [address for address in chain.from_iterable(zip_longest(first, others)) if address is not None]
