"""Makes the stream that answers a request, and finds streams again; what all APIs of the server share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import cast

from reactivex import Observable

from ..errors import ConfigurationError, NotFoundError
from ..messages import Message, Role, ToolCall
from ..model import StreamingModel
from ..options import CallOptions
from .approvals import Approvals
from .chat_request import ROLES, ChatRequest, Offer, check_conversation
from .http import HttpRequest
from .served_stream import ServedStream
from .streams import Streams


class StreamFactory:
    """The models on offer, and the streams that answer.

    Args:
        offers: Models, or functions from a `ChatRequest` to a stream, by the names that clients use.
        streams: Where streams are kept.
        linger: Seconds that a stream that can be resumed lives without a watcher.
        roles: The roles that messages of clients may have.
    """

    def __init__(
        self,
        offers: Mapping[str, Offer],
        streams: Streams[object],
        linger: float = 30.0,
        roles: Collection[Role] = ROLES,
    ) -> None:
        if not offers:
            raise ConfigurationError("a service offers at least one model")
        self.offers = dict(offers)
        self.streams = streams
        self.linger = linger
        self._roles = frozenset(roles)

    def start(
        self,
        http: HttpRequest,
        model: str | None,
        messages: Sequence[Message],
        options: CallOptions,
        *,
        linger: float = 0.0,
        extra: Mapping[str, object],
        refuse_extra: bool = False,
        approvals: Approvals | None = None,
        issued: Sequence[ToolCall] | None = None,
        on_admitted: Callable[[], object] = lambda: None,
    ) -> ServedStream[object]:
        """Check a client's conversation and start the stream that answers it.

        Args:
            http: The request, with its user.
            model: The name of an offer; None for the first.
            messages: The conversation, as the client sent it.
            options: The options that the client set, checked.
            linger: Seconds that the stream lives without a watcher.
            extra: Fields of the request's body without a meaning here: for functions on offer.
            refuse_extra: Whether a model, which cannot use them, refuses `extra`.
            approvals: The stream's questions. Default: those that its client can answer.
            issued: The tool calls that this server issued and that have no results yet. With it, even if empty, the
                vendor fields in `messages` are this server's own too.
            on_admitted: Called once there is room for the stream, before it starts.

        Raises:
            LLMError: The conversation or the options are refused, or there are too many streams.
        """
        name = self.offered(model)
        offer = self.offers[name]
        said = check_conversation(messages, roles=self._roles, issued=issued or (), vendor_fields=issued is not None)
        if refuse_extra and extra and isinstance(offer, StreamingModel):
            raise ConfigurationError(f"unknown parameters: {', '.join(sorted(extra))}")
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

    def stream(self, http: HttpRequest, id: str) -> ServedStream[object]:  # noqa: A002 - the field's name
        """Return this user's stream with this id; raises `NotFoundError` (404)."""
        found = self.streams.get(id, http.user)
        if found is None:
            raise NotFoundError("there is no such stream, or it is no longer kept", status_code=404)
        return found

    def approve(self, stream: ServedStream[object], call_id: str, approved: bool, reason: str) -> None:
        """Answer a stream's question, once; raises `LLMError` if it was not asked, or has its answer."""
        if not stream.may_ask(call_id):
            raise NotFoundError(f"no tool call {call_id!r} waits for approval", status_code=404)
        with contextlib.suppress(NotFoundError):  # it was asked, so it has its answer
            if self.streams.close_questions(stream.id, [call_id], "approved" if approved else "denied"):
                stream.approve(call_id, approved, reason)
                return
        raise ConfigurationError(f"the tool call {call_id!r} has been approved or denied already")
