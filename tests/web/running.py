"""A `Service` on a real uvicorn, in a thread of this process."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import uvicorn

from rxllm import create_streaming_model
from rxllm.model import StreamingModel
from rxllm.testing import LLMServer
from rxllm.web import Service
from rxllm.web.asgi import asgi_app


class _Server(uvicorn.Server):
    """Says when it is ready."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@contextlib.contextmanager
def running(service: Service | None, *, app: object = None, drain: int = 1) -> Iterator[str]:
    """Serve, and give the address: "http://127.0.0.1:PORT"."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    config = uvicorn.Config(
        app or asgi_app(service, drain_seconds=0.1),  # type: ignore[arg-type]  # any ASGI application
        log_level="warning",
        timeout_graceful_shutdown=drain,
        ws="websockets-sansio",
    )
    server = _Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), name="uvicorn", daemon=True)
    thread.start()
    assert server.ready.wait(60)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def model_of(server: LLMServer) -> StreamingModel:
    """A model that asks the scripted server."""
    return create_streaming_model("openai-compatible", model="m", base_url=server.base_url(), max_retries=0)
