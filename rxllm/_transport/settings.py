"""How a request is made: the route of its connection, its target and its headers."""

from __future__ import annotations

import functools
import ipaddress
import os
import ssl
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

import urllib3
from urllib3.connection import ProxyConfig
from urllib3.util import Url, make_headers, parse_url
from urllib3.util.ssl_ import create_urllib3_context

from .._protocol import WireRequest
from .._runtime import platform
from ..errors import ConfigurationError
from .connections import Dialer, TLSDialer
from .lookup import is_address

if TYPE_CHECKING:
    import requests

_PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_SOCKS_TYPES = {"socks4": 1, "socks4a": 1, "socks5": 2, "socks5h": 2}


class Route(NamedTuple):
    """What connections must have in common to serve the same requests; the key of the pool."""

    scheme: str
    host: str
    port: int
    proxy: str | None = None
    """The proxy's URL, with its credentials."""
    verify: bool | str = True
    cert: str | tuple[str, str] | None = None
    options: AdapterOptions | None = None

    def dialer(self) -> Dialer:
        """Return an unconnected urllib3 connection for this route.

        Raises:
            ConfigurationError: A certificate file is missing or invalid, or PySocks is not installed.
        """
        proxy = parsed_proxy(self.proxy) if self.proxy else None
        is_socks = proxy is not None and proxy.scheme in _SOCKS_TYPES
        http_proxy = None if is_socks else proxy
        host, port = self.host, self.port
        if http_proxy is not None:
            host, port = str(http_proxy.host), http_proxy.port or port_of(http_proxy.scheme)
        options = dict(self.options.keywords) if self.options else {}
        options["socket_options"] = [*platform.socket_options(), *(options.get("socket_options") or ())]
        tls = {name: options.pop(name) for name in TLS_KEYWORDS if name in options}
        kind = Dialer
        if "https" in (self.scheme, http_proxy and http_proxy.scheme):
            kind = TLSDialer
            options |= self._certificates(has_own_tls=bool(tls)) | tls
            options["proxy_config"] = ProxyConfig(_ssl_context(self.verify, None), False, None, None)
        dialer = kind(host, port, timeout=None, proxy=http_proxy, **options)
        if http_proxy is not None and self.scheme == "https":
            dialer.set_tunnel(self.host, self.port, scheme=http_proxy.scheme or "http")
            dialer.tunnel_headers = proxy_headers(http_proxy)
        if proxy is not None and is_socks:
            dialer.socks = _socks_settings(proxy)
        return dialer

    def _certificates(self, *, has_own_tls: bool) -> dict[str, Any]:
        """Return the certificates as keywords of a connection: in our own context, or beside an adapter's settings."""
        if not has_own_tls:
            return {"ssl_context": _ssl_context(self.verify, self.cert)}
        if not self.verify:
            return {"cert_reqs": "CERT_NONE"}
        path = self.verify if isinstance(self.verify, str) else _default_bundle()
        files = self.cert if isinstance(self.cert, tuple) else (self.cert, None)
        bundle = "ca_cert_dir" if os.path.isdir(path) else "ca_certs"
        return {bundle: path, "cert_file": files[0], "key_file": files[1]}


TLS_KEYWORDS = (
    *("ssl_context", "assert_hostname", "assert_fingerprint", "server_hostname", "ssl_version"),
    *("ssl_minimum_version", "ssl_maximum_version", "ca_certs", "ca_cert_dir", "ca_cert_data"),
)


class AdapterOptions:
    """The keywords that a user's adapter has for its connections; equal only to itself."""

    def __init__(self, keywords: Mapping[str, Any]) -> None:
        self.keywords = keywords


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
    scheme, host = url.scheme or "", url.host or ""
    proxy, verify = None, True
    if not is_loopback(host):
        proxy = _environment_proxy(scheme, f"{scheme}://{url.netloc}", _environment())
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    route = Route(scheme, host, url.port or port_of(scheme), proxy, bundle or verify)
    headers = {"Host": host_header(url), "User-Agent": "rxllm", "Accept": "*/*", "Accept-Encoding": "identity"}
    return make_settings(route, url, merged_headers(headers, request.headers), request.body)


def make_settings(
    route: Route,
    url: Url,
    headers: dict[str, str],
    body: bytes,
    prepared: requests.PreparedRequest | None = None,
    environment: Mapping[str, Any] | None = None,
) -> Settings:
    """Return the settings of a request with the headers that follow from its route and its body."""
    target = url.request_uri
    if route.proxy is not None and route.scheme == "http" and not route.proxy.startswith("socks"):
        target = f"http://{host_header(url)}{target}"
        headers = {**headers, **proxy_headers(parsed_proxy(route.proxy))}
    headers["Content-Length"] = str(len(body))
    return Settings(route, target, headers, body, prepared, environment or {})


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
    if not parts.host or parts.scheme not in ("http", "https", *_SOCKS_TYPES):
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


@functools.lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Return whether `host` is this machine."""
    host = host.strip("[]")
    if is_address(host):
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    return host == "localhost" or host.endswith(".localhost")


def port_of(scheme: str | None) -> int:
    return 443 if scheme == "https" else 80


def host_header(url: Url) -> str:
    host = str(url.host)
    return host if url.port is None or url.port == port_of(url.scheme) else f"{host}:{url.port}"


def _environment() -> tuple[str | None, ...]:
    names = (*_PROXY_VARIABLES, "no_proxy", "NO_PROXY")
    return tuple(map(os.environ.get, names))


@functools.lru_cache(maxsize=256)
def _environment_proxy(scheme: str, url: str, environment: tuple[str | None, ...]) -> str | None:
    """Return the URL of the proxy for `url`. `environment` holds the variables, as part of the cache's key."""
    if not any(environment[: len(_PROXY_VARIABLES)]) and not platform.HAS_SYSTEM_PROXIES:
        return None
    from requests.utils import get_environ_proxies

    return select_proxy(url, get_environ_proxies(url, no_proxy=None))


def select_proxy(url: str, proxies: Any) -> str | None:
    """Return the URL of the proxy for `url` among those of a session or of the environment."""
    from requests import utils

    proxy = utils.select_proxy(url, proxies)
    return None if not proxy else proxy if "://" in proxy else f"http://{proxy}"


def proxy_headers(proxy: Url) -> dict[str, str]:
    return make_headers(proxy_basic_auth=unquote(proxy.auth)) if proxy.auth else {}


def _socks_settings(proxy: Url) -> dict[str, Any]:
    """Return what PySocks needs; with "socks5h" and "socks4a" the proxy looks the name up."""
    try:
        import_module("socks")
    except ImportError:
        raise ConfigurationError("a SOCKS proxy needs the package PySocks: pip install 'requests[socks]'") from None
    user, _, password = (proxy.auth or "").partition(":")
    return {
        "proxy_type": _SOCKS_TYPES[proxy.scheme or ""],
        "addr": str(proxy.host),
        "port": proxy.port or 1080,
        "rdns": proxy.scheme in ("socks5h", "socks4a"),
        "username": unquote(user) or None,
        "password": unquote(password) or None,
    }


@functools.lru_cache(maxsize=32)
def _ssl_context(verify: bool | str, cert: str | tuple[str, str] | None) -> ssl.SSLContext:
    """Return the TLS settings; loading certificates takes milliseconds, so they are kept.

    Raises:
        ConfigurationError: A file is missing or holds no certificate.
    """
    try:
        context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED if verify else ssl.CERT_NONE)
        if verify:
            path = verify if isinstance(verify, str) else _default_bundle()
            context.load_verify_locations(**{"capath" if os.path.isdir(path) else "cafile": path})
        if cert:
            context.load_cert_chain(*((cert,) if isinstance(cert, str) else cert))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the TLS certificates could not be loaded: {error}") from error
    return context


def _default_bundle() -> str:
    import certifi

    return certifi.where()
