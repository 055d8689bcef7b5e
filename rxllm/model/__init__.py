"""Models: a prompt becomes an Observable of token events.

`create_streaming_model` takes a provider and its options once; `StreamingModel.stream` makes requests with them, any
number of times, from any thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Unpack, cast

import msgspec
from reactivex import abc

from .._arguments import check_arguments, check_type
from .._protocol import Wire
from .._transport.framing import MAX_FRAME_BYTES
from .._transport.http import Transport
from ..errors import ConfigurationError, LLMError
from ..events import Response, StreamEnd, TextDelta, TokenEvent
from ..options import CallOptions, ReasoningEffort, Timeout, Tool
from ..prompt import Prompt
from ..providers.local import DEFAULT_MODEL, LocalServer
from ..providers.vendors import split_model, vendor_named, wire_for
from ._provider_model import ModelSettings, ProviderModel
from ._streaming_model import StreamingModel

if TYPE_CHECKING:
    import requests

__all__ = ["StreamingModel", "create_streaming_model", "stream_chat"]


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
            there are many streams. With one that runs its work inline (`ImmediateScheduler`), subscribe() reads the
            answer before it returns: operators such as `take(1)` can end it, the caller cannot.
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
    arguments = locals()  # only the parameters: no other name is set yet
    check_type("provider=", provider, str)
    check_type("model=", model, str, os.PathLike, NoneType)
    check_type("api_key=", api_key, str, NoneType)
    check_type("base_url=", base_url, str, NoneType)
    check_type("local=", local, LocalServer, NoneType)
    name, named_model = split_model(provider)
    vendor = vendor_named(name)
    given = None if local is None or local.model == DEFAULT_MODEL else local.model
    chosen = os.fspath(model or named_model or given or vendor.default_model or "")
    if not chosen:
        raise ConfigurationError(f"provider {name!r} has no default model: pass model=")
    options = {name: arguments[name] for name in CallOptions.__annotations__}
    defaults = cast("CallOptions", {**options, "model": chosen})

    def wire_with(headers: Mapping[str, str]) -> Wire:  # a call may bring its own headers
        return wire_for(vendor, api_key=api_key, base_url=base_url, headers=headers)

    settings = ModelSettings(
        vendor, defaults, Transport(session), scheduler, max_event_bytes, max_answer_chars, wire_with
    )
    if vendor.wire == "local":
        if given is not None and chosen != os.fspath(given):
            raise ConfigurationError(f"two models are given: {chosen!r}, and {os.fspath(given)!r} in local=")
        from ._local_model import LocalModel

        return LocalModel(settings, msgspec.structs.replace(local or LocalServer(), model=chosen))
    if local is not None:
        raise ConfigurationError(f"local= is for the provider 'local'; this is {name!r}")
    return ProviderModel(settings)


@check_arguments
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
