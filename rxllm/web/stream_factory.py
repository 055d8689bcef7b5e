"""Where prompts are taken and streams are handed out: what all the ways to ask have in common."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import ConfigurationError, NotFoundError
from .approvals import ApprovalIds
from .request_parsing import ChatRequest, Offer, answer_of, conversation, offered, options_of
from .served_stream import ServedStream
from .streams import Streams


class StreamFactory:
    """The models on offer, and the streams that answer.

    `linger` is how many seconds a stream that may be resumed lives without a watcher.
    """

    def __init__(self, offers: Mapping[str, Offer], streams: Streams[object], linger: float) -> None:
        if not offers:
            raise ConfigurationError("a service offers at least one model")
        self.offers = dict(offers)
        self.streams = streams
        self.linger = linger
        self.approval_ids = ApprovalIds(streams.secret)

    def ask(self, model: object, body: Mapping[str, object], client: str, *, linger: float) -> ServedStream[object]:
        """The stream that answers the conversation and options in `body`, begun.

        Raises an `LLMError` where it cannot be asked, or is one too many.
        """
        name, offer = offered(self.offers, model)
        return self.start(offer, ChatRequest(name, conversation(body), options_of(body)), client, linger=linger)

    def start(self, offer: Offer, request: ChatRequest, client: str, *, linger: float) -> ServedStream[object]:
        """The stream with which `offer` answers `request`, begun."""
        answer = answer_of(offer, request)
        return self.streams.open(answer, client=client, linger=linger, approvals=request.approvals)

    def stream(self, id: str) -> ServedStream[object]:  # noqa: A002 - the field's name
        """The stream of this id; raises `NotFoundError` where there is none."""
        found = self.streams.get(id)
        if found is None:
            raise NotFoundError("there is no such stream, or no more", status_code=404)
        return found
