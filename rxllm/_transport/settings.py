"""How a request is made: the route of its connection, its target and its headers."""

from __future__ import annotations

import base64
import functools
import ipaddress
import os
import ssl
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

import certifi
import urllib3
from urllib3.util import Url, parse_url
from urllib3.util.ssl_ import create_urllib3_context

from .._protocol import WireRequest
from .._runtime.platform import HAS_SYSTEM_PROXIES
from ..errors import ConfigurationError
from .dns_lookup import is_address

if TYPE_CHECKING:
    import requests

_PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
SOCKS_TYPES = {"socks4": 1, "socks4a": 1, "socks5": 2, "socks5h": 2}


class Route(NamedTuple):
    """What connections must have in common to serve the same requests; the key of the pool."""

    scheme: str
    host: str
    port: int
    proxy: str | None = None
    """The proxy's URL, with its credentials."""
    verify: bool | str = True
    cert: str | tuple[str, str] | None = None
    socket_options: tuple[tuple[Any, ...], ...] = ()
    """This and the rest: what the adapter of a user's session sets for its connections."""
    source_address: tuple[str, int] | None = None
    ssl_context: ssl.SSLContext | None = None


class Settings(NamedTuple):
    """How one request is made."""

    route: Route
    target: str
    headers: dict[str, str]
    body: bytes
    prepared: requests.PreparedRequest | None = None
    """With a user's session: the request as requests has prepared it, for hooks and cookies."""
    environment: Mapping[str, Any] = {}
    """With a user's session: its proxies, verify and cert for this request."""


def own_settings(request: WireRequest) -> Settings:
    """Return the settings of a request without a session: the environment's proxies and certificates."""
    url = parsed_url(request.url)
    proxy = None if is_loopback(url.host or "") else _environment_proxy(f"{url.scheme}://{url.netloc}")
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    defaults = {"User-Agent": "rxllm", "Accept": "*/*", "Accept-Encoding": "identity"}
    headers = merged_headers(defaults, request.headers)
    return make_settings(url, headers, request.body, {"proxy": proxy, "verify": bundle or True})


def make_settings(url: Url, headers: Mapping[str, str], body: bytes, on_route: Mapping[str, Any]) -> Settings:
    """Return the settings of a request to `url`, with the headers that follow from its route and its body.

    `on_route` are the fields of the route that do not follow from the URL.
    """
    scheme = url.scheme or ""
    route = Route(scheme, url.host or "", url.port or port_of(scheme), **on_route)
    headers = merged_headers({"Host": host_header(url)}, headers)
    target = url.request_uri
    if route.proxy is not None and scheme == "http" and not route.proxy.startswith("socks"):
        target = f"http://{host_header(url)}{target}"
        headers |= proxy_headers(parsed_proxy(route.proxy))
    headers["Content-Length"] = str(len(body))
    return Settings(route, target, headers, body)


def merged_headers(defaults: dict[str, str], headers: Mapping[str, str]) -> dict[str, str]:
    """Return `headers` with those of `defaults` whose names they lack, in any case."""
    names = {name.lower() for name in headers}
    return {**{name: value for name, value in defaults.items() if name.lower() not in names}, **headers}


@functools.lru_cache(maxsize=256)
def parsed_url(url: str) -> Url:
    """Return the parts of `url`.

    Raises:
        ConfigurationError: It is not an http or https URL.
    """
    parts = _parts(url)
    if parts.scheme not in ("http", "https") or not parts.host:
        raise ConfigurationError(f"base_url must start with http:// or https:// and name a host; got {origin(url)!r}")
    return parts


def parsed_proxy(url: str) -> Url:
    """Return the parts of a proxy's URL.

    Raises:
        ConfigurationError: It is not a URL. The message does not repeat it, because it may contain a password.
    """
    parts = _parts(url)
    if not parts.host or parts.scheme not in ("http", "https", *SOCKS_TYPES):
        raise ConfigurationError(
            "the address of the proxy is not a valid URL: check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, or the session"
        )
    return parts


def origin(url: str) -> str:
    """Return the scheme, host and port of `url`, without user, password, path and query."""
    parts = _parts(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.host else "an address that is not a URL"


def _parts(url: str) -> Url:
    """Return the parts of `url`; none if it is not a URL."""
    try:
        return parse_url(url)
    except urllib3.exceptions.LocationParseError:
        return Url()


def is_loopback(host: str) -> bool:
    """Return whether `host` is this machine."""
    host = host.strip("[]")
    if is_address(host):
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    return host == "localhost" or host.endswith(".localhost")


def port_of(scheme: str | None) -> int:
    return 443 if scheme == "https" else 1080 if scheme in SOCKS_TYPES else 80


def host_header(url: Url) -> str:
    host = str(url.host)
    return host if url.port is None or url.port == port_of(url.scheme) else f"{host}:{url.port}"


def _environment_proxy(url: str) -> str | None:
    """Return the URL of the proxy that the environment, or the system, names for `url`."""
    if not HAS_SYSTEM_PROXIES and not any(map(os.environ.get, _PROXY_VARIABLES)):
        return None  # the import takes longer than a request
    from requests.utils import get_environ_proxies

    return select_proxy(url, get_environ_proxies(url, no_proxy=None))


def select_proxy(url: str, proxies: Any) -> str | None:
    """Return the URL of the proxy for `url` among those of a session or of the environment."""
    from requests import utils

    proxy = utils.select_proxy(url, proxies)
    return None if not proxy else proxy if "://" in proxy else f"http://{proxy}"


def proxy_headers(proxy: Url) -> dict[str, str]:
    if not proxy.auth:
        return {}
    user, _, password = proxy.auth.partition(":")
    credentials = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
    return {"Proxy-Authorization": f"Basic {credentials}"}


def socks_settings(proxy: Url) -> dict[str, Any]:
    """Return what PySocks needs beside the address; with "socks5h" and "socks4a" the proxy looks the name up."""
    try:
        import_module("socks")
    except ImportError:
        raise ConfigurationError("a SOCKS proxy needs the package PySocks: pip install 'requests[socks]'") from None
    user, _, password = (proxy.auth or "").partition(":")
    return {
        "proxy_type": SOCKS_TYPES[proxy.scheme or ""],
        "rdns": proxy.scheme in ("socks5h", "socks4a"),
        "username": unquote(user) or None,
        "password": unquote(password) or None,
    }


@functools.lru_cache(maxsize=32)
def ssl_context(
    verify: bool | str, cert: str | tuple[str, str] | None = None, own: ssl.SSLContext | None = None
) -> ssl.SSLContext:
    """Return the TLS settings, in the user's `own` if there is one. They are kept: loading them takes milliseconds.

    Raises:
        ConfigurationError: A file is missing or holds no certificate, or the user's context must verify, but
            `verify` is False: the context is not changed, because other requests use it.
    """
    context = own or create_urllib3_context()
    if not verify and own and own.verify_mode != ssl.CERT_NONE:
        raise ConfigurationError("verify=False of session=, but the ssl_context of its adapter verifies certificates")
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif context.verify_mode != ssl.CERT_NONE:
        context.check_hostname = True
    try:
        if verify:
            path = verify if isinstance(verify, str) else certifi.where()
            context.load_verify_locations(**{"capath" if os.path.isdir(path) else "cafile": path})
        if cert:
            context.load_cert_chain(*((cert,) if isinstance(cert, str) else cert))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the TLS certificates could not be loaded: {error}") from error
    return context
