"""The streams of a `Service` in another process as Observables here: over server-sent events.

They are as other streams are: cold, cancellable, with this package's events and errors; an
assistant's events come too. A connection that breaks is made anew, and goes on after the last
event that was seen: nothing is lost, nothing repeated, nothing asked twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import cast
from urllib.parse import quote

from reactivex import Observable, abc, defer, throw, timer
from reactivex import operators as rx
from reactivex.disposable import CompositeDisposable, Disposable

from .._core.stream import Source, token_stream
from .._json import encode
from .._protocol import WireRequest, response_headers_listener
from .._transport.http import Transport
from ..assistant.events import AssistantEvent
from ..errors import APIConnectionError, StreamInterruptedError
from ..options import Timeout
from ..prompt import Prompt, messages_of
from .client_decoder import EventDecoder, Position

RECONNECTS = 5
"""How often in a row a broken connection is made anew without anything coming of it."""

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
    """Ask the service at `url` ("http://host:8642"); each subscription is a prompt of its own.

    `options` are those that a service lets its clients set ("temperature", "max_tokens", ...).
    Disposing stops the stream there too.
    """
    body = {**(options or {}), "messages": messages_of(prompt), **({} if model is None else {"model": model})}
    server = _Server(url, token)
    return _subscribing(server, lambda: Position(None), encode(body), stops=True)


def watch(url: str, stream: str, *, after: int = 0, token: str | None = None) -> Observable[AssistantEvent]:
    """The stream with this id, from after the event `after`. Disposing stops the watching, not the stream."""
    return _subscribing(_Server(url, token), lambda: Position(stream, after), b"", stops=False)


def broken(error: Exception, position: Position) -> bool:
    """Whether the connection failed, rather than the stream: then it can be gone on with."""
    if position.stream is None or position.has_ended:
        return False
    return isinstance(error, APIConnectionError) or (isinstance(error, StreamInterruptedError) and error.transient)


def resumed(attempt: Callable[[], Observable[AssistantEvent]], position: Position) -> Observable[AssistantEvent]:
    """What `attempt` gives, and where its connection breaks, what it gives then."""
    seen, failures = position.after, itertools.count()

    def again(error: Exception, _: object) -> Observable[AssistantEvent]:
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
    """Where to ask, and with what headers. Connections are kept for as long as it is used."""

    def __init__(self, url: str, token: str | None) -> None:
        self._url = url.rstrip("/")
        self._headers = {"content-type": "application/json", "accept": "text/event-stream"}
        if token is not None:
            self._headers["authorization"] = f"Bearer {token}"
        self._transport = Transport()

    def read(self, position: Position, body: bytes) -> Observable[AssistantEvent]:
        """The prompt in `body`, or the rest of the stream where that is known already."""
        if position.stream is None:
            return _with_headers(self._events("/api/chat", body, position), position)
        return self._events(_path(position.stream), encode({"after": position.after}), position)

    def stop(self, stream: str) -> None:
        """Have a stream stopped, without waiting for it."""
        self._events(f"{_path(stream)}/stop", b"{}", Position(stream)).subscribe(_ignore, _ignore)

    def _events(self, path: str, body: bytes, position: Position) -> Observable[AssistantEvent]:
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
    def subscribe(
        observer: abc.ObserverBase[AssistantEvent], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        position = begin()

        def stop() -> None:
            if stops and position.stream is not None and not position.has_ended:
                server.stop(position.stream)

        events = resumed(lambda: server.read(position, body), position)
        return CompositeDisposable(events.subscribe(observer, scheduler=scheduler), Disposable(stop))

    return Observable(subscribe)


def _with_headers(source: Observable[AssistantEvent], position: Position) -> Observable[AssistantEvent]:
    """`source`, whose answer's headers say which stream it is."""

    def hear(headers: Mapping[str, str]) -> None:
        position.stream = headers.get("x-rxllm-stream")

    def subscribe(
        observer: abc.ObserverBase[AssistantEvent], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        token = response_headers_listener.set(hear)
        try:
            return source.subscribe(observer, scheduler=scheduler)
        finally:
            response_headers_listener.reset(token)

    return Observable(subscribe)


def _path(stream: str) -> str:
    return f"/api/streams/{quote(stream, safe='')}"


def _ignore(_: object) -> None:
    """It has ended, or will."""
