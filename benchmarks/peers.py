"""The clients that others publish, as their own documentation says to stream with them; retries are off."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial
from importlib import import_module
from typing import Any

from .clients import ALL_MEASURES, AsyncClient, Client, OnText

_KEY = "k"


class SyncPeer(Client):
    """A client whose answer is iterated, on the thread that asks."""

    handle: Any = None
    """What can be closed: the client until there is a stream, then the stream."""

    def texts(self, model: str) -> Iterator[str | None]:
        """The text deltas of an answer."""
        raise NotImplementedError

    def read(self, model: str, on_text: OnText) -> None:
        for text in self.texts(model):
            if text:
                on_text(text)

    def cancel(self) -> None:
        self.handle.close()


def _openai(base: str, kind: str) -> Any:
    return getattr(import_module("openai"), kind)(api_key=_KEY, base_url=f"{base}/v1", max_retries=0)


def _openai_text(event: Any) -> str | None:
    """The text of an event of either of OpenAI's wires."""
    if hasattr(event, "choices"):
        text = event.choices[0].delta.content
    else:
        text = event.delta if event.type == "response.output_text.delta" else None
    return str(text) if text else None


class OpenAI(SyncPeer):
    """openai.OpenAI."""

    name = "openai"
    imports = "import openai"
    packages = ("openai", "httpx")
    wires = ("chat", "responses")

    def __init__(self, base: str, wire: str) -> None:
        super().__init__(base, wire)
        self._client = self.handle = _openai(base, "OpenAI")

    def texts(self, model: str) -> Iterator[str | None]:
        with _openai_call(self, self._client, model) as stream:
            self.handle = stream
            yield from map(_openai_text, stream)


def _openai_call(client: Client, sdk: Any, model: str) -> Any:
    if client.wire.provider == "openai-responses":
        return sdk.responses.create(model=model, input="?", stream=True)
    return sdk.chat.completions.create(model=model, messages=[{"role": "user", "content": "?"}], stream=True)


class AsyncOpenAI(AsyncClient):
    """openai.AsyncOpenAI."""

    name = "openai async"
    imports = "import openai"
    packages = ("openai", "httpx")
    wires = ("chat", "responses")

    def __init__(self, base: str, wire: str) -> None:
        super().__init__(base, wire)
        self._client = _openai(base, "AsyncOpenAI")

    async def texts(self, model: str) -> AsyncIterator[str | None]:
        async with await _openai_call(self, self._client, model) as stream:
            async for event in stream:
                yield _openai_text(event)


def _anthropic(base: str, kind: str) -> Any:
    return getattr(import_module("anthropic"), kind)(api_key=_KEY, base_url=base, max_retries=0)


def _anthropic_call(sdk: Any, model: str) -> Any:
    messages = [{"role": "user", "content": "?"}]
    return sdk.messages.create(model=model, max_tokens=99, messages=messages, stream=True)


def _anthropic_text(event: Any) -> str | None:
    return str(event.delta.text) if event.type == "content_block_delta" else None


class Anthropic(SyncPeer):
    """anthropic.Anthropic, `messages.create(stream=True)`."""

    name = "anthropic"
    imports = "import anthropic"
    packages = ("anthropic",)
    wires = ("anthropic",)

    def __init__(self, base: str, wire: str) -> None:
        super().__init__(base, wire)
        self._client = self.handle = _anthropic(base, "Anthropic")

    def texts(self, model: str) -> Iterator[str | None]:
        with _anthropic_call(self._client, model) as stream:
            self.handle = stream
            yield from map(_anthropic_text, stream)


class AsyncAnthropic(AsyncClient):
    """anthropic.AsyncAnthropic, `messages.create(stream=True)`."""

    name = "anthropic async"
    imports = "import anthropic"
    packages = ("anthropic",)
    wires = ("anthropic",)

    def __init__(self, base: str, wire: str) -> None:
        super().__init__(base, wire)
        self._client = _anthropic(base, "AsyncAnthropic")

    async def texts(self, model: str) -> AsyncIterator[str | None]:
        async with await _anthropic_call(self._client, model) as stream:
            async for event in stream:
                yield _anthropic_text(event)


class Ollama(SyncPeer):
    """ollama.Client."""

    name = "ollama"
    imports = "import ollama"
    packages = ("ollama",)
    wires = ("ollama",)

    def __init__(self, base: str, wire: str) -> None:
        super().__init__(base, wire)
        self._client = import_module("ollama").Client(host=base)
        self.handle = self._client._client  # it offers nothing to close

    def texts(self, model: str) -> Iterator[str | None]:
        for part in self._client.chat(model=model, messages=[{"role": "user", "content": "?"}], stream=True):
            yield part.message.content


class GoogleGenAI(SyncPeer):
    """google.genai.Client, `models.generate_content_stream`."""

    name = "google-genai"
    imports = "from google import genai"
    packages = ("google-genai",)
    wires = ("gemini",)

    def __init__(self, base: str, wire: str) -> None:
        super().__init__(base, wire)
        options = {"base_url": base, "api_version": "v1beta"}
        self._client = self.handle = import_module("google.genai").Client(api_key=_KEY, http_options=options)

    def texts(self, model: str) -> Iterator[str | None]:
        for part in self._client.models.generate_content_stream(model=model, contents="?"):
            yield part.text


class LiteLLM(SyncPeer):
    """litellm.completion."""

    name = "litellm"
    imports = "import litellm"
    packages = ("litellm",)
    wires = ("chat",)
    measures = ALL_MEASURES - {"crowd", "cancel"}

    def __init__(self, base: str, wire: str) -> None:
        super().__init__(base, wire)
        self._completion = import_module("litellm").completion

    def texts(self, model: str) -> Iterator[str | None]:
        messages = [{"role": "user", "content": "?"}]
        for part in self._completion(
            model=f"openai/{model}", messages=messages, api_key=_KEY, base_url=f"{self.base}/v1", stream=True
        ):
            yield part.choices[0].delta.content


class LangChainOpenAI(SyncPeer):
    """langchain_openai.ChatOpenAI."""

    name = "langchain-openai"
    imports = "import langchain_openai"
    packages = ("langchain-openai", "langchain-core")
    wires = ("chat",)
    measures = ALL_MEASURES - {"crowd", "cancel"}

    def __init__(self, base: str, wire: str) -> None:
        super().__init__(base, wire)
        chat = import_module("langchain_openai").ChatOpenAI
        self._create = partial(chat, api_key=_KEY, base_url=f"{base}/v1", max_retries=0)
        self._chats: dict[str, Any] = {}

    def texts(self, model: str) -> Iterator[str | None]:
        if model not in self._chats:
            self._chats[model] = self._create(model=model)
        for part in self._chats[model].stream("?"):
            yield part.content


PEERS: tuple[type[Client], ...] = (
    OpenAI,
    AsyncOpenAI,
    Anthropic,
    AsyncAnthropic,
    Ollama,
    GoogleGenAI,
    LiteLLM,
    LangChainOpenAI,
)
