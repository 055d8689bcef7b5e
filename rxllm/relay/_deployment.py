"""The three ways to run Redis: one server, a master that Sentinel names, a Cluster; and the addresses of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeAlias, cast
from urllib.parse import urlsplit

import redis
from redis import cluster, sentinel
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..errors import ConfigurationError

RedisAddress: TypeAlias = "redis.Redis | cluster.RedisCluster | str"
"""A client, `Sentinel.master_for(..)` included, or a URL.

"redis://localhost:6379/0" (rediss: TLS), "redis+sentinel://host:26379,host2:26379/SERVICE/0", or
"redis+cluster://host:6379". A plain URL of a server in a Cluster works too.
"""

Host: TypeAlias = tuple[str, int]

_pool_class: Any = redis.ConnectionPool
_KEPT = ("host", "port", "path", "db", "username", "password", "credential_provider", "client_name")
"""Settings of a connection that are kept, besides those of TLS and TCP keepalive."""


class Deployment:
    """One server, or the one that Sentinel calls the master of a service at the time.

    Args:
        name: What errors call it; has no credentials.
        settings: Settings of a connection; those that concern address, credentials, TLS and keepalive are kept.
        make_client: Returns a client of redis-py. Its keyword arguments are the settings and the timeouts.
    """

    def __init__(self, name: str, settings: dict[str, Any], make_client: Callable[..., Any]) -> None:
        self.name = name
        self.settings = {
            key: value
            for key, value in settings.items()
            if (key in _KEPT or key.startswith(("ssl", "socket_keepalive"))) and value is not None
        }
        self.identity = f"{name} {sorted((key, str(value)) for key, value in self.settings.items())}"
        """Equal for addresses whose connections may be shared."""
        self._make_client = make_client

    def client(self, timeout: float) -> Any:
        """Return a client with connections of its own, whose calls fail after `timeout` seconds."""
        # No retries: `RedisConnections` has its own. RESP 2: it reads raw answers, which RESP 3 gives another form.
        limits = {"socket_timeout": timeout, "socket_connect_timeout": timeout, "retry": Retry(NoBackoff(), 0)}
        return self._make_client(**limits, protocol=2, **self.settings)

    def pool_for(self, client: Any, key: str) -> Any:
        """Return the pool of connections to the server that has `key`."""
        del key  # there is one server
        return client.connection_pool

    def disconnect(self, client: Any) -> None:
        """Close all connections."""
        client.connection_pool.disconnect(inuse_connections=True)


class ClusterDeployment(Deployment):
    """A Cluster, known by some of its servers. Its clients connect when they are made."""

    def __init__(self, hosts: Iterable[Host], settings: dict[str, Any]) -> None:
        self.hosts = sorted(hosts)  # so that their order does not change `identity`

        def make_client(**arguments: Any) -> Any:
            nodes = [cast(Any, cluster.ClusterNode)(host, port) for host, port in self.hosts]
            return cast(Any, cluster.RedisCluster)(startup_nodes=nodes, **arguments)

        name = "cluster:" + ",".join(f"{host}:{port}" for host, port in self.hosts)
        super().__init__(name, _without(settings, "host", "port", "path", "db"), make_client)

    def pool_for(self, client: Any, key: str) -> Any:
        """Return the pool of connections to the server that has `key`."""
        return client.get_redis_connection(client.get_node_from_key(key)).connection_pool

    def disconnect(self, client: Any) -> None:
        """Close all connections to all servers."""
        for node in client.get_nodes():
            if node.redis_connection is not None:
                super().disconnect(node.redis_connection)
        client.close()


def deployment_of(address: RedisAddress) -> Deployment:
    """Return how to connect to `address`; connects to nothing.

    Raises:
        ConfigurationError: It is neither a URL of Redis nor a client of redis-py.
    """
    if isinstance(address, str):
        try:
            return _of_url(address)
        except ValueError as error:
            raise ConfigurationError(f"not the URL of a Redis server: {error}") from error
    if isinstance(address, cluster.RedisCluster):
        nodes = cast(Any, address).nodes_manager
        hosts = [(node.host, node.port) for node in nodes.startup_nodes.values()]
        return ClusterDeployment(hosts, nodes.connection_kwargs)
    if not isinstance(address, redis.Redis):  # pyright: ignore[reportUnnecessaryIsInstance]  # clients for asyncio
        raise ConfigurationError(f"redis= takes a client of redis-py or a URL; got a {type(address).__name__}")
    pool = cast(Any, address.connection_pool)
    if isinstance(pool, sentinel.SentinelConnectionPool):
        made = cast(Any, pool)
        return _of_sentinel(made.sentinel_manager, made.service_name, made.connection_kwargs, made.connection_class)
    return _of_server(pool)


def cluster_around(deployment: Deployment, client: Any) -> ClusterDeployment:
    """Return the Cluster of which a server is a part, or that a client knows."""
    settings = deployment.settings
    if not isinstance(deployment, ClusterDeployment):
        return ClusterDeployment([(str(settings["host"]), int(settings["port"]))], settings)
    return ClusterDeployment([(node.host, node.port) for node in client.get_nodes()] or deployment.hosts, settings)


def _of_url(url: str) -> Deployment:
    """Return how to connect to what a URL names; raise `ValueError` if it is not such a URL."""
    scheme, _, rest = url.partition("://")
    scheme, plus, kind = scheme.partition("+")
    if not plus:
        return _of_server(_pool_class.from_url(url))
    if kind not in ("sentinel", "cluster"):
        raise ValueError(f"unknown scheme {scheme}+{kind}")
    credentials, at, tail = rest.rpartition("@")
    names, _, path = tail.partition("/")
    service, _, database = path.partition("/")
    hosts = [_host(text, 26379 if kind == "sentinel" else 6379) for text in names.split(",")]
    parsed = _pool_class.from_url(f"{scheme}://{credentials}{at}localhost/{database}")
    settings: dict[str, Any] = parsed.connection_kwargs
    if kind == "cluster":
        return ClusterDeployment(hosts, {**settings, "ssl": scheme == "rediss"})
    if not service:
        raise ValueError("the path of a Sentinel URL is /SERVICE/DATABASE")
    is_secure = issubclass(parsed.connection_class, redis.SSLConnection)
    connection_class = sentinel.SentinelManagedSSLConnection if is_secure else sentinel.SentinelManagedConnection
    return _of_sentinel(cast(Any, sentinel.Sentinel)(hosts, socket_timeout=1.0), service, settings, connection_class)


def _host(text: str, port: int) -> Host:
    parts = urlsplit(f"//{text}")
    return parts.hostname or "localhost", parts.port or port


def _of_server(pool: Any) -> Deployment:
    settings: dict[str, Any] = pool.connection_kwargs
    name = ":".join(str(settings.get(part)) for part in ("path", "host", "port", "db"))
    return Deployment(name, settings, _client_of(partial(_pool_class, connection_class=pool.connection_class)))


def _of_sentinel(manager: Any, service: str, settings: dict[str, Any], connection_class: Any) -> Deployment:
    pools = [each.connection_pool.connection_kwargs for each in manager.sentinels]
    sentinels = sorted(f"{pool.get('host')}:{pool.get('port')}" for pool in pools)
    name = f"{','.join(sentinels)}/{service}/{settings.get('db', 0)}"
    make_pool = partial(sentinel.SentinelConnectionPool, service, manager, connection_class=connection_class)
    return Deployment(name, _without(settings, "host", "port"), _client_of(make_pool))


def _client_of(make_pool: Callable[..., Any]) -> Callable[..., Any]:
    def make_client(**arguments: Any) -> Any:
        return redis.Redis(connection_pool=make_pool(**arguments))

    return make_client


def _without(settings: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in names}
