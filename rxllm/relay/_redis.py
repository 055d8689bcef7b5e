"""The one file that knows the redis package: a connections to a server, typed, with its errors made ours.

A connections has connections of its own with settings of its own, so that nobody's timeouts, retries or
decoding get in the way; of a client it is given it takes the address and the credentials.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias, cast

try:
    import redis
except ImportError as missing:  # pragma: no cover - the package is there wherever the tests run
    raise ImportError("rxllm.relay needs the package redis: pip install 'rxllm[relay]'") from missing
from redis import exceptions as theirs
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..errors import APIConnectionError, ConfigurationError, PermissionDeniedError, StreamError
from ._lua_scripts import Script

RedisAddress: TypeAlias = "redis.Redis | str"
"""A client, or a URL such as "redis://localhost:6379/0"."""

Row: TypeAlias = dict[bytes, bytes]

_ADDRESS = ("host", "port", "path", "db", "username", "password", "credential_provider", "client_name")
_SOCKET_SECONDS = 10.0
_AWAY = (theirs.ConnectionError, theirs.TimeoutError, theirs.ReadOnlyError, theirs.MasterDownError, OSError)
"""What passes: no connection, one that broke, a server that loads its data or is not the leader now."""
_REFUSED = (theirs.AuthenticationError, theirs.AuthorizationError, theirs.NoPermissionError)


class RedisConnections:
    """Connections to one Redis. `close` may be called from any thread, and ends what waits."""

    def __init__(self, address: RedisAddress) -> None:
        given = _pool_of(address)
        settings = {
            name: value
            for name, value in given.connection_kwargs.items()
            if name in _ADDRESS or name.startswith(("ssl", "socket_keepalive"))
        }
        self.name = ":".join(str(settings.get(part)) for part in ("path", "host", "port", "db"))
        """Which server and database it is."""
        self._pool = redis.ConnectionPool(
            connection_class=given.connection_class,
            socket_timeout=_SOCKET_SECONDS,
            socket_connect_timeout=_SOCKET_SECONDS,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            **settings,
        )
        self._client = redis.Redis(connection_pool=self._pool)

    def close(self) -> None:
        """Close all connections."""
        self._pool.disconnect(inuse_connections=True)

    def call(self, script: Script, keys: Sequence[str], *arguments: str | bytes | int) -> list[bytes | int]:
        """What `script` gives."""
        with _our_errors():
            try:
                reply = self._client.evalsha(script.sha, len(keys), *keys, *arguments)
            except theirs.NoScriptError:
                reply = self._client.eval(script.text, len(keys), *keys, *arguments)
        return cast("list[bytes | int]", reply)

    def read(self, key: str, after: str, block: float | None = None) -> list[Row]:
        """The entries of a log after the id `after`; waits at most `block` seconds for one."""
        with _our_errors():
            milliseconds = None if block is None else max(1, round(block * 1000))
            reply = cast(Any, self._client).xread({key: after}, count=256, block=milliseconds)
        if not reply:
            return []
        entries = cast("list[tuple[bytes, Row]]", reply[0][1])
        return [fields for _, fields in entries]

    def messages(self, channel: str, wait: float) -> Iterator[bytes | None]:
        """What is published on `channel`; None once it is listened to, and whenever nothing was for `wait` seconds."""
        with _our_errors():
            listening = cast(Any, self._client).pubsub(ignore_subscribe_messages=True)
            try:
                listening.subscribe(channel)
                while True:  # the first that comes is the confirmation, which counts as none
                    message = listening.get_message(timeout=wait)
                    yield None if message is None else cast(bytes, message["data"])
            finally:
                with suppress(theirs.RedisError):
                    listening.close()


def _pool_of(address: RedisAddress) -> Any:
    if isinstance(address, str):
        try:
            return cast(Any, redis.ConnectionPool).from_url(address)
        except ValueError as error:
            raise ConfigurationError(f"not the URL of a Redis server: {error}") from error
    if not isinstance(address, redis.Redis):  # pyright: ignore[reportUnnecessaryIsInstance]  # clients for asyncio, clusters
        raise ConfigurationError(f"redis= takes a redis.Redis or a URL; got a {type(address).__name__}")
    return address.connection_pool


@contextmanager
def _our_errors() -> Generator[None]:
    try:
        yield
    except _REFUSED as error:
        raise PermissionDeniedError(f"Redis let us not in: {error}") from error
    except _AWAY as error:
        raise APIConnectionError(f"no connection to Redis: {error}") from error
    except theirs.RedisError as error:
        raise StreamError(f"Redis refused: {error}") from error
