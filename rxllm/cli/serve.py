"""`rxllm serve`: a small server with the chat page and all of the service's endpoints, on uvicorn."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import secrets
import socket
import sys
from collections.abc import Sequence

import uvicorn

from ..errors import ConfigurationError
from ..model import StreamingModel, create_streaming_model
from ..providers.catalog import split_model
from ..providers.local import LocalServer
from ..web.asgi import asgi_app
from ..web.guard import LOOPBACK_NAMES, Guard
from ..web.service import Service
from ..web.streams import Streams
from .availability import choose

PORT = 8642


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until interrupted; returns the exit status. Raises `LLMError` where no model can be had."""
    parser = argparse.ArgumentParser(prog="rxllm serve", description="Serve a chat page and the APIs behind it.")
    add_arguments(parser)
    return run(parser.parse_args(argv))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="PROVIDER[:NAME]",
        help="a model to offer, the default first; may be given more than once (by default what is ready here)",
    )
    parser.add_argument("--base-url", help="the address of the provider, where it is not its own")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at (default: this machine only)")
    parser.add_argument("--port", type=int, default=PORT, help=f"default {PORT}; 0 takes a free one")
    parser.add_argument("--token", help="what clients must know; made up where others than this machine can connect")
    parser.add_argument("--origin", action="append", default=[], help="another page that may use the server")
    parser.add_argument(
        "--redis", metavar="URL", help="a Redis through which several servers find each other's streams"
    )
    parser.add_argument("--max-streams", type=int, default=256, help="streams at once (default 256)")
    parser.add_argument("--linger", type=float, default=30.0, help="seconds that a stream waits for its page to return")
    parser.add_argument("--drain", type=float, default=10.0, help="seconds that streams have to end at shutdown")


def run(arguments: argparse.Namespace) -> int:
    """Serve as the arguments say."""
    models = _models(arguments.model, arguments.base_url)
    streams = _streams(arguments.redis, arguments.max_streams)
    try:
        listener = socket.create_server((arguments.host, arguments.port))
    except OSError as error:
        raise ConfigurationError(f"cannot listen at {arguments.host}:{arguments.port}: {error.strerror}") from error
    host, port = listener.getsockname()[:2]
    is_open = host not in LOOPBACK_NAMES
    token = arguments.token or (secrets.token_urlsafe(16) if is_open else None)
    guard = Guard(origins=frozenset(arguments.origin), hosts=frozenset("*") if token else LOOPBACK_NAMES, token=token)
    service = Service(models, guard=guard, streams=streams, linger=arguments.linger)
    config = uvicorn.Config(
        asgi_app(service, drain_seconds=0.0),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(arguments.drain) + 2,  # by then, we have ended all
        ws_max_size=16 * 1024 * 1024,
    )
    shown = "localhost" if host in ("0.0.0.0", "::") else host  # noqa: S104 - a comparison
    secret = f"#token={token}" if token else ""
    sys.stderr.write(f"rxllm: {', '.join(models)} at http://{shown}:{port}/{secret}\n")
    with contextlib.suppress(KeyboardInterrupt):  # which uvicorn passes on when all is done
        _Server(config, service, arguments.drain).run(sockets=[listener])
    return 0


class _Server(uvicorn.Server):
    """Lets streams end while the connections that carry them are still there."""

    def __init__(self, config: uvicorn.Config, service: Service, drain_seconds: float) -> None:
        super().__init__(config)
        self._service = service
        self._drain_seconds = drain_seconds

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more, give what is under way its time, and end the rest."""
        draining = asyncio.create_task(asyncio.to_thread(self._service.close, self._drain_seconds))
        await super().shutdown(sockets)
        await draining


def _streams(redis: str | None, limit: int) -> Streams[object]:
    if redis is None:
        return Streams(limit=limit)
    try:
        from ..web.multiprocess.streams import RelayedStreams
    except ImportError as missing:
        raise ConfigurationError(str(missing)) from missing
    return RelayedStreams(redis, limit=limit)


def _models(names: Sequence[str], base_url: str | None) -> dict[str, StreamingModel]:
    """The models to offer, by the names that clients will see."""
    models: dict[str, StreamingModel] = {}
    for provider, name in map(split_model, names) if names else _ready():
        model = create_streaming_model(provider, model=name, base_url=base_url)
        models[f"{provider}:{model.model}"] = model
    return models


def _ready() -> list[tuple[str, str | None]]:
    """What can be used here and now: the one that `rxllm` would ask, and the embedded model."""
    found = [choose()]
    if found[0][0] != "local":
        try:
            LocalServer().check()
        except ConfigurationError:
            return found
        found.append(("local", None))
    return found
