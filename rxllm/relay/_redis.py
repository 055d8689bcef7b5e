"""Typed calls to Redis. With `_deployment` the only code that knows the package redis.

rxllm makes its own connections, with its own timeouts; of a client that it is given it takes the addresses and the
credentials. redis-py's errors leave this file as errors of `rxllm.errors`.

Sources: https://redis.readthedocs.io/en/stable/connections.html,
https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias, cast

from redis import exceptions as theirs

from ..errors import APIConnectionError, PermissionDeniedError, StreamError
from ._deployment import ClusterDeployment, RedisAddress, deployment_of
from ._lua_scripts import Script

Fields: TypeAlias = dict[bytes, bytes]

SOCKET_SECONDS = 10.0
"""Timeout of calls that no lease depends on."""
_CONFIRMATION_SECONDS = 3.0

_REFUSED = (theirs.AuthenticationError, theirs.AuthorizationError, theirs.NoPermissionError)
_PASSING = (
    theirs.ConnectionError,
    theirs.TimeoutError,
    theirs.ReadOnlyError,
    theirs.MasterDownError,
    theirs.OutOfMemoryError,
    theirs.ClusterDownError,
    theirs.ClusterError,
    theirs.MovedError,
    theirs.AskError,
    theirs.TryAgainError,
    theirs.RedisClusterException,
    OSError,
)
_PASSING_WORDS = frozenset(
    [
        "LOADING",
        "READONLY",
        "MASTERDOWN",
        "CLUSTERDOWN",
        "TRYAGAIN",
        "NOREPLICAS",
        "OOM",
        "BUSY",
        "UNBLOCKED",
        "MISCONF",
        "FAILOVER",
    ]
)
"""First words of errors that describe a state of the server which passes; redis-py has no class for some."""
_WORD = re.compile(r"^([A-Z]+)\b|:\s-([A-Z]+)\b")
"""The first word of an error; Redis 6 and older wrap the error inside a script as "...: -READONLY ..."."""
_NO_RIGHT = "can't run this command"
"""What Redis says when a script runs a command that the user may not run."""


class RedisConnections:
    """Connections to one Redis. Thread-safe; `close` also ends calls that block.

    Args:
        address: A client or a URL.
        timeout: Seconds that a call may take before its connection counts as dead.
    """

    def __init__(self, address: RedisAddress, *, timeout: float = SOCKET_SECONDS) -> None:
        self._deployment = deployment_of(address)
        self.name = self._deployment.name
        """Which server and database, Sentinel's service, or Cluster it is."""
        self._timeout = timeout
        self._lock = threading.Lock()
        self._client: Any = None
        self._closed = False

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            self._closed = True
            client, self._client = self._client, None
        if client is not None:
            self._deployment.disconnect(client)

    def call(self, script: Script, keys: Sequence[str], *arguments: str | bytes | int) -> list[bytes | int]:
        """Run `script` and return its result. All `keys` must be in one slot.

        Raises:
            APIConnectionError: No connection, or a state of the server that passes.
            PermissionDeniedError: The credentials are refused, or lack a right.
            StreamError: Redis refused the call for another reason.
        """

        def run(client: Any) -> Any:
            try:
                return client.evalsha(script.sha, len(keys), *keys, *arguments)
            except theirs.NoScriptError:
                return client.eval(script.text, len(keys), *keys, *arguments)

        return cast("list[bytes | int]", self._with_client(run))

    def read(self, key: str, after: str, block: float | None = None) -> list[Fields]:
        """Return the entries of a log after the id `after`; blocks for at most `block` seconds until there is one."""
        milliseconds = None if block is None else max(1, round(block * 1000))

        def run(client: Any) -> Any:
            node = self._deployment.node_for(client, key)
            return node.xread({key: after}, count=256, block=milliseconds)

        found = self._with_client(run)
        if not found:
            return []
        entries = cast("list[tuple[bytes, Fields]]", found[0][1])
        return [fields for _, fields in entries]

    def messages(self, channel: str, wait: float) -> Iterator[bytes | None]:
        """Yield what is published on `channel`; None once subscribed, and after each `wait` seconds of silence.

        A silent connection subscribes again; if that is not confirmed within 3 seconds, it counts as dead.
        """
        with _converted_errors():
            listener = self._with_client(_pubsub)
            try:
                listener.subscribe(channel)
                yield _data_of(listener.get_message(timeout=self._timeout))
                while True:
                    message = listener.get_message(timeout=wait)
                    if message is None:
                        listener.subscribe(channel)  # a ping that needs no other right
                        message = listener.get_message(timeout=_CONFIRMATION_SECONDS)
                        if message is None:
                            raise theirs.TimeoutError("no answer on the subscribed connection")
                    yield _data_of(message)
            finally:
                with suppress(theirs.RedisError, OSError):
                    listener.close()

    def _with_client(self, run: Callable[[Any], Any]) -> Any:
        """Call `run` with the client; a server that belongs to a Cluster is then used as one."""
        with _converted_errors():
            try:
                return run(self._connected())
            except theirs.MovedError:
                self._use_as_cluster()
                return run(self._connected())

    def _connected(self) -> Any:
        with self._lock:
            if self._closed:
                raise theirs.ConnectionError("the connections are closed")
            if self._client is None:
                self._client = self._deployment.client(self._timeout)
            return self._client

    def _use_as_cluster(self) -> None:
        with self._lock:
            old, client = self._deployment, self._client
            self._deployment = ClusterDeployment.around(old)
            self._client = None
        if client is not None:
            old.disconnect(client)


class SharedConnections:
    """Connections that all users of one address in this process share; the last user closes them.

    Has the methods of `RedisConnections` that do not block for long.
    """

    def __init__(self, address: RedisAddress, *, timeout: float = SOCKET_SECONDS) -> None:
        made = RedisConnections(address, timeout=timeout)
        self.name = made.name
        self._key = (deployment_of(address).identity, timeout)
        with _sharing:
            self._connections, users = _shared.get(self._key, (made, 0))
            _shared[self._key] = (self._connections, users + 1)
        self._closed = False

    def call(self, script: Script, keys: Sequence[str], *arguments: str | bytes | int) -> list[bytes | int]:
        """Run `script` and return its result; see `RedisConnections.call`."""
        return self._connections.call(script, keys, *arguments)

    def close(self) -> None:
        """Close the connections if no other user is left."""
        with _sharing:
            if self._closed:
                return
            self._closed = True
            connections, users = _shared[self._key]
            if users > 1:
                _shared[self._key] = (connections, users - 1)
                return
            del _shared[self._key]
        connections.close()


_shared: dict[tuple[str, float], tuple[RedisConnections, int]] = {}
"""The connections of this process, each with the number of its users."""
_sharing = threading.Lock()


def _pubsub(client: Any) -> Any:
    return client.pubsub()


def _data_of(message: Any) -> bytes | None:
    return cast(bytes, message["data"]) if message is not None and message["type"] == "message" else None


@contextmanager
def _converted_errors() -> Generator[None]:
    try:
        yield
    except _REFUSED as error:
        raise PermissionDeniedError(f"Redis refused the credentials: {error}") from error
    except _PASSING as error:
        raise APIConnectionError(f"no connection to Redis: {error}") from error
    except theirs.RedisError as error:
        text = str(error)
        if _NO_RIGHT in text:
            raise PermissionDeniedError(f"the Redis user lacks a right: {error}") from error
        if any({*found} & _PASSING_WORDS for found in _WORD.findall(text)):
            raise APIConnectionError(f"Redis is not ready: {error}") from error
        raise StreamError(f"Redis refused: {error}") from error
