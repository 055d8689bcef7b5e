"""Models: where a prompt becomes an Observable of token events.

`create_streaming_model` names a provider and its options once; `StreamingModel.stream` asks it,
any number of times, from any thread.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Unpack, cast

import msgspec
import requests
from reactivex import Observable, abc

from ._core.retry import retry_transient
from ._core.stream import Source, token_stream
from ._protocol import Wire, WireRequest
from ._transport.framing import MAX_FRAME_BYTES
from ._transport.http import Transport
from .errors import ConfigurationError, LLMError
from .events import Response, StreamEnd, TextDelta, TokenEvent
from .messages import Message
from .options import CallOptions, Options, ReasoningEffort, Timeout, Tool, format_of, stop_of, timeout_of, tool_of
from .prompt import Prompt, messages_of
from .providers.catalog import Vendor, split_model, vendor_named, wire_for
from .providers.local import LocalServer
from .providers.openai_chat import OpenAIChat


class StreamingModel(ABC):
    """Anything that can be asked and answers in a stream. Safe to share between threads."""

    provider: str
    model: str

    @abstractmethod
    def stream(self, prompt: Prompt, **options: Unpack[CallOptions]) -> Observable[TokenEvent]:
        """The answer to `prompt` as a cold Observable: each subscription is a request of its own.

        Raises `ConfigurationError` at once where the prompt or an option cannot be honoured;
        everything that goes wrong later goes to on_error as an `LLMError`. Events come on the
        producing scheduler's thread, one at a time. Disposing closes the connection.
        """

    def chat(self, prompt: Prompt, **options: Unpack[CallOptions]) -> Response:
        """The whole answer to `prompt`; blocks until it is there.

        Raises the `LLMError` that the stream ends with. An interrupt (Ctrl-C) closes the connection.
        """
        return _wait_for(self.stream(prompt, **options))

    def close(self) -> None:  # noqa: B027 - nothing to close is the ordinary case
        """Close idle connections. Streams under way go on."""

    def __enter__(self) -> StreamingModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def create_streaming_model(
    provider: str,
    *,
    model: str | None = None,
    api_key: str | None = None,
    base_url: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    frequency_penalty: float | None = None,
    presence_penalty: float | None = None,
    stop: str | Sequence[str] | None = None,
    seed: int | None = None,
    reasoning: ReasoningEffort | int | None = None,
    response_format: object = None,
    tools: Sequence[Tool | Mapping[str, object]] | None = None,
    tool_choice: str | None = None,
    timeout: float | Timeout | None = None,
    max_retries: int = 2,
    scheduler: abc.SchedulerBase | None = None,
    session: requests.Session | None = None,
    headers: Mapping[str, str] | None = None,
    extra_body: Mapping[str, object] | None = None,
    max_event_bytes: int = MAX_FRAME_BYTES,
    local: LocalServer | None = None,
) -> StreamingModel:
    """A model of `provider`: "openai", "anthropic", "gemini", "ollama", "local", ... (`rxllm providers` lists them).

    `provider` may hold the model: "openai:gpt-4o-mini". The key is `api_key`, else the vendor's own
    environment variable; a server on this machine needs none. `reasoning` is an effort or a budget
    in tokens. `response_format` is "json", a JSON schema, or a type. `timeout` is in seconds, for
    each wait, or a `Timeout`. `max_retries` counts tries again after transient errors, before the
    first content event. `scheduler` is where tokens are produced; by default each stream has a
    daemon thread of its own. `max_event_bytes` bounds one event on the wire. `local` are settings
    of the embedded model: threads, context size, port.

    Raises `ConfigurationError`, naming what is missing or cannot be honoured.

    >>> model = create_streaming_model("openai-compatible", model="m", base_url="http://127.0.0.1:9/v1")
    >>> model.provider, model.model
    ('openai-compatible', 'm')
    """
    name, named_model = split_model(provider)
    vendor = vendor_named(name)
    chosen = model or named_model or vendor.default_model
    if not chosen:
        raise ConfigurationError(f"provider {name!r} has no default model: name one with model=")
    defaults = CallOptions(
        model=chosen,
        temperature=temperature,
        max_tokens=max_tokens,
        top_p=top_p,
        top_k=top_k,
        frequency_penalty=frequency_penalty,
        presence_penalty=presence_penalty,
        stop=stop,
        seed=seed,
        reasoning=reasoning,
        response_format=response_format,
        tools=tools,
        tool_choice=tool_choice,
        timeout=timeout,
        max_retries=max_retries,
        headers=headers,
        extra_body=extra_body,
    )
    transport = Transport(session)
    if vendor.wire == "local":
        server = msgspec.structs.replace(local or LocalServer(), model=chosen)
        return _LocalModel(vendor, defaults, transport, scheduler, max_event_bytes, server)
    if local is not None:
        raise ConfigurationError(f"local= is for the provider 'local'; this is {name!r}")
    return _ProviderModel(vendor, defaults, transport, scheduler, max_event_bytes, api_key, base_url)


def stream_chat(
    model: StreamingModel,
    prompt: Prompt,
    /,
    *,
    on_token: Callable[[str], object] | None = None,
    on_complete: Callable[[Response], object] | None = None,
    on_error: Callable[[LLMError], object] | None = None,
    **options: Unpack[CallOptions],
) -> abc.DisposableBase:
    """Ask with callbacks: pieces of text, then the whole response, or the error. Returns at once.

    The callbacks are called on the producing thread. Disposing what is returned stops the stream;
    no callback is called for that.
    """

    def on_next(event: TokenEvent) -> None:
        if isinstance(event, TextDelta):
            if on_token is not None:
                on_token(event.text)
        elif isinstance(event, StreamEnd) and on_complete is not None:
            on_complete(event.response)

    handle_error = cast("Callable[[Exception], None] | None", on_error)
    return model.stream(prompt, **options).subscribe(on_next, handle_error)


class _ProviderModel(StreamingModel):
    """A model behind HTTP."""

    def __init__(
        self,
        vendor: Vendor,
        defaults: CallOptions,
        transport: Transport,
        scheduler: abc.SchedulerBase | None,
        max_event_bytes: int,
        api_key: str | None,
        base_url: str | None,
    ) -> None:
        self.provider = vendor.name
        self.model = defaults.get("model", "")
        self._vendor = vendor
        self._defaults = defaults
        self._transport = transport
        self._scheduler = scheduler
        self._max_event_bytes = max_event_bytes
        self._api_key = api_key
        self._base_url = base_url
        # Built now, so that what is missing or cannot be honoured is said now.
        self._wire = self._wire_with(None)
        self._wire.request((Message.user("?"),), self.model, _wire_options(defaults))
        timeout_of(defaults.get("timeout"))

    def __repr__(self) -> str:
        return f"<StreamingModel {self.provider}:{self.model}>"

    def stream(self, prompt: Prompt, **options: Unpack[CallOptions]) -> Observable[TokenEvent]:
        _refuse_unknown(options)
        call = cast("CallOptions", {**self._defaults, **options})
        model = call.get("model") or self.model
        wire = self._wire_with(options["headers"]) if "headers" in options else self._wire
        request = wire.request(messages_of(prompt), model, _wire_options(call))
        source = Source(
            provider=self.provider,
            model=model,
            request=self._prepared(request, model),
            decoder=wire.decoder,
            transport=self._transport,
            timeout=timeout_of(call.get("timeout")),
            scheduler=self._scheduler,
            max_event_bytes=self._max_event_bytes,
        )
        return retry_transient(call.get("max_retries", 2))(token_stream(source))

    def close(self) -> None:
        self._transport.close()

    def _wire_with(self, headers: Mapping[str, str] | None) -> Wire:
        combined = {**(self._defaults.get("headers") or {}), **(headers or {})}
        return wire_for(self._vendor, api_key=self._api_key, base_url=self._base_url, headers=combined)

    def _prepared(self, request: WireRequest, model: str) -> Callable[[], WireRequest]:
        """What gives the request on the producing thread."""
        return lambda: request


_NO_ADDRESS_YET = "http://127.0.0.1/v1"


class _LocalModel(_ProviderModel):
    """The embedded model: its server starts on the producing thread, with the first request."""

    def __init__(
        self,
        vendor: Vendor,
        defaults: CallOptions,
        transport: Transport,
        scheduler: abc.SchedulerBase | None,
        max_event_bytes: int,
        server: LocalServer,
    ) -> None:
        server.check()
        self._server = server
        super().__init__(vendor, defaults, transport, scheduler, max_event_bytes, None, None)

    def _wire_with(self, headers: Mapping[str, str] | None) -> Wire:
        combined = {**(self._defaults.get("headers") or {}), **(headers or {})}
        vendor = self._vendor
        return OpenAIChat(
            provider=vendor.name, base_url=_NO_ADDRESS_YET, api_key=None, headers=combined, dialect=vendor.dialect
        )

    def _prepared(self, request: WireRequest, model: str) -> Callable[[], WireRequest]:
        server = msgspec.structs.replace(self._server, model=model)
        server.check()

        def with_address() -> WireRequest:
            path = request.url.removeprefix(_NO_ADDRESS_YET)
            return msgspec.structs.replace(request, url=server.base_url() + path)

        return with_address


def _wire_options(call: CallOptions) -> Options:
    """What of a call's options goes on the wire."""
    tools = call.get("tools")
    return Options(
        temperature=call.get("temperature"),
        max_tokens=call.get("max_tokens"),
        top_p=call.get("top_p"),
        top_k=call.get("top_k"),
        frequency_penalty=call.get("frequency_penalty"),
        presence_penalty=call.get("presence_penalty"),
        stop=stop_of(call.get("stop")),
        seed=call.get("seed"),
        reasoning=call.get("reasoning"),
        response_format=format_of(call.get("response_format")),
        tools=tuple(map(tool_of, tools or ())),
        tool_choice=call.get("tool_choice"),
        extra_body=call.get("extra_body"),
    )


def _refuse_unknown(options: CallOptions) -> None:
    unknown = options.keys() - CallOptions.__annotations__.keys()
    if unknown:
        raise ConfigurationError(
            f"no such option: {', '.join(sorted(unknown))}. A call takes {', '.join(CallOptions.__annotations__)}; "
            "what this package does not model goes into extra_body={...}"
        )


def _wait_for(events: Observable[TokenEvent]) -> Response:
    ended = threading.Event()
    responses: list[Response] = []
    errors: list[Exception] = []

    def on_next(event: TokenEvent) -> None:
        if isinstance(event, StreamEnd):
            responses.append(event.response)

    def on_error(error: Exception) -> None:
        errors.append(error)
        ended.set()

    subscription = events.subscribe(on_next, on_error, ended.set)
    try:
        ended.wait()
    finally:
        subscription.dispose()
    if errors:
        raise errors[0]
    return responses[0]
