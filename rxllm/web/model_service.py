"""One server's models, users and streams: who may ask, what answers, and how streams are found again.

HTTP requests reach it through `routes`, from the servers in `asgi` and `wsgi`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias, TypeVar, cast

from reactivex import Observable

from .._arguments import check_type
from ..errors import AuthenticationError, ConfigurationError, NotFoundError
from ..messages import Message, Role, ToolCall
from ..model import StreamingModel
from ..options import CallOptions
from .approvals import Approvals
from .chat_request import ROLES, ChatRequest, Offer, check_conversation
from .guard import Guard
from .http import HttpRequest, checked_keep_alive
from .served_stream import ServedStream
from .stream_registry import Streams

T = TypeVar("T")

Authenticate: TypeAlias = Callable[[HttpRequest], str | None]


class Service:
    """The models (or functions from a `ChatRequest` to a stream) on offer. Thread-safe.

    Args:
        offers: Models or functions by the names that clients use; the first is the default.
        guard: Who may use the server. Default: this machine.
        authenticate: Returns the user who asks, from a request whose body has not been read yet; None refuses it
            (401). It may block. Streams, chats and approvals belong to their user. Default: all clients are one user.
        streams: The streams and their limits.
        linger: Seconds that a stream that can be resumed lives without a watcher. Default: 30.
        keep_alive: Seconds without data on a connection after which a keep-alive is sent. Default: 15.
        client_roles: The roles that messages of clients may have. Leave out "system" to keep that word to yourself.
    """

    def __init__(
        self,
        offers: Mapping[str, Offer],
        *,
        guard: Guard | None = None,
        authenticate: Authenticate | None = None,
        streams: Streams | None = None,
        linger: float = 30.0,
        keep_alive: float = 15.0,
        client_roles: Collection[Role] = ROLES,
    ) -> None:
        check_type("Service(offers=...)", offers, Mapping)
        if not offers:
            raise ConfigurationError("a service offers at least one model")
        for name, offer in offers.items():
            if not callable(offer):
                check_type(f"the offer {name!r}, if it is not a function,", offer, StreamingModel)
        self.offers = dict(offers)
        self.guard = guard or Guard()
        self.streams = Streams() if streams is None else streams
        self.linger = linger
        self.keep_alive = checked_keep_alive(keep_alive)
        self.authenticates = authenticate is not None
        """Whether `admit` may block."""
        self._authenticate = authenticate
        self._roles = frozenset(client_roles)

    def admit(self, request: HttpRequest, *, query_token: str = "") -> HttpRequest:
        """Return a request with its client and its user; its body need not have been read.

        Args:
            request: The request.
            query_token: The token in the address of a WebSocket.

        Raises:
            LLMError: The request is refused.
        """
        is_api = request.path.startswith(("/api/", "/v1/")) and request.method != "OPTIONS"
        self.guard.check(request.headers, query_token, public=not is_api)
        request = replace(request, client=self.guard.client_of(request.headers, request.client))
        if self._authenticate is None or not is_api:
            return request
        user = self._authenticate(request)
        if not user:
            raise AuthenticationError("not authenticated", status_code=401)
        return replace(request, user=user)

    def start(
        self,
        http: HttpRequest,
        model: str | None,
        messages: Sequence[Message],
        options: CallOptions,
        *,
        linger: float = 0.0,
        extra: Mapping[str, object],
        approvals: Approvals | None = None,
        issued: Sequence[ToolCall] | None = None,
        on_admitted: Callable[[], object] = lambda: None,
    ) -> ServedStream:
        """Check a client's conversation and start the stream that answers it.

        Args:
            http: The request, with its user.
            model: The name of an offer; None for the first.
            messages: The conversation, as the client sent it.
            options: The options that the client set, checked.
            linger: Seconds that the stream lives without a watcher.
            extra: Fields of the request's body without a meaning here: for functions on offer.
            approvals: The stream's questions. Default: those that its client can answer.
            issued: The tool calls that this server issued and that have no results yet; () if there are none, but the
                caller has checked that the vendor fields in `messages` are this server's own. None: nothing is checked.
            on_admitted: Called once there is room for the stream, before it starts: for what must happen only if
                there is an answer, such as to use an approval up. What it raises, `start` raises.

        Raises:
            LLMError: The conversation or the options are refused, or there are too many streams.
        """
        name = self.offered(model)
        offer = self.offers[name]
        said = check_conversation(messages, roles=self._roles, issued=issued)
        request = ChatRequest(name, said, options, approvals or Approvals(), http.user or None, http.headers, extra)
        if isinstance(offer, StreamingModel):
            answer = cast("Observable[object]", offer.stream(said, **options))
        else:
            answer = offer(request)
        return self.streams.open(
            answer,
            client=http.account,
            user=http.user,
            linger=linger,
            approvals=request.approvals,
            on_admitted=on_admitted,
        )

    def offered(self, name: str | None) -> str:
        """Return the name of an offer; without one, that of the first. Raises `NotFoundError` (404)."""
        wanted = name or next(iter(self.offers))
        if wanted in self.offers:
            return wanted
        names = ", ".join(self.offers)
        raise NotFoundError(f"this server offers no model {wanted!r}; it offers {names}", model=wanted, status_code=404)

    def stream(self, http: HttpRequest, id: str) -> ServedStream:  # noqa: A002 - the field's name
        """Return this user's stream with this id; raises `NotFoundError` (404)."""
        found = self.streams.get(id, http.user)
        if found is None:
            raise NotFoundError("there is no such stream, or it is no longer kept", status_code=404)
        return found

    def approve(self, stream: ServedStream, call_id: str, approved: bool, reason: str) -> None:
        """Answer a stream's question, once; raises `LLMError` if it was not asked, or has its answer."""
        if not stream.may_ask(call_id):
            raise NotFoundError(f"no tool call {call_id!r} waits for approval", status_code=404)
        with contextlib.suppress(NotFoundError):  # it was asked, so it has its answer
            if self.streams.close_questions(stream.id, [call_id], "approved" if approved else "denied"):
                stream.approve(call_id, approved, reason)
                return
        raise ConfigurationError(f"the tool call {call_id!r} has been approved or denied already")

    def publish(self, source: Observable[T], *, user: str | None = None, linger: float | None = None) -> ServedStream:
        """Start a stream of the application's own for any number of watchers.

        Args:
            source: The stream.
            user: Who may watch and stop it. Default: every client that knows its id.
            linger: Seconds that it lives after the last watcher has left. Default: the service's.
        """
        wait = self.linger if linger is None else linger
        return self.streams.open(cast("Observable[object]", source), user=user, linger=wait)

    def close(self, seconds: float = 10.0) -> None:
        """Start no more streams, wait up to `seconds` for those under way, and dispose the rest. Blocks."""
        self.streams.drain(seconds)
