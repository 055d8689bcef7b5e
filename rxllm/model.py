"""Models: a prompt becomes an Observable of token events.

`create_streaming_model` takes a provider and its options once; `StreamingModel.stream` makes requests with them, any
number of times, from any thread.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Unpack, cast

import msgspec
from reactivex import Observable, abc

from ._core.awaitable import wait_for_response
from ._core.retry import retry_transient, with_total_limit
from ._core.stream import Source, token_stream
from ._core.total_limit import waiting_within
from ._protocol import Wire, WireRequest
from ._runtime.platform import after_fork
from ._transport.framing import MAX_FRAME_BYTES
from ._transport.http import Transport
from ._transport.http1 import check_headers
from .errors import ConfigurationError, LLMError
from .events import Response, StreamEnd, TextDelta, TokenEvent
from .messages import Message
from .operators.resilience.limits import MaxConcurrent
from .options import CallOptions, Options, ReasoningEffort, Timeout, Tool, format_of, stop_of, timeout_of, tool_of
from .prompt import Prompt, messages_of
from .providers.catalog import Vendor, split_model, vendor_named, wire_for
from .providers.local import DEFAULT_MODEL, LocalServer, release_engine
from .providers.openai_chat import OpenAIChat

if TYPE_CHECKING:
    import requests

__all__ = ["StreamingModel", "create_streaming_model", "stream_chat"]


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


def create_streaming_model(
    provider: str,
    *,
    model: str | os.PathLike[str] | None = None,
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
    max_answer_chars: int | None = None,
    local: LocalServer | None = None,
) -> StreamingModel:
    """Return a model of `provider`.

    None for an option means the vendor's default. Every option that goes on the wire can be overridden in each call.

    Args:
        provider: "openai", "anthropic", "gemini", "ollama", "local", ... (`rxllm providers` lists them). It may
            include the model: "openai:gpt-5.4-mini".
        model: The vendor's name of the model, or the path of a GGUF file ("local"); default: the provider's, if any.
        api_key: The key; default: the vendor's environment variable. A server on this machine needs none.
        base_url: The server's address; default: the vendor's environment variable, else its public address.
        temperature: Sampling temperature.
        max_tokens: The most tokens that the answer may have.
        top_p: Nucleus sampling: the probability mass to sample from.
        top_k: The number of most likely tokens to sample from.
        frequency_penalty: Penalty for tokens by their frequency so far.
        presence_penalty: Penalty for tokens that have occurred.
        stop: One or several texts at which the answer ends.
        seed: Seed of the sampling.
        reasoning: An effort ("low", "medium", "high", ...), or a budget in tokens.
        response_format: "json", a JSON schema, or a type (dataclass, TypedDict, msgspec, pydantic).
        tools: The functions that the model may call: `Tool` objects, or dicts in OpenAI's form.
        tool_choice: "auto", "none", "required", or the name of the one tool to call.
        timeout: Seconds for each wait, or a `Timeout`; default: `Timeout()`.
        max_retries: Further attempts after transient errors, before the first content event.
        scheduler: The producing scheduler; default: a daemon thread for each stream, or a few shared threads if
            there are many streams. Do not give one that runs its work inline (`ImmediateScheduler`): subscribe() would
            read the whole answer before it returns what can be disposed, and `take(1)` would stop nothing.
        session: A requests session whose proxies, TLS settings, headers, cookies, auth and hooks are used.
        headers: HTTP headers to add to each request.
        extra_body: JSON fields to add to the request's body.
        max_event_bytes: The largest event on the wire, in bytes; a larger one ends the stream with `ProtocolError`.
        max_answer_chars: The most characters of text and reasoning; a longer answer ends the stream with
            `StreamError`, whose `partial` holds what came before. Default: no limit.
        local: Settings of the embedded model (provider "local").

    Returns:
        A model; the connection is made by the first stream.

    Raises:
        ConfigurationError: A setting is missing or not supported; the message names it.

    >>> model = create_streaming_model("openai-compatible", model="m", base_url="http://127.0.0.1:9/v1")
    >>> model.provider, model.model
    ('openai-compatible', 'm')
    """
    name, named_model = split_model(provider)
    vendor = vendor_named(name)
    given = None if local is None or local.model == DEFAULT_MODEL else local.model
    chosen = os.fspath(model or named_model or given or vendor.default_model or "")
    if not chosen:
        raise ConfigurationError(f"provider {name!r} has no default model: pass model=")
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
    limits = _SizeLimits(max_event_bytes, max_answer_chars)
    if vendor.wire == "local":
        if given is not None and chosen != os.fspath(given):
            raise ConfigurationError(f"two models are given: {chosen!r}, and {os.fspath(given)!r} in local=")
        server = msgspec.structs.replace(local or LocalServer(), model=chosen)
        return _LocalModel(vendor, defaults, transport, scheduler, limits, server)
    if local is not None:
        raise ConfigurationError(f"local= is for the provider 'local'; this is {name!r}")
    return _ProviderModel(vendor, defaults, transport, scheduler, limits, api_key, base_url)


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
    """Start a stream that calls back; returns at once.

    The callbacks run on the producing thread.

    Args:
        model: The model to ask.
        prompt: Text, a message, or a sequence of messages (`Prompt`).
        on_token: Called with each piece of text.
        on_complete: Called with the complete response.
        on_error: Called with the error that ended the stream; default: the error is logged.
        options: Options of `create_streaming_model` to override for this call.

    Returns:
        A Disposable that stops the stream; no callback is called for that.
    """

    def on_next(event: TokenEvent) -> None:
        if isinstance(event, TextDelta):
            if on_token is not None:
                on_token(event.text)
        elif isinstance(event, StreamEnd) and on_complete is not None:
            on_complete(event.response)

    handle_error = cast("Callable[[Exception], None] | None", on_error)
    return model.stream(prompt, **options).subscribe(on_next, handle_error)


class _SizeLimits(NamedTuple):
    """Limits that keep an answer from filling the memory."""

    event_bytes: int
    answer_chars: int | None


class _ProviderModel(StreamingModel):
    """A model on an HTTP server."""

    def __init__(
        self,
        vendor: Vendor,
        defaults: CallOptions,
        transport: Transport,
        scheduler: abc.SchedulerBase | None,
        limits: _SizeLimits,
        api_key: str | None,
        base_url: str | None,
    ) -> None:
        self.provider = vendor.name
        self.model = defaults.get("model", "")
        self._vendor = vendor
        self._defaults = defaults
        self._transport = transport
        self._scheduler = scheduler
        self._limits = limits
        self._api_key = api_key
        self._base_url = base_url
        # Encodes a request now, so that a missing or unsupported setting raises here.
        self._wire = self._wire_with(None)
        self._wire.request((Message.user("?"),), self.model, _wire_options(defaults))
        timeout_of(defaults.get("timeout"))

    def __repr__(self) -> str:
        return f"<StreamingModel {self.provider}:{self.model}>"

    def stream(self, prompt: Prompt, **options: Unpack[CallOptions]) -> Observable[TokenEvent]:
        call, model, wire, request = self.encoded(prompt, options)
        timeout = timeout_of(call.get("timeout"))
        source = Source(
            provider=self.provider,
            model=model,
            request=self._prepared(request, model),
            decoder=wire.decoder,
            transport=self._transport,
            timeout=timeout,
            scheduler=self._scheduler,
            max_event_bytes=self._limits.event_bytes,
            max_answer_chars=self._limits.answer_chars,
        )
        return with_total_limit(retry_transient(call.get("max_retries", 2))(token_stream(source)), timeout.total)

    def encoded(self, prompt: Prompt, options: CallOptions) -> tuple[CallOptions, str, Wire, WireRequest]:
        """Return all options of a call, the model's name, the wire, and the request for one streamed answer."""
        _refuse_unknown(options)
        call = cast("CallOptions", {**self._defaults, **options})
        model = call.get("model") or self.model
        wire = self._wire_with(options["headers"]) if "headers" in options else self._wire
        return call, model, wire, wire.request(messages_of(prompt), model, _wire_options(call))

    def close(self) -> None:
        self._transport.close()

    def _wire_with(self, headers: Mapping[str, str] | None) -> Wire:
        combined = {**(self._defaults.get("headers") or {}), **(headers or {})}
        check_headers(combined)
        return wire_for(self._vendor, api_key=self._api_key, base_url=self._base_url, headers=combined)

    def _prepared(self, request: WireRequest, model: str) -> Callable[[], WireRequest]:
        """Return the function that provides the request; it is called on the producing thread."""
        return lambda: request


_slot_limits: dict[LocalServer, MaxConcurrent] = {}
after_fork(_slot_limits.clear)

_NO_ADDRESS_YET = "http://127.0.0.1/v1"


class _LocalModel(_ProviderModel):
    """The embedded model. Its server starts on the producing thread, with the first request."""

    def __init__(
        self,
        vendor: Vendor,
        defaults: CallOptions,
        transport: Transport,
        scheduler: abc.SchedulerBase | None,
        limits: _SizeLimits,
        server: LocalServer,
    ) -> None:
        server.check()
        self._server = server
        super().__init__(vendor, defaults, transport, scheduler, limits, None, None)

    def _wire_with(self, headers: Mapping[str, str] | None) -> Wire:
        combined = {**(self._defaults.get("headers") or {}), **(headers or {})}
        check_headers(combined)
        vendor = self._vendor
        return OpenAIChat(
            provider=vendor.name, base_url=_NO_ADDRESS_YET, api_key=None, headers=combined, dialect=vendor.dialect
        )

    def stream(self, prompt: Prompt, **options: Unpack[CallOptions]) -> Observable[TokenEvent]:
        server = self._server_of(options.get("model") or self.model)
        # Streams wait for a slot here, where the wait counts against none of their time limits but `total`.
        limit = _slot_limits.setdefault(server, MaxConcurrent(server.slots))
        events = super().stream(prompt, **options)
        timeout = timeout_of(options.get("timeout") or self._defaults.get("timeout"))

        def stream(left: float) -> Observable[TokenEvent]:
            call = cast("CallOptions", {**options, "timeout": msgspec.structs.replace(timeout, total=left)})
            return _ProviderModel.stream(self, prompt, **call)

        return limit(events) if timeout.total is None else waiting_within(timeout.total, limit, stream)

    def _server_of(self, model: str) -> LocalServer:
        server = msgspec.structs.replace(self._server, model=model)
        server.check()
        return server

    def _prepared(self, request: WireRequest, model: str) -> Callable[[], WireRequest]:
        server = self._server_of(model)

        def with_address() -> WireRequest:
            engine = server.engine(self)
            engine.check(request.body)
            url = f"{engine.address}/v1{request.url.removeprefix(_NO_ADDRESS_YET)}"
            key = {"authorization": f"Bearer {server.key}"} if server.key else {}
            return msgspec.structs.replace(request, url=url, headers={**request.headers, **key})

        return with_address

    def close(self) -> None:
        """Close the idle connections, and stop the engine if no other model uses it, when its last stream has ended."""
        super().close()
        release_engine(self)


def _wire_options(call: CallOptions) -> Options:
    """Return those options of a call that go on the wire."""
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
            f"unknown option: {', '.join(sorted(unknown))}. A call accepts {', '.join(CallOptions.__annotations__)}; "
            "other fields of the request go into extra_body={...}"
        )
