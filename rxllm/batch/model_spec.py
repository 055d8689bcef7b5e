"""A description of a model that can be sent to other processes, which create the model from it.

Keys never appear in reprs, logs, checkpoints or the fingerprint.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias, Unpack, cast

import msgspec

from .._json import encode
from .._transport.framing import MAX_FRAME_BYTES
from ..errors import ConfigurationError
from ..model import StreamingModel, create_streaming_model
from ..options import CallOptions, JsonFormat, check_names, format_of, tool_of
from ..providers.local import LocalServer
from ..providers.vendors import split_model

ModelFactory: TypeAlias = Callable[[], StreamingModel]
"""Creates the model in each worker. Ray pickles it with cloudpickle, so it may be a function of the main program."""

_NOT_IN_THE_ANSWER = frozenset({"timeout", "max_retries", "headers"})
"""Options that do not change the answer: a row is not asked again because they changed."""


class ModelSpec:
    """The arguments of `create_streaming_model`, checked at once; each worker creates its model from them.

    Args:
        provider: Name of the provider, with or without a model ("openai:gpt-4o-mini").
        api_key: The key; default: the vendor's variable in the environment of each worker, so that the key is not sent.
        base_url: The server's address; default: as in `create_streaming_model`.
        local: Settings of the embedded model (provider "local").
        max_event_bytes: The largest event on the wire, in bytes.
        options: Options of `create_streaming_model`. `max_retries` (2) counts here also retries in the middle of an
            answer, because no subscriber has seen a part of it.

    Raises:
        ConfigurationError: An option does not exist.

    Example:
        >>> ModelSpec("openai-compatible", model="m", base_url="http://127.0.0.1:9/v1", api_key="secret", seed=7)
        ModelSpec('openai-compatible', model='m', seed=7)
    """

    def __init__(
        self,
        provider: str,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        local: LocalServer | None = None,
        max_event_bytes: int = MAX_FRAME_BYTES,
        **options: Unpack[CallOptions],
    ) -> None:
        arguments = "A ModelSpec takes the arguments of create_streaming_model"
        check_names(options, f"{arguments}, but for session and scheduler, which cannot leave their process")
        self.provider, named = split_model(provider)
        self.options: CallOptions = {**options}
        if named is not None and not options.get("model"):
            self.options["model"] = named
        wanted = options.get("response_format")
        self.response_type = None if is_plain_format(wanted) else cast("type[object]", wanted)
        """The type of the answers. It is not pickled: workers get its schema."""
        self.options["response_format"] = format_of(wanted)
        self.max_retries = self.options.pop("max_retries", 2)
        self._create = partial(
            create_streaming_model,
            self.provider,
            api_key=api_key,
            base_url=base_url,
            local=local,
            max_event_bytes=max_event_bytes,
        )

    def __repr__(self) -> str:
        hidden = ("headers", "extra_body")
        shown = {name: value for name, value in self.options.items() if name not in hidden and value is not None}
        return f"ModelSpec({', '.join([repr(self.provider), *(f'{name}={value!r}' for name, value in shown.items())])})"

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "response_type": None}

    def __call__(self) -> StreamingModel:
        """Return the model of `create_streaming_model`, with its own `max_retries`."""
        return self._create(**self.options)


def is_plain_format(wanted: object) -> bool:
    """Return whether a `response_format` is a schema, "json" or None, not a type."""
    return wanted is None or isinstance(wanted, str | dict | JsonFormat)


def wants_json(model: ModelSpec | ModelFactory, options: CallOptions) -> bool:
    """Return whether the answer is JSON: the call, or else the model, has a `response_format`."""
    own = model.options if isinstance(model, ModelSpec) else CallOptions()
    return options.get("response_format", own.get("response_format")) is not None


def fingerprint(model: ModelSpec | ModelFactory, version: str = "") -> bytes:
    """Return what an answer depends on besides its prompt: provider, model, options, and `version`.

    For a factory it is the factory's name. Keys, headers, the server's address, time limits and the number of retries
    are not part of it.

    >>> one, other = ModelSpec("openai:gpt-4o"), ModelSpec("openai", model="gpt-4o", api_key="k", timeout=5)
    >>> fingerprint(one) == fingerprint(other) != fingerprint(ModelSpec("openai:gpt-4o", seed=1))
    True
    """
    if not callable(model):
        raise ConfigurationError(
            'model= takes a ModelSpec, its short form such as "openai:gpt-5.4-mini", '
            f"or a function that creates a model; got {model!r}"
        )
    if not isinstance(model, ModelSpec):
        name = f"{model.__module__}.{getattr(model, '__qualname__', type(model).__qualname__)}".encode()
    else:
        name = encode([model.provider, plain_options(model.options)])
    return name + version.encode()


def plain_options(options: CallOptions) -> dict[str, object]:
    """Return the options that an answer depends on, as JSON values, sorted by name."""
    said = {name: value for name, value in options.items() if name not in _NOT_IN_THE_ANSWER and value is not None}
    if "response_format" in said:
        said["response_format"] = format_of(said["response_format"])
    if "tools" in said:
        said["tools"] = [tool_of(tool) for tool in options.get("tools") or ()]
    try:
        return {name: msgspec.to_builtins(said[name]) for name in sorted(said)}
    except TypeError as error:
        raise ConfigurationError(f"options of a batch must be JSON values: {error}") from error
