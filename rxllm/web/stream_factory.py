"""Makes the stream that answers a request, and finds streams again; what all APIs of the server share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence

from ..errors import ConfigurationError, NotFoundError
from ..messages import Message, Role, ToolCall
from ..model import StreamingModel
from ..options import CallOptions
from .approvals import ApprovalIds, Approvals, Seal
from .chat_request import ROLES, ChatRequest, Offer, answer_of, check_conversation, offered
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
        self.approval_ids = ApprovalIds(streams.secret)
        self.seal = Seal(streams.secret)
        self._roles = frozenset(roles)

    def start(
        self,
        http: HttpRequest,
        model: str | None,
        messages: Sequence[Message],
        options: CallOptions,
        *,
        linger: float = 0.0,
        extra: Mapping[str, object] | None = None,
        refuse_extra: bool = False,
        approvals: Approvals | None = None,
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

        Raises:
            LLMError: The conversation or the options are refused, or there are too many streams.
        """
        said = check_conversation(messages, roles=self._roles)
        name, offer = offered(self.offers, model)
        if refuse_extra and extra and isinstance(offer, StreamingModel):
            raise ConfigurationError(f"unknown parameters: {', '.join(sorted(extra))}")
        questions = approvals or Approvals()
        request = ChatRequest(name, said, options, questions, http.user or None, http.headers, extra or {})
        return self.open(offer, request, http, linger=linger)

    def open(
        self,
        offer: Offer,
        request: ChatRequest,
        http: HttpRequest,
        *,
        linger: float,
        on_admitted: Callable[[], object] | None = None,
    ) -> ServedStream[object]:
        """Start the stream with which `offer` answers a request that has been checked; see `Streams.open`."""
        return self.streams.open(
            answer_of(offer, request),
            client=http.account,
            user=http.user,
            linger=linger,
            approvals=request.approvals,
            on_admitted=on_admitted,
        )

    def checked(self, messages: Sequence[Message], issued: Sequence[ToolCall]) -> tuple[Message, ...]:
        """Return a conversation of `useChat`; only its parts that this server has signed may have vendor fields."""
        return check_conversation(messages, roles=self._roles, issued=issued, vendor_fields=True)

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
