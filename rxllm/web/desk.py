"""Where prompts are taken and streams are handed out: what all the ways to ask have in common."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping

from ..errors import ConfigurationError
from .approvals import Approvals
from .asked import ChatRequest, Offer, answer_of, conversation, offered, options_of
from .live import LiveStream
from .streams import Streams

_CHATS = 10_000


class Desk:
    """The models on offer, the streams that answer, and the questions that those streams have.

    `linger` is how many seconds a stream that may be resumed lives without a watcher.
    """

    def __init__(self, offers: Mapping[str, Offer], streams: Streams[object], linger: float) -> None:
        if not offers:
            raise ConfigurationError("a service offers at least one model")
        self.offers = dict(offers)
        self.streams = streams
        self.linger = linger
        self._lock = threading.Lock()
        self._approvals: dict[str, Approvals] = {}
        self._chats: OrderedDict[str, str] = OrderedDict()

    def ask(self, model: object, body: Mapping[str, object], client: str, *, linger: float) -> LiveStream[object]:
        """The stream that answers the conversation and options in `body`, begun.

        Raises an `LLMError` where it cannot be asked, or is one too many.
        """
        name, offer = offered(self.offers, model)
        return self.start(offer, ChatRequest(name, conversation(body), options_of(body)), client, linger=linger)

    def start(self, offer: Offer, request: ChatRequest, client: str, *, linger: float) -> LiveStream[object]:
        """The stream with which `offer` answers `request`, begun."""
        stream = self.streams.open(answer_of(offer, request), client=client, linger=linger)
        with self._lock:
            self._approvals[stream.id] = request.approvals
            for ended in [known for known in self._approvals if self.streams.get(known) is None]:
                del self._approvals[ended]
        return stream

    def approve(self, stream: str, call: str, *, approved: bool) -> bool:
        """Answer an approval request of a stream; False where there is no such stream."""
        approvals = self._approvals.get(stream)
        if approvals is not None:
            approvals.answer(call, approved)
        return approvals is not None

    def remember(self, chat: str, stream: str) -> None:
        """Note that `chat`, which is a client's own name for a conversation, is being answered by `stream`."""
        with self._lock:
            self._chats[chat] = stream
            self._chats.move_to_end(chat)
            if len(self._chats) > _CHATS:
                self._chats.popitem(last=False)

    def stream_of(self, chat: str) -> LiveStream[object] | None:
        """The stream that answers `chat`, or did last."""
        return self.streams.get(self._chats.get(chat, ""))
