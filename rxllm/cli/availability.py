"""Which providers are ready on this machine, what the others need, and which one is the default."""

from __future__ import annotations

import ctypes
import http.client
import os
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from .._json import object_in, objects_at, text_at
from .._protocol import WireRequest
from ..errors import ConfigurationError
from ..messages import Message
from ..options import Options
from ..providers._address import is_loopback
from ..providers.local import INSTALL_ENGINE, INSTALL_WEIGHTS, LocalServer
from ..providers.vendors import Vendor, vendor_named, vendors, wire_for

PROBE_SECONDS = 0.5
"""How many seconds a server on this machine may take to accept a connection."""

_ANSWER_SECONDS = 10.0
"""How many seconds an Ollama that has accepted may take to list its models: the machine may be busy."""


def choose(model: str | None = None) -> tuple[str, str | None]:
    """Return the default provider, and `model` or its default model.

    It is the first whose key (or address) is in the environment, else an Ollama that runs and has a
    model, else the embedded model. Raises `ConfigurationError`, which says how to get one, if there is none.
    """
    if model is not None and model.endswith(".gguf"):
        return "local", model
    for vendor in vendors():
        configured = any(map(os.environ.get, (*vendor.key_variables, *vendor.base_url_variables)))
        if configured and vendor.needs_key and (model or vendor.default_model) and is_ready(vendor):
            return vendor.name, model
    ollama = vendor_named("ollama")
    if installed := ollama_models(ollama):
        preferred = next((name for name in installed if name.startswith(ollama.default_model or "")), installed[0])
        return ollama.name, model or preferred
    try:
        check_embedded_model()
    except ConfigurationError as error:
        raise ConfigurationError(
            "no provider can be used: set a key such as OPENAI_API_KEY, start Ollama, "
            f"or install the embedded model ({error}). "
            "`rxllm providers` lists what each provider needs"
        ) from error
    return "local", model


def check_embedded_model() -> None:
    """Raise `ConfigurationError`, which says what to do, if the embedded model cannot be used. Starts nothing."""
    LocalServer().check()
    engine = find_spec("xllamacpp")
    if engine is None or engine.origin is None:
        return
    try:
        for library in Path(engine.origin).parent.glob("xllamacpp*.so"):
            ctypes.CDLL(str(library))  # takes some milliseconds: the names in it are resolved later
    except OSError as error:
        raise ConfigurationError(f"llama.cpp cannot be loaded: {error} (libgomp: apt-get install libgomp1)") from error


def is_ready(vendor: Vendor) -> bool:
    """Return whether a request could be made: its settings are there, and a server on this machine listens.

    Connects to servers on this machine, and to nothing else.
    """
    try:
        if vendor.wire == "local":
            check_embedded_model()
            return True
        server, request = _connection_to(vendor)
        if not vendor.needs_key and is_loopback(request.url):
            with closing(server):
                server.connect()
    except (ConfigurationError, OSError):
        return False
    return True


def needs(vendor: Vendor) -> Iterator[str]:
    """Yield what a user must give or start to use the provider."""
    if vendor.wire == "local":
        yield f"{INSTALL_ENGINE} && {INSTALL_WEIGHTS}"
        return
    if vendor.base_url is None:
        yield f"an address ({' or '.join(('--base-url', *vendor.base_url_variables))})"
    elif not vendor.needs_key:
        yield f"a server at {' or '.join((vendor.base_url, *vendor.base_url_variables))}"
    if vendor.needs_key:
        yield f"a key ({' or '.join(vendor.key_variables)})"
    if vendor.default_model is None:
        yield "a model (--model)"


def _connection_to(vendor: Vendor) -> tuple[http.client.HTTPConnection, WireRequest]:
    """Return a connection that is not open yet, and a request for it. Raises `ConfigurationError` if there is none."""
    request = wire_for(vendor).request((Message.user("?"),), "model", Options())
    parts = urlsplit(request.url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.netloc.rpartition("@")[2], timeout=PROBE_SECONDS), request


def ollama_models(ollama: Vendor) -> list[str]:
    """Return the models of the running Ollama; nothing if none runs."""
    try:
        server, request = _connection_to(ollama)
        with closing(server):
            server.connect()
            server.sock.settimeout(_ANSWER_SECONDS)
            server.request("GET", urlsplit(request.url).path.removesuffix("/chat") + "/tags", headers=request.headers)
            answer = object_in(server.getresponse().read(1 << 20)) or {}
    except (ConfigurationError, OSError, http.client.HTTPException):
        return []
    return list(filter(None, (text_at(item, "name") for item in objects_at(answer, "models"))))
