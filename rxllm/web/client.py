"""The streams of a `Service` in another process as Observables here, over server-sent events.

They are cold and cancellable, with this package's events and errors, an assistant's events included. If a connection
breaks, a new one continues after the last event: nothing is lost or repeated, and no prompt is sent twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast
from urllib.parse import quote

import msgspec
from reactivex import Observable, abc, throw, timer
from reactivex import operators as rx

from .._core.awaitable import AwaitableObservable
from .._core.read_loop import Source, token_stream
from .._json import encode, int_at, object_in
from .._protocol import Frame, WireRequest, response_headers_listener
from .._transport.http import Transport
from ..assistant.events import AssistantEvent, assistant_event_from_json
from ..errors import APIConnectionError, ProtocolError, StreamInterruptedError
from ..events import Response, StreamEnd, TokenEvent
from ..messages import Message, ReasoningPart, TextPart, ToolCall, VendorPart
from ..operators._response_builder import ResponseBuilder
from ..options import Timeout
from ..prompt import Prompt, messages_of
from .formats.json_lines import error_at_end

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
    return _stream(_Server(url, token), _Reading, encode(body), stops=True)


def watch(url: str, stream: str, *, after: int = 0, token: str | None = None) -> Observable[AssistantEvent]:
    """Watch a stream of a service. Disposing stops the watching, not the stream.

    Args:
        url: Where the service is.
        stream: The stream's id.
        after: The number of the event after which to begin; 0 is the beginning.
        token: The token of the service.
    """
    return _stream(_Server(url, token), lambda: _Reading(stream, after), b"", stops=False)


class _Reading:
    """How far a stream has been read, over any number of connections: the `Decoder` of each.

    Args:
        stream: The stream's id; None until the service has given it one.
        after: The number of the last event seen; 0 for none.
    """

    def __init__(self, stream: str | None = None, after: int = 0) -> None:
        self.stream = stream
        self.after = after
        self.finished = False
        """Whether the stream has ended, also with an error: then nothing is to be resumed."""
        self.failures = 0
        """How many connections have broken since the last event."""
        self._answer = ResponseBuilder()

    def hear(self, headers: Mapping[str, str]) -> None:
        """Read the stream's id from the headers of a response."""
        self.stream = headers.get("x-rxllm-stream", self.stream)

    def feed(self, frame: Frame, /) -> Sequence[TokenEvent]:
        """Return the event of one frame; raise the `LLMError` that the stream ended with."""
        if self.finished:
            return ()
        line = object_in(frame.data)
        if line is None:
            raise ProtocolError("the server sent a line that is not a JSON object")
        kind = line.get("type")
        if kind in ("end", "stopped", "error"):
            self.finished = True
            raise error_at_end(line)
        try:
            event = assistant_event_from_json(frame.data)
        except ValueError as error:
            raise ProtocolError(f"the server sent an event that this version does not know: {kind!r}") from error
        self.after = int_at(line, "seq") or self.after
        self.failures = 0
        self.finished = isinstance(event, StreamEnd)
        self._answer.add(cast(TokenEvent, event))
        return (cast(TokenEvent, event),)  # an assistant's events too: `token_stream` passes them on unseen

    def close(self) -> Sequence[TokenEvent]:
        """Raise `StreamInterruptedError` if the connection ended before the stream."""
        if self.finished:
            return ()
        raise StreamInterruptedError("the connection ended before the stream did")

    def partial(self) -> Response:
        """Return the answer so far."""
        return self._answer.response()

    def is_to_be_resumed(self, error: Exception) -> bool:
        """Return whether only the connection failed, not the stream, and not too often."""
        if self.stream is None or self.finished or self.failures >= RECONNECTS:
            return False
        return isinstance(error, APIConnectionError) or (isinstance(error, StreamInterruptedError) and error.transient)


class _Server:
    """The address and the headers of a service, and the connections to it."""

    def __init__(self, url: str, token: str | None) -> None:
        self._url = url.rstrip("/")
        self._headers = {"content-type": "application/json", "accept": "text/event-stream"}
        if token is not None:
            self._headers["authorization"] = f"Bearer {token}"
        self._transport = Transport()

    def read(self, reading: _Reading, prompt: bytes) -> Observable[AssistantEvent]:
        """Return the answer to `prompt`, or the rest of the stream if it has an id already."""
        if reading.stream is None:
            return self._events("/api/chat", prompt, reading)
        return self._events(f"{_path(reading.stream)}?after={reading.after}", b"{}", reading)

    def stop(self, stream: str) -> None:
        """Ask the service to stop a stream, without waiting for it."""
        self._events(f"{_path(stream)}/stop", b"{}", _Reading(stream)).subscribe(on_error=lambda _: None)

    def _events(self, path: str, body: bytes, reading: _Reading) -> Observable[AssistantEvent]:
        """Return the events of the SSE response to a POST of `body`; each subscription sends one.

        `reading` decodes them and takes the stream's id from the headers, so that a new connection can continue.
        """

        def request() -> WireRequest:
            response_headers_listener.set(reading.hear)  # no other stream sees it: this runs in a copy of the context
            return WireRequest(self._url + path, self._headers, body)

        source = Source(
            provider="rxllm",
            model="",
            request=request,
            decoder=lambda: reading,
            transport=self._transport,
            timeout=_NO_LIMITS,
        )
        return cast("Observable[AssistantEvent]", token_stream(source))


def _stream(
    server: _Server, begin: Callable[[], _Reading], prompt: bytes, *, stops: bool
) -> Observable[AssistantEvent]:
    """Return the stream that begins anew with each subscription; disposing it stops the server's stream if `stops`."""

    def subscribe(
        observer: abc.ObserverBase[AssistantEvent], scheduler: abc.SchedulerBase | None
    ) -> abc.DisposableBase:
        """Begin a reading that goes on with a new connection, after a delay, whenever one breaks."""
        reading = begin()

        def read(_: object = None) -> Observable[AssistantEvent]:
            return server.read(reading, prompt).pipe(rx.catch(read_on))

        def read_on(error: Exception, _: object) -> Observable[AssistantEvent]:
            if not reading.is_to_be_resumed(error):
                return throw(error)
            delay = _FIRST_DELAY * 2**reading.failures
            reading.failures += 1
            return timer(delay).pipe(rx.flat_map(read))

        def stop() -> None:
            if stops and reading.stream is not None and not reading.finished:
                server.stop(reading.stream)

        return read().pipe(rx.finally_action(stop)).subscribe(observer, scheduler=scheduler)

    return AwaitableObservable(subscribe)


def _path(stream: str) -> str:
    return f"/api/streams/{quote(stream, safe='')}"


def _without_vendor_fields(message: Message) -> Message:
    parts = tuple(
        msgspec.structs.replace(part, vendor=None) if isinstance(part, TextPart | ReasoningPart | ToolCall) else part
        for part in message.parts
        if not isinstance(part, VendorPart)
    )
    return Message(message.role, parts)
