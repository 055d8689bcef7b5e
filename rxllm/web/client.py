"""The streams of a `Service` in another process as Observables here, over server-sent events.

They are cold and cancellable, with this package's events and errors, an assistant's events included. If a connection
breaks, a new one continues after the last event: nothing is lost or repeated, and no prompt is sent twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import cast
from urllib.parse import quote

import msgspec
from reactivex import Observable, abc, defer, throw, timer
from reactivex import operators as rx

from .._core.stream import Source, token_stream
from .._json import encode
from .._protocol import WireRequest, response_headers_listener
from .._transport.http import Transport
from ..assistant.events import AssistantEvent
from ..errors import APIConnectionError, StreamInterruptedError
from ..messages import Message, ReasoningPart, TextPart, ToolCall, VendorPart
from ..options import Timeout
from ..prompt import Prompt, messages_of
from .client_decoder import EventDecoder, Position

__all__ = ["ask", "watch"]

RECONNECTS = 5
"""How many connections in a row may break without a new event before the stream fails."""

_FIRST_DELAY = 0.1
_NO_LIMITS = Timeout(first_token=None, idle=None)  # the server has those, for its own provider


def ask(
    url: str,
    prompt: Prompt,
    *,
    model: str | None = None,
    options: Mapping[str, object] | None = None,
    token: str | None = None,
) -> Observable[AssistantEvent]:
    """Ask a service. Each subscription sends the prompt once; disposing stops the stream there too.

    Args:
        url: Where the service is, such as "http://host:8642".
        prompt: The conversation. Vendor fields of messages stay here: a service takes them from no client.
        model: The name of an offer. Default: the service's first.
        options: What a service lets its clients set ("temperature", "max_tokens" and so on).
        token: The token of the service.
    """
    body = {
        **(options or {}),
        "messages": list(map(_without_vendor_fields, messages_of(prompt))),
        **({} if model is None else {"model": model}),
    }
    server = _Server(url, token)
    return _subscribing(server, lambda: Position(None), encode(body), stops=True)


def watch(url: str, stream: str, *, after: int = 0, token: str | None = None) -> Observable[AssistantEvent]:
    """Watch a stream of a service. Disposing stops the watching, not the stream.

    Args:
        url: Where the service is.
        stream: The stream's id.
        after: The number of the event after which to begin; 0 is the beginning.
        token: The token of the service.
    """
    return _subscribing(_Server(url, token), lambda: Position(stream, after), b"", stops=False)


def broken(error: Exception, position: Position) -> bool:
    """Return whether the connection failed rather than the stream, so that reading can continue."""
    if position.stream is None or position.has_ended:
        return False
    return isinstance(error, APIConnectionError) or (isinstance(error, StreamInterruptedError) and error.transient)


def resumed(attempt: Callable[[], Observable[AssistantEvent]], position: Position) -> Observable[AssistantEvent]:
    """Return the events of `attempt`, called again whenever its connection breaks."""
    seen, failures = position.after, itertools.count()

    def again(error: Exception, _: object) -> Observable[AssistantEvent]:
        """Read on after a while if only the connection broke; a new event resets the count of attempts."""
        nonlocal seen, failures
        if position.after > seen:
            seen, failures = position.after, itertools.count()
        failed = next(failures)
        if not broken(error, position) or failed >= RECONNECTS:
            return throw(error)
        return timer(_FIRST_DELAY * 2**failed).pipe(rx.flat_map(lambda _: once()))

    def once() -> Observable[AssistantEvent]:
        return defer(lambda _: attempt()).pipe(rx.catch(again))

    return once()


class _Server:
    """The address and the headers of a service, and the connections to it."""

    def __init__(self, url: str, token: str | None) -> None:
        self._url = url.rstrip("/")
        self._headers = {"content-type": "application/json", "accept": "text/event-stream"}
        if token is not None:
            self._headers["authorization"] = f"Bearer {token}"
        self._transport = Transport()

    def read(self, position: Position, body: bytes) -> Observable[AssistantEvent]:
        """Return the answer to the prompt in `body`, or the rest of the stream if it has an id already."""
        if position.stream is None:
            return _with_headers(self._events("/api/chat", body, position), position)
        return self._events(_path(position.stream), encode({"after": position.after}), position)

    def stop(self, stream: str) -> None:
        """Ask the service to stop a stream, without waiting for it."""
        self._events(f"{_path(stream)}/stop", b"{}", Position(stream)).subscribe(_ignore, _ignore)

    def _events(self, path: str, body: bytes, position: Position) -> Observable[AssistantEvent]:
        """Return the events of the SSE response to a POST of `body`; each subscription sends it."""
        request = WireRequest(self._url + path, self._headers, body)
        source = Source(
            provider="rxllm",
            model="",
            request=lambda: request,
            decoder=lambda: EventDecoder(position),
            transport=self._transport,
            timeout=_NO_LIMITS,
        )
        return cast("Observable[AssistantEvent]", token_stream(source))


def _subscribing(
    server: _Server, begin: Callable[[], Position], body: bytes, *, stops: bool
) -> Observable[AssistantEvent]:
    """Return the stream that begins anew with each subscription; disposing it stops the server's stream if `stops`."""

    def read(_: abc.SchedulerBase) -> Observable[AssistantEvent]:
        """Return the stream, begun anew."""
        position = begin()

        def stop() -> None:
            if stops and position.stream is not None and not position.has_ended:
                server.stop(position.stream)

        return resumed(lambda: server.read(position, body), position).pipe(rx.finally_action(stop))

    return defer(read)


def _with_headers(source: Observable[AssistantEvent], position: Position) -> Observable[AssistantEvent]:
    """Return `source`; the headers of its response set the id in `position`."""

    def hear(headers: Mapping[str, str]) -> None:
        position.stream = headers.get("x-rxllm-stream")

    def subscribe(
        observer: abc.ObserverBase[AssistantEvent], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        """Subscribe while `hear` is the listener: the request is made there."""
        token = response_headers_listener.set(hear)
        try:
            return source.subscribe(observer, scheduler=scheduler)
        finally:
            response_headers_listener.reset(token)

    return Observable(subscribe)


def _path(stream: str) -> str:
    return f"/api/streams/{quote(stream, safe='')}"


def _without_vendor_fields(message: Message) -> Message:
    parts = tuple(
        msgspec.structs.replace(part, vendor=None) if isinstance(part, TextPart | ReasoningPart | ToolCall) else part
        for part in message.parts
        if not isinstance(part, VendorPart)
    )
    return Message(message.role, parts)


def _ignore(_: object) -> None:
    """Ignore how a request to stop ends."""
