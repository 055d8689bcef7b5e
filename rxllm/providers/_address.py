"""Where a request goes: checked before anything is sent.

A refusal never shows the address, which may hold a secret.
"""

from __future__ import annotations

import ipaddress
import os
import re
from urllib.parse import parse_qs, urlsplit, urlunsplit

from ..errors import ConfigurationError

_AZURE_API_VERSION = "2024-10-21"
_OLLAMA_PORT = 11434


def checked_address(address: str, provider: str) -> str:
    """Return `address` if it is an http(s) URL without credentials; otherwise raise `ConfigurationError`."""
    if re.search(r"[\x00-\x20\x7f]", address):
        raise _refused(provider, "holds a space or a control character")
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise _refused(provider, "is not a URL") from error
    if parts.scheme not in ("http", "https") or not host:
        raise _refused(provider, "does not begin with http:// or https:// and a host")
    if parts.username is not None or parts.password is not None:
        raise _refused(provider, "holds a user name or password: give a key by api_key=, or credentials by headers=")
    return address


def is_sendable(value: str) -> bool:
    """Return whether `value` can stand in a header: one line of Latin-1."""
    return not re.search(r"[^\t\x20-\x7e\x80-\xff]", value)


def is_loopback(address: str) -> bool:
    """Return whether `address` is on this machine: localhost, 127.0.0.0/8 or ::1.

    >>> is_loopback("http://127.0.0.9:8080/v1"), is_loopback("https://localhost.example.com")
    (True, False)
    """
    host = urlsplit(address).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def ollama_address(host: str) -> str:
    """Return the URL for a value of OLLAMA_HOST: scheme and port may be missing, and it may be a bind address.

    What is not an address is returned unchanged, for `checked_address` to refuse.

    >>> ollama_address("0.0.0.0"), ollama_address("https://ollama.com")
    ('http://127.0.0.1:11434', 'https://ollama.com')
    """
    if "://" in host:
        return host
    url = f"http://{host}"
    try:
        parts = urlsplit(url)
        name, port = parts.hostname or "127.0.0.1", parts.port or _OLLAMA_PORT
    except ValueError:
        return url
    if "@" in parts.netloc:
        return url
    if name in ("0.0.0.0", "::"):  # noqa: S104 - recognised, not bound
        name = "127.0.0.1"
    shown = f"[{name}]" if ":" in name else name
    return urlunsplit(parts._replace(netloc=f"{shown}:{port}"))


def azure_address(endpoint: str) -> str:
    """Return the URL of an Azure resource (its v1 API), or of one deployment (with an api-version).

    >>> azure_address("https://me.openai.azure.com/")
    'https://me.openai.azure.com/openai/v1'
    >>> azure_address("https://me.openai.azure.com/openai/deployments/mini?api-version=2024-06-01")
    'https://me.openai.azure.com/openai/deployments/mini?api-version=2024-06-01'
    """
    parts = urlsplit(endpoint)
    if parts.path.rstrip("/") in ("", "/openai"):
        return urlunsplit(parts._replace(path="/openai/v1"))
    if "/deployments/" not in parts.path or "api-version" in parse_qs(parts.query):
        return endpoint
    version = f"api-version={os.environ.get('OPENAI_API_VERSION') or _AZURE_API_VERSION}"
    return urlunsplit(parts._replace(query=f"{parts.query}&{version}" if parts.query else version))


def completed_address(address: str, default: str) -> str:
    """Append to `address` the missing end of the path of the vendor's `default` address.

    Done only for the vendor's own host, for local servers, and if a part of the path is given.

    >>> completed_address("http://127.0.0.1:9000", "http://127.0.0.1:8000/v1")
    'http://127.0.0.1:9000/v1'
    >>> completed_address("https://proxy.example.com", "https://api.example.com/v1")
    'https://proxy.example.com'
    """
    parts, known = urlsplit(address), urlsplit(default)
    path, whole = parts.path.rstrip("/"), known.path.rstrip("/")
    certain = parts.hostname == known.hostname or is_loopback(default) or path
    if path == whole or not certain or not f"{whole}/".startswith(f"{path}/"):
        return address
    return urlunsplit(parts._replace(path=whole))


def _refused(provider: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"the base_url for {provider!r} {why}", provider=provider)
