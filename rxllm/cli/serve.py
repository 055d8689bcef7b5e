"""`rxllm serve`: a small server with the chat page and all of the service's endpoints, on uvicorn."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import cast

import uvicorn

from .._runtime.platform import raise_file_limit
from ..errors import ConfigurationError
from ..model import StreamingModel, create_streaming_model
from ..providers.vendors import split_model, vendor_named
from ..web.asgi import asgi_app
from ..web.guard import LOOPBACK_NAMES, Guard
from ..web.model_service import Service
from ..web.stream_registry import Streams
from .availability import choose, is_ready

PORT = 8642

_MAX_FILES = 65_536
"""The number of open files that is asked of the system; half of them are for connections."""

HEADER_SECONDS = 20.0
"""Seconds in which a new connection must have sent the head of a request."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    parser.add_argument(
        "-m",
        "--model",
        action="append",
        default=[],
        metavar="PROVIDER[:NAME]",
        help="a model to offer, the default first; may be given more than once (by default what is ready here)",
    )
    parser.add_argument("--base-url", help="the address of the provider, if it is not the vendor's own")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at (default: this machine only)")
    parser.add_argument("--port", type=int, default=PORT, help=f"default {PORT}; 0 takes a free one")
    parser.add_argument("--token", help="what clients must send; made up if other machines can connect")
    parser.add_argument("--origin", action="append", default=[], help="another page that may use the server")
    parser.add_argument(
        "--host-name", action="append", default=[], help="a further name of this server, such as a proxy's"
    )
    parser.add_argument(
        "--proxy", action="append", default=[], metavar="ADDRESS", help="a proxy whose X-Forwarded-For is believed"
    )
    parser.add_argument(
        "--redis", metavar="URL", help="a Redis through which several servers find each other's streams"
    )
    limits = (
        ("--max-frames", 200_000, "entries of one stream in Redis, about"),
        ("--max-streams", 256, "streams at once"),
        ("--per-client", 32, "streams at once for one client"),
    )
    for name, default, meaning in limits:
        parser.add_argument(name, type=_at_least(1, int), default=default, help=f"{meaning} (default {default})")
    parser.add_argument(
        "--linger", type=_at_least(0, float), default=30.0, help="seconds that a stream waits for its page to return"
    )
    parser.add_argument(
        "--drain", type=_at_least(0, float), default=10.0, help="seconds that streams have to end at shutdown"
    )


def _at_least(least: int, kind: type[int] | type[float]) -> Callable[[str], float]:
    """Return a type for argparse: numbers of this kind, not below `least`."""

    def number(text: str) -> float:
        if not (value := kind(text)) >= least:
            raise argparse.ArgumentTypeError(f"takes {least} or more; got {text}")
        return value

    return number


def run(arguments: argparse.Namespace) -> int:
    """Serve as the parsed arguments say; return the exit status."""
    models = _models(arguments.model, arguments.base_url)
    streams = _streams(arguments.redis, arguments.max_streams, arguments.per_client, arguments.max_frames)
    listener = _listener(arguments.host, arguments.port)
    host, port = listener.getsockname()[:2]
    token = arguments.token or (None if host in LOOPBACK_NAMES else secrets.token_urlsafe(16))
    guard = Guard(
        origins=frozenset(arguments.origin),
        hosts=frozenset("*") if token else LOOPBACK_NAMES | set(arguments.host_name),
        token=token,
        proxies=frozenset(arguments.proxy),
    )
    service = Service(models, guard=guard, streams=streams, linger=arguments.linger)
    config = uvicorn.Config(
        asgi_app(service, drain_seconds=arguments.drain),
        http=_bounded_protocol(),
        log_level="error",  # warnings are for each request that is not HTTP
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the guard reads them, from the proxies that it knows
        timeout_graceful_shutdown=2,  # after the streams have ended
        ws_max_size=16 * 1024 * 1024,
    )
    secret = f"#token={token}" if token else ""
    sys.stderr.write(f"rxllm: {', '.join(models)} at http://{_shown(host)}:{port}/{secret}\n")
    with contextlib.suppress(KeyboardInterrupt):  # which uvicorn passes on when it has ended
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def _listener(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:  # OverflowError: there is no such port
        raise ConfigurationError(f"cannot listen at {host}:{port}: {getattr(error, 'strerror', error)}") from error


def _shown(host: str) -> str:
    """Return the name under which a browser on another machine finds the server."""
    if host in ("0.0.0.0", "::"):  # noqa: S104 - a comparison
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))  # sends nothing: it only chooses the interface
                host = str(probe.getsockname()[0])
            except OSError:
                host = "localhost"
    return f"[{host}]" if ":" in host else host


def _bounded_protocol() -> type[asyncio.Protocol]:
    """Return uvicorn's HTTP protocol with bounds for connections that send no request, and for their number."""
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    most = max(16, raise_file_limit(_MAX_FILES) // 2)  # room for other files

    class BoundedProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # one of two classes
        _open = 0  # connections, of all instances
        _is_closing = False

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self._timer = asyncio.get_running_loop().call_later(HEADER_SECONDS, self._expire, transport)
            BoundedProtocol._open += 1
            super().connection_made(cast(asyncio.Transport, transport))
            if BoundedProtocol._open > most:
                cast(asyncio.Transport, transport).abort()

        def connection_lost(self, exc: Exception | None) -> None:
            BoundedProtocol._open -= 1
            self._timer.cancel()
            super().connection_lost(exc)

        def _expire(self, transport: asyncio.BaseTransport) -> None:
            """Abort a connection without a request, or that was closing a period ago and still has data to send."""
            if getattr(self, "cycle", None) is None or self._is_closing:  # `cycle` is uvicorn's: the latest request
                cast(asyncio.Transport, transport).abort()
                return
            self._is_closing = transport.is_closing()
            self._timer = asyncio.get_running_loop().call_later(HEADER_SECONDS, self._expire, transport)

    return BoundedProtocol


def _streams(redis: str | None, limit: int, per_client: int, max_frames: int) -> Streams:
    """Return the registry of streams, in this process or shared through Redis, where `max_frames` limits each."""
    if redis is None:
        return Streams(limit=limit, per_client=per_client)
    try:
        from ..web.multiprocess.relayed_streams import RelayedStreams

        return RelayedStreams(redis, limit=limit, per_client=per_client, max_frames=max_frames)
    except (ImportError, ValueError) as error:  # no package, or a wrong address or number
        raise ConfigurationError(str(error)) from error


def _models(names: Sequence[str], base_url: str | None) -> dict[str, StreamingModel]:
    """Return the models to offer, by the names that clients use."""
    models: dict[str, StreamingModel] = {}
    for provider, name in map(split_model, names) if names else _ready():
        model = create_streaming_model(provider, model=name, base_url=base_url)
        models[f"{provider}:{model.model}"] = model
    return models


def _ready() -> Iterable[tuple[str, str | None]]:
    """Return what is ready here: the model that `rxllm` would ask, and the embedded one."""
    found = [choose()]
    if is_ready(vendor_named("local")):
        found.append(("local", None))
    return dict.fromkeys(found)
