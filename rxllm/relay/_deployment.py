"""The three ways to run Redis: one server, a master that Sentinel names, a Cluster; and the addresses of each."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeAlias, cast
from urllib.parse import unquote, urlsplit

try:
    import redis
except ImportError as missing:  # pragma: no cover - the package is there wherever the tests run
    raise ImportError("rxllm.relay needs the package redis: pip install 'rxllm[relay]'") from missing
from redis import cluster, sentinel
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..errors import ConfigurationError

RedisAddress: TypeAlias = "redis.Redis | cluster.RedisCluster | str"
"""A client, `Sentinel.master_for(..)` included, or a URL.

"redis://localhost:6379/0" (rediss: TLS), "redis+sentinel://host:26379,host2:26379/SERVICE/0", or
"redis+cluster://host:6379". A plain URL of a server in a Cluster works too.
"""

_KEPT = ("host", "port", "path", "db", "username", "password", "credential_provider", "client_name")


def deployment_of(address: RedisAddress) -> Deployment:
    """Return how to connect to `address`; connects to nothing.

    Raises:
        ConfigurationError: It is neither a URL of Redis nor a client of redis-py.
    """
    if isinstance(address, str):
        return _of_url(address)
    if isinstance(address, cluster.RedisCluster):
        nodes = cast(Any, address).nodes_manager
        return ClusterDeployment(
            [(node.host, node.port) for node in nodes.startup_nodes.values()], nodes.connection_kwargs
        )
    if not isinstance(address, redis.Redis):  # pyright: ignore[reportUnnecessaryIsInstance]  # clients for asyncio
        raise ConfigurationError(f"redis= takes a client of redis-py or a URL; got a {type(address).__name__}")
    pool = cast(Any, address.connection_pool)
    if isinstance(pool, sentinel.SentinelConnectionPool):
        made = cast(Any, pool)
        return SentinelDeployment(
            made.sentinel_manager, made.service_name, made.connection_kwargs, made.connection_class
        )
    return ServerDeployment(pool)


def _of_url(url: str) -> Deployment:
    """Return how to connect to what a URL names."""
    try:
        parts = urlsplit(url)
        scheme, _, kind = parts.scheme.partition("+")
        if not kind:
            return ServerDeployment(cast(Any, redis.ConnectionPool).from_url(url))
        if scheme not in ("redis", "rediss") or kind not in ("sentinel", "cluster"):
            raise ValueError(f"unknown scheme {parts.scheme!r}")
        hosts = [
            _host(text, 26379 if kind == "sentinel" else 6379) for text in parts.netloc.rpartition("@")[2].split(",")
        ]
        settings: dict[str, Any] = {"username": unquote(parts.username or "") or None}
        settings["password"] = unquote(parts.password or "") or None
        if kind == "cluster":
            return ClusterDeployment(hosts, {**settings, "ssl": scheme == "rediss"})
        service, _, database = parts.path.strip("/").partition("/")
        if not service:
            raise ValueError("the path of a Sentinel URL is /SERVICE/DATABASE")
        return SentinelDeployment(
            cast(Any, sentinel.Sentinel)(hosts, socket_timeout=1.0),
            service,
            {**settings, "db": int(database or 0)},
            sentinel.SentinelManagedSSLConnection if scheme == "rediss" else sentinel.SentinelManagedConnection,
        )
    except ValueError as error:
        raise ConfigurationError(f"not the URL of a Redis server: {error}") from error


def _host(text: str, port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    return parts.hostname or "localhost", parts.port or port


class ServerDeployment:
    """One server.

    `name` names it without credentials; `identity` is equal for addresses whose connections may be shared.
    """

    def __init__(self, pool: Any) -> None:
        self.settings = _kept(pool.connection_kwargs)
        self._connection_class = pool.connection_class
        self.name = ":".join(str(self.settings.get(part)) for part in ("path", "host", "port", "db"))
        self.identity = _identity(self.name, self.settings)

    def client(self, timeout: float) -> Any:
        """Return a client with a pool of its own, whose calls fail after `timeout` seconds."""
        pool = redis.ConnectionPool(connection_class=self._connection_class, **_timeouts(timeout), **self.settings)
        return redis.Redis(connection_pool=pool)

    def node_for(self, client: Any, key: str) -> Any:
        """Return the client: there is one server."""
        del key
        return client

    def disconnect(self, client: Any) -> None:
        """Close all connections of the pool."""
        client.connection_pool.disconnect(inuse_connections=True)


class SentinelDeployment(ServerDeployment):
    """The server that Sentinel calls the master of a service, whichever it is at the time."""

    def __init__(self, manager: Any, service: str, settings: dict[str, Any], connection_class: Any) -> None:
        self.settings = _kept(settings, without=("host", "port"))
        self._manager = manager
        self._service = service
        self._connection_class = connection_class
        pools = [each.connection_pool.connection_kwargs for each in manager.sentinels]
        sentinels = sorted(f"{pool.get('host')}:{pool.get('port')}" for pool in pools)
        self.name = f"{','.join(sentinels)}/{service}/{self.settings.get('db', 0)}"
        self.identity = _identity(self.name, self.settings)

    def client(self, timeout: float) -> Any:
        """Return a client whose connections ask Sentinel for the master."""
        pool = cast(Any, sentinel.SentinelConnectionPool)(
            self._service,
            self._manager,
            connection_class=self._connection_class,
            **_timeouts(timeout),
            **self.settings,
        )
        return redis.Redis(connection_pool=pool)


class ClusterDeployment:
    """A Cluster, known by some of its servers."""

    def __init__(self, hosts: list[tuple[str, int]], settings: dict[str, Any]) -> None:
        self._hosts = hosts
        self._settings = _kept(settings, without=("host", "port", "path", "db"))
        self.name = "cluster:" + ",".join(sorted(f"{host}:{port}" for host, port in hosts))
        self.identity = _identity(self.name, self._settings)

    @classmethod
    def around(cls, deployment: Deployment, client: Any) -> ClusterDeployment:
        """Return the Cluster of which a server is a part, or that a client knows."""
        if isinstance(deployment, ClusterDeployment):
            known = [(node.host, node.port) for node in client.get_nodes()]
            return cls(known or deployment._hosts, deployment._settings)
        assert isinstance(deployment, ServerDeployment)
        return cls([(str(deployment.settings["host"]), int(deployment.settings["port"]))], deployment.settings)

    def client(self, timeout: float) -> Any:
        """Connect to the Cluster and read which server has which keys."""
        nodes = [cast(Any, cluster.ClusterNode)(host, port) for host, port in self._hosts]
        settings = {**_timeouts(timeout), **self._settings}
        return cast(Any, cluster.RedisCluster)(startup_nodes=nodes, **settings)

    def node_for(self, client: Any, key: str) -> Any:
        """Return the client of the server that has `key`."""
        return client.get_redis_connection(client.get_node_from_key(key))

    def disconnect(self, client: Any) -> None:
        """Close all connections to all servers."""
        for node in client.get_nodes():
            if node.redis_connection is not None:
                node.redis_connection.connection_pool.disconnect(inuse_connections=True)
        client.close()


Deployment: TypeAlias = ServerDeployment | ClusterDeployment


def _kept(settings: dict[str, Any], without: Collection[str] = ()) -> dict[str, Any]:
    """Return the settings that concern address, credentials and TLS, except those named `without`."""
    return {
        name: value
        for name, value in settings.items()
        if (name in _KEPT or name.startswith(("ssl", "socket_keepalive"))) and value is not None and name not in without
    }


def _timeouts(timeout: float) -> dict[str, Any]:
    return {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }


def _identity(name: str, settings: dict[str, Any]) -> str:
    return f"{name} {sorted((key, str(value)) for key, value in settings.items())}"
