"""Typed calls to Redis. With `_deployment` the only code that knows the package redis.

rxllm makes its own connections, with its own timeouts; of a client that it is given it takes the addresses and the
credentials. redis-py's errors leave this file as errors of `rxllm.errors`.

Sources: https://redis.readthedocs.io/en/stable/connections.html,
https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias, cast

from redis import exceptions as redis_errors

from ..errors import APIConnectionError, PermissionDeniedError, StreamError
from ._deployment import ClusterDeployment, Deployment, RedisAddress, cluster_around, deployment_of
from ._lua_scripts import Script

Fields: TypeAlias = dict[bytes, bytes]

SOCKET_SECONDS = 10.0
"""Timeout of calls that no lease depends on."""
_CONFIRMATION_SECONDS = 3.0

_REFUSED = (redis_errors.AuthenticationError, redis_errors.AuthorizationError, redis_errors.NoPermissionError)
_NO_RIGHT = ("user executing the script can't", "has no permissions", "ACL failure in script")
"""What Redis, and Valkey, say when a script runs a command, or uses a key or channel, without the right to."""
_CODE = re.compile(r"^([A-Z]{3,})\b|:\s-([A-Z]{3,})\b")
"""The code of an error; Redis 6 and older wrap the error inside a script as "...: -READONLY ..."."""
_WRONG_CALL = frozenset(["WRONGTYPE", "CROSSSLOT", "EXECABORT"])
"""Codes of calls that are wrong. All others, such as OOM, BUSY or READONLY, are states of the server, which pass."""
_MOVED = (
    redis_errors.MovedError,
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    redis_errors.ClusterError,
    OSError,
)
"""After these, a Cluster may have its keys elsewhere."""


class RedisConnections:
    """Connections to one Redis. Thread-safe; `close` also ends calls that block.

    Commands go over redis-py's connections, but past its client, which takes as much time again as the connection.

    Args:
        address: A client or a URL.
        timeout: Seconds that a call may take before its connection counts as dead.
    """

    def __init__(self, address: RedisAddress, *, timeout: float = SOCKET_SECONDS) -> None:
        self._deployment = deployment_of(address)
        self.name = self._deployment.name
        """Which server and database, Sentinel's service, or Cluster it is."""
        self._timeout = timeout
        self._lock = threading.RLock()  # reentrant: a user may close when the garbage collector finds it
        self._client: Any = None
        self._closed = False
        self._idle: dict[Any, list[Any]] = {}
        """Connections that no call uses, by pool. redis-py's pool would check their socket at each use."""
        self._process = os.getpid()
        self.users: set[SharedConnections] = set()
        """Those that share these connections, if they are shared."""

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            self._closed = True
        self._renew(self._client, self._deployment)

    def call(self, script: Script, keys: Sequence[str], *arguments: str | bytes | int) -> list[bytes | int]:
        """Run `script` and return its result. All `keys` must be in one slot.

        Raises:
            APIConnectionError: No connection, or a state of the server that passes.
            PermissionDeniedError: The credentials are refused, or lack a right.
            StreamError: Redis refused the call for another reason.
        """
        with _converted_errors():
            try:
                found = self._command(keys[0], "EVALSHA", script.sha, len(keys), *keys, *arguments)
            except redis_errors.NoScriptError:
                found = self._command(keys[0], "EVAL", script.text, len(keys), *keys, *arguments)
        return cast("list[bytes | int]", found)

    def read(self, key: str, after: str, block: float | None = None) -> list[Fields]:
        """Return the entries of a log after the id `after`; blocks for at most `block` seconds until there is one."""
        blocking = () if block is None else ("BLOCK", milliseconds(block))
        with _converted_errors():
            found = self._command(key, "XREAD", "COUNT", 256, *blocking, "STREAMS", key, after)
        if not found:
            return []
        entries = cast("list[tuple[bytes, list[bytes]]]", found[0][1])
        return [dict(zip(fields[::2], fields[1::2], strict=True)) for _, fields in entries]

    def messages(self, channel: str, wait: float) -> Iterator[bytes | None]:
        """Yield what is published on `channel`; None once subscribed, and after each `wait` seconds of silence.

        A silent connection subscribes again; if that is not confirmed within 3 seconds, it counts as dead.
        """
        with _converted_errors():
            listener = self._connected().pubsub()
            try:
                listener.subscribe(channel)
                yield _data_of(listener.get_message(timeout=self._timeout))
                while True:
                    message = listener.get_message(timeout=wait)
                    if message is None:
                        listener.subscribe(channel)  # a ping that needs no other right
                        message = listener.get_message(timeout=_CONFIRMATION_SECONDS)
                        if message is None:
                            raise redis_errors.TimeoutError("no answer on the subscribed connection")
                    yield _data_of(message)
            finally:
                with suppress(redis_errors.RedisError, OSError):
                    listener.close()

    def _command(self, key: str, *words: str | bytes | int) -> Any:
        """Send a command to the server that has `key`, once more if the connection is lost; return the answer."""
        try:
            return self._exchange(key, words)
        except (redis_errors.MovedError, redis_errors.ConnectionError) as error:
            if isinstance(error, _REFUSED):
                raise
            return self._exchange(key, words)

    def _exchange(self, key: str, words: Sequence[str | bytes | int]) -> Any:
        """Send a command to the server that has `key` and return the answer; after some errors, connect anew."""
        client, deployment = self._connected(), self._deployment
        try:
            with self._connection(deployment.pool_for(client, key)) as connection:
                connection.connect()  # does nothing if it is connected; asks Sentinel for the master if not
                if self._closed:  # since `_connected`: `close` has not seen this connection
                    raise redis_errors.ConnectionError("the connections are closed")
                connection.send_packed_command([_packed(words)], check_health=False)
                return connection.read_response()
        except _MOVED as error:
            if isinstance(error, redis_errors.MovedError) or isinstance(deployment, ClusterDeployment):
                self._renew(client, cluster_around(deployment, client))
            raise

    @contextmanager
    def _connection(self, pool: Any) -> Generator[Any]:
        """Lend a connection of the pool. After an error, unless it is Redis's own answer, it connects anew."""
        if self._process != os.getpid():  # a fork must not use the connections of its parent
            self._idle, self._process = {}, os.getpid()
        idle = self._idle.setdefault(pool, [])
        try:
            connection = idle.pop()
        except IndexError:
            connection = pool.get_connection()
        try:
            yield connection
        except BaseException as error:
            # A server that was demoted says READONLY, Redis 6 in the text of a script's error. Its name may belong to
            # another server by now, so the next call connects anew.
            is_demoted = isinstance(error, redis_errors.ReadOnlyError) or "READONLY" in str(error)
            if is_demoted or not isinstance(error, redis_errors.ResponseError):
                connection.disconnect()
            raise
        finally:
            idle.append(connection)

    def _connected(self) -> Any:
        with self._lock:
            if self._closed:
                raise redis_errors.ConnectionError("the connections are closed")
            if self._client is None:
                self._client = self._deployment.client(self._timeout)
            return self._client

    def _renew(self, client: Any, deployment: Deployment) -> None:
        """Close the connections of `client`; the next call connects anew, to `deployment`."""
        with self._lock:
            if client is None or client is not self._client:
                return
            old, self._deployment = self._deployment, deployment
            self._client, self._idle = None, {}
        old.disconnect(client)


class SharedConnections:
    """Connections that all users of one address in this process share; the last user closes them.

    Has the methods of `RedisConnections` that do not block for long.
    """

    def __init__(self, address: RedisAddress, *, timeout: float = SOCKET_SECONDS) -> None:
        made = RedisConnections(address, timeout=timeout)
        self._key = (deployment_of(address).identity, timeout)
        with _sharing:
            self._connections = _shared.setdefault(self._key, made)
            self._connections.users.add(self)
        self.name = made.name
        self.call = self._connections.call

    def close(self) -> None:
        """Close the connections if no other user is left."""
        with _sharing:
            self._connections.users.discard(self)
            if self._connections.users:
                return
            _shared.pop(self._key, None)
        self._connections.close()


def milliseconds(seconds: float) -> int:
    """Return `seconds` as Redis takes them, at least 1 ms."""
    return max(1, round(seconds * 1000))


def _packed(words: Sequence[str | bytes | int]) -> bytes:
    """Return a command as Redis reads it: an array of strings. redis-py takes ten times as long."""
    encoded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n%b" % (len(encoded), b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded]))


_shared: dict[tuple[str, float], RedisConnections] = {}
_sharing = threading.RLock()  # reentrant, as the lock of the connections is


def _data_of(message: Any) -> bytes | None:
    return cast(bytes, message["data"]) if message is not None and message["type"] == "message" else None


@contextmanager
def _converted_errors() -> Generator[None]:
    """Raise the errors of redis-py as errors of rxllm."""
    try:
        yield
    except _REFUSED as error:
        raise PermissionDeniedError(f"Redis refused the credentials: {error}") from error
    except (redis_errors.RedisError, OSError) as error:
        text = str(error)
        if any(words in text for words in _NO_RIGHT):
            raise PermissionDeniedError(f"the Redis user lacks a right: {error}") from error
        codes = {code for found in _CODE.findall(text) for code in found if code}
        if type(error) is redis_errors.ResponseError and (not codes or codes & _WRONG_CALL):
            raise StreamError(f"Redis refused: {error}") from error
        raise APIConnectionError(f"Redis is not reachable or not ready: {error}") from error
