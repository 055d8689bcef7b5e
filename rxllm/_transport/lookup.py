"""Name look-ups that a caller can leave at any time.

getaddrinfo cannot be interrupted, so it runs on a thread of its own. Callers that ask for the same name at the same
time share one look-up: a resolver that hangs costs one thread, not one for each stream.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable
from functools import lru_cache
from itertools import chain, zip_longest
from typing import Any, TypeAlias

from urllib3.util.connection import allowed_gai_family

from .._runtime.platform import after_fork

Address: TypeAlias = tuple[int, int, int, str, Any]
"""As `socket.getaddrinfo` returns it: family, type, protocol, canonical name, address."""

_lock = threading.RLock()
_lookups: dict[tuple[str, int], _Lookup] = {}


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


def start_lookup(host: str, port: int, on_done: Callable[[], None]) -> _Lookup:
    """Start a look-up, or join the one for the same name that is running. `on_done` is called from another thread.

    Raises:
        RuntimeError: No thread could be started.
    """
    key = (host, port)
    with _lock:
        lookup = _lookups.get(key)
        if lookup is not None:
            lookup.callbacks.append(on_done)
            return lookup
        lookup = _lookups[key] = _Lookup(host, port, on_done)
    try:
        threading.Thread(target=lookup.run, name="rxllm-dns", daemon=True).start()
    except BaseException as error:
        lookup.end(error)
        raise
    return lookup


class _Lookup:
    """One look-up, and the callbacks of those that wait for it."""

    def __init__(self, host: str, port: int, on_done: Callable[[], None]) -> None:
        self.result: list[Address] | BaseException | None = None
        self.callbacks = [on_done]
        self._key = (host, port)

    def run(self) -> None:
        try:
            result: list[Address] | BaseException = addresses(*self._key)
        except BaseException as error:
            result = error
        self.end(result)

    def end(self, result: list[Address] | BaseException) -> None:
        with _lock:
            self.result = result
            _lookups.pop(self._key, None)
            callbacks, self.callbacks = self.callbacks, []
        for on_done in callbacks:
            on_done()


def interleaved(found: list[Address]) -> list[Address]:
    """Return the addresses with the families alternating, beginning with the first one's (RFC 8305, section 4)."""
    first = [address for address in found if address[0] == found[0][0]]
    others = [address for address in found if address[0] != found[0][0]]
    return [address for address in chain.from_iterable(zip_longest(first, others)) if address is not None]


def _forget() -> None:
    global _lock
    _lock = threading.RLock()
    _lookups.clear()


after_fork(_forget)
