"""What every model can do: answer a prompt with a stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Unpack

from reactivex import Observable

from .._core.awaitable import wait_for_response
from ..events import Response, TokenEvent
from ..options import CallOptions
from ..prompt import Prompt


class StreamingModel(ABC):
    """A model that answers prompts with streams. Thread-safe."""

    provider: str
    model: str

    @abstractmethod
    def stream(self, prompt: Prompt, **options: Unpack[CallOptions]) -> Observable[TokenEvent]:
        """Return the answer to `prompt` as a cold Observable: each subscription makes its own request.

        Events are emitted on the producing scheduler's thread, one at a time, in order. Later failures are emitted
        as an `LLMError`. Disposing the subscription closes the connection.

        Args:
            prompt: Text, a message, or a sequence of messages (`Prompt`).
            options: Options of `create_streaming_model` to override for this call.

        Raises:
            ConfigurationError: The prompt or an option is not supported.
        """

    def chat(self, prompt: Prompt, **options: Unpack[CallOptions]) -> Response:
        """Return the complete answer to `prompt`; blocks until it has arrived.

        Interrupting (Ctrl-C) closes the connection.

        Args:
            prompt: Text, a message, or a sequence of messages (`Prompt`).
            options: Options of `create_streaming_model` to override for this call.

        Raises:
            LLMError: The error that the stream ended with.
        """
        return wait_for_response(self.stream(prompt, **options))

    def close(self) -> None:  # noqa: B027 - nothing to close is the ordinary case
        """Close the idle connections. Active streams continue."""

    def __enter__(self) -> StreamingModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
