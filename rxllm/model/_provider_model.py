"""Models of providers: they encode each call and make its stream, with retries and time limits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Unpack, cast

from reactivex import Observable, abc

from .._core.read_loop import Source, token_stream
from .._core.retry import retry_transient, with_total_limit
from .._json_values import json_data
from .._protocol import Wire, WireRequest
from .._schema import converted
from .._transport.http import Transport
from .._transport.http1 import check_headers
from ..errors import ConfigurationError
from ..events import TokenEvent
from ..messages import Message
from ..options import CallOptions, Options, check_names, format_of, stop_of, timeout_of, tool_of
from ..prompt import Prompt, messages_of
from ..providers.vendors import Vendor
from ._streaming_model import StreamingModel


class ModelSettings(NamedTuple):
    """What makes a model of a provider; see `create_streaming_model`."""

    vendor: Vendor
    defaults: CallOptions
    transport: Transport
    scheduler: abc.SchedulerBase | None
    max_event_bytes: int
    max_answer_chars: int | None
    wire_with: Callable[[Mapping[str, str]], Wire]
    """Returns the wire for headers; a function, so that no repr shows the key."""


class ProviderModel(StreamingModel):
    """A model on an HTTP server."""

    def __init__(self, settings: ModelSettings) -> None:
        self.provider = settings.vendor.name
        self.model = settings.defaults.get("model", "")
        self._settings = settings
        # Encodes a request now, so that a missing or unsupported setting raises here.
        self._wire = self._wire_with(None)
        self._wire.request((Message.user("?"),), self.model, _wire_options(settings.defaults))
        timeout_of(settings.defaults.get("timeout"))

    def __repr__(self) -> str:
        return f"<StreamingModel {self.provider}:{self.model}>"

    def stream(self, prompt: Prompt, **options: Unpack[CallOptions]) -> Observable[TokenEvent]:
        call, model, wire, request = self.encoded(prompt, options)
        timeout, settings = timeout_of(call.get("timeout")), self._settings
        source = Source(
            provider=self.provider,
            model=model,
            request=self._prepared(request, model),
            decoder=wire.decoder,
            transport=settings.transport,
            timeout=timeout,
            scheduler=settings.scheduler,
            max_event_bytes=settings.max_event_bytes,
            max_answer_chars=settings.max_answer_chars,
        )
        return with_total_limit(retry_transient(call.get("max_retries", 2))(token_stream(source)), timeout.total)

    def encoded(self, prompt: Prompt, options: CallOptions) -> tuple[CallOptions, str, Wire, WireRequest]:
        """Return all options of a call, the model's name, the wire, and the request for one streamed answer."""
        check_names(options, _KNOWN)
        call = cast("CallOptions", {**self._settings.defaults, **options})
        model = call.get("model") or self.model
        wire = self._wire_with(options["headers"]) if "headers" in options else self._wire
        return call, model, wire, wire.request(messages_of(prompt), model, _wire_options(call))

    def close(self) -> None:
        self._settings.transport.close()

    def _wire_with(self, headers: Mapping[str, str] | None) -> Wire:
        combined: dict[str, str] = {}
        for given in (self._settings.defaults.get("headers"), headers):
            combined |= converted(given or {}, dict[str, str], "headers= is a mapping of texts")
        check_headers(combined)
        return self._settings.wire_with(combined)

    def _prepared(self, request: WireRequest, model: str) -> Callable[[], WireRequest]:
        """Return the function that provides the request; it is called on the producing thread."""
        return lambda: request


_KNOWN = f"A call accepts {', '.join(CallOptions.__annotations__)}; other fields go into extra_body={{...}}"


def _wire_options(call: CallOptions) -> Options:
    """Return the options of a call that are sent.

    Raises `ConfigurationError` for a value of a wrong type, and for NaN and infinity: JSON has none.
    """
    given = {name: value for name, value in call.items() if name in Options.__struct_fields__}
    given |= {name: json_data(given[name], lambda value: value) for name in _NUMBERS if name in given}  # numpy's, too
    for name in ("stop", "tools"):
        if not isinstance(call.get(name) or (), Iterable) or isinstance(call.get(name), Mapping):
            raise ConfigurationError(f"{name}= takes a list; got {call.get(name)!r}")
    given["stop"] = stops = stop_of(call.get("stop"))
    if "" in (stops or ()):
        raise ConfigurationError("a stop text is empty: every answer would end at once")
    given["response_format"] = format_of(call.get("response_format"))
    given["tools"] = tuple(map(tool_of, call.get("tools") or ()))
    for name in _NUMBERS:
        if isinstance(value := given.get(name), float) and not math.isfinite(value):
            raise ConfigurationError(f"{name} must be a finite number; got {value!r}")
    converted(call.get("model", ""), str, "model= is a name")
    converted(call.get("max_retries", 0), int, "max_retries= is a whole number")
    return converted(given, Options, "an option has a wrong type")


_NUMBERS = ("temperature", "max_tokens", "top_p", "top_k", "frequency_penalty", "presence_penalty", "seed", "reasoning")
