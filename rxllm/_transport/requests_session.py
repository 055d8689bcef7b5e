"""What a user's requests session contributes to a request.

requests configures and rxllm sends: the headers, cookies, auth, parameters, proxies, TLS settings and hooks of a
session are used, but its adapters send nothing. What they set for their connections (socket options, a source address,
an SSL context) is used too; their pool sizes and retries are not, as rxllm pools and retries itself. A session whose
own `send`, or whose adapter's, does more is refused. The session itself is not changed, except for its cookies.
"""

from __future__ import annotations

import email.message
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .._arguments import check_type
from .._protocol import WireRequest
from ..errors import ConfigurationError, LLMError
from .body import Body
from .connections import CallAborted
from .settings import Settings, make_settings, parsed_url, select_proxy

if TYPE_CHECKING:
    import requests
    from requests.adapters import BaseAdapter

_REFUSED_KEYWORDS = re.compile(r"assert_\w+|server_hostname|ssl_\w*version|ca_cert\w*")


class SessionSettings:
    """The settings that a user's session makes.

    Raises:
        ConfigurationError: The session, or its adapter for http or https, sends requests in its own way.
    """

    def __init__(self, session: requests.Session) -> None:
        import requests

        check_type("session=", session, requests.Session)
        if type(session).send is not requests.Session.send or type(session).request is not requests.Session.request:
            raise _refused("session", type(session), "send() or request()")
        self._session = session
        for prefix in ("https://", "http://"):
            if prefix in session.adapters:
                _adapter_options(session.adapters[prefix])

    def of(self, request: WireRequest) -> Settings:
        """Return the settings of one request.

        Raises:
            ConfigurationError: requests cannot prepare the request.
        """
        import requests

        session = self._session
        try:
            prepared = session.prepare_request(
                requests.Request(
                    "POST",
                    request.url,
                    # Compression would delay tokens; a body that is compressed nevertheless is read.
                    headers={"Accept-Encoding": "identity", **request.headers},
                    data=request.body,
                    # Without auth, requests looks into .netrc and replaces the key by what it finds.
                    auth=session.auth or _unchanged,
                )
            )
            environment = dict(session.merge_environment_settings(request.url, {}, True, None, None))
        except requests.RequestException as error:
            raise ConfigurationError(f"requests could not prepare the request: {type(error).__name__}") from error
        if session.verify is not True:
            environment["verify"] = session.verify  # requests lets REQUESTS_CA_BUNDLE overrule it
        return self._settings(prepared, environment)

    def process(self, settings: Settings, body: Body, exchange: Callable[[Settings], Body]) -> Body:
        """Store the cookies of a response, and call the session's hooks; return the body of the response to use.

        Args:
            settings: Those of the request.
            body: The body of its response.
            exchange: Sends another request; a hook may ask for one (digest authentication).
        """
        prepared = settings.prepared
        if prepared is None or not (prepared.hooks["response"] or body.head.cookies):
            return body
        cookies: Any = import_module("requests.cookies")
        hooks: Any = import_module("requests.hooks")
        response: Any = self._response(prepared, body, exchange)
        try:
            cookies.extract_cookies_to_jar(self._session.cookies, prepared, response.raw)
            result = hooks.dispatch_hook("response", prepared.hooks, response, timeout=None, **settings.environment)
        except BaseException as error:
            body.close()
            if isinstance(error, LLMError | CallAborted | OSError) or not isinstance(error, Exception):
                raise
            raise ConfigurationError(f"a hook of session= raised {type(error).__name__}: {error}") from error
        answer: Body | None = getattr(result.raw, "body", None)
        if answer is None:
            body.close()
            raise ConfigurationError("a hook of session= returned a response whose raw= rxllm cannot read")
        return answer

    def _settings(self, prepared: requests.PreparedRequest, environment: Mapping[str, Any]) -> Settings:
        """Return the settings of a request that requests has prepared."""
        address, cert = str(prepared.url), environment["cert"]
        on_route: dict[str, Any] = {
            "proxy": select_proxy(address, environment["proxies"]),
            "verify": environment["verify"],
            "cert": cert if isinstance(cert, str | None) else tuple(cert),
            **_adapter_options(self._session.get_adapter(address)),
        }
        body = prepared.body if isinstance(prepared.body, bytes) else str(prepared.body or "").encode()
        given: Mapping[str, Any] = prepared.headers
        headers = {name: text.decode("latin-1") if isinstance(text, bytes) else text for name, text in given.items()}
        headers = {name: text for name, text in headers.items() if name.lower() != "content-length"}
        settings = make_settings(parsed_url(address), headers, body, on_route)
        return settings._replace(prepared=prepared, environment=environment)

    def _response(
        self, prepared: requests.PreparedRequest, body: Body, exchange: Callable[[Settings], Body]
    ) -> requests.Response:
        """Return a requests response that reads `body`."""
        from requests.adapters import HTTPAdapter

        def send_again(request: requests.PreparedRequest, **environment: Any) -> requests.Response:
            body.close()  # first: it would release the connection that the call owns
            environment.pop("timeout", None)
            return self._response(request, exchange(self._settings(request, environment)), exchange)

        raw: Any = _RawResponse(body)
        response: Any = HTTPAdapter().build_response(prepared, raw)
        response.connection = SimpleNamespace(send=send_again)  # hooks send another request with it
        made: requests.Response = response
        return made


class _RawResponse:
    """A body as requests reads it: its bytes as a file, its status and headers, and its cookies as http.client's."""

    reason = None

    def __init__(self, body: Body) -> None:
        self.body = body
        self.status = body.status
        self.headers = body.headers
        self.msg = email.message.Message()
        for cookie in body.head.cookies:
            self.msg["Set-Cookie"] = cookie
        self._original_response = self

    def read(self, _: int | None = None) -> bytes:
        """Return the next bytes, however many; b"" at the end."""
        while not self.body.at_end:
            if block := self.body.read():
                return block
        return b""

    def close(self) -> None:
        self.body.close()


def _adapter_options(adapter: BaseAdapter) -> dict[str, Any]:
    """Return what an adapter sets for its connections; raise `ConfigurationError` if it has its own `send`."""
    from requests.adapters import HTTPAdapter

    if not isinstance(adapter, HTTPAdapter) or type(adapter).send is not HTTPAdapter.send:
        raise _refused("adapter", type(adapter), "send()")
    keywords: Mapping[str, Any] = adapter.poolmanager.connection_pool_kw
    given = [name for name in keywords if keywords[name] is not None]
    refused = next(filter(_REFUSED_KEYWORDS.fullmatch, given), None)
    if refused is not None:
        raise ConfigurationError(f"session=: an adapter sets {refused}, which rxllm cannot use: set ssl_context")
    options: Any = keywords.get("socket_options") or ()
    return {
        "socket_options": tuple(tuple[Any, ...](option) for option in options),
        "source_address": keywords.get("source_address"),
        "ssl_context": keywords.get("ssl_context"),
    }


def _unchanged(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    return prepared


def _refused(what: str, kind: type, method: str) -> ConfigurationError:
    return ConfigurationError(
        f"session=: the {what} {kind.__name__} has its own {method}, which rxllm cannot use, because its streams need "
        "connections that can be stopped. Use a requests.Session with proxies, auth, headers and TLS settings only"
    )
