"""Plain HTTP requests with whole answers, for the APIs of vendors that do not stream."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import requests

from ..errors import APIConnectionError, APITimeoutError
from .vendor_errors import status_error

_CONNECT_SECONDS = 30.0
_BLOCK_BYTES = 64 * 1024


class PlainHttp:
    """A session of requests. Use it on one thread; errors are those of `rxllm.errors`, redirects are not followed."""

    def __init__(self) -> None:
        self._session = requests.Session()

    def call(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        timeout: float = 60.0,
    ) -> tuple[Mapping[str, str], bytes]:
        """Send a request; return the headers and the body of the answer. `timeout` is in seconds, for each read."""
        with self._response(method, url, headers, body, timeout) as response:
            return response.headers, response.content

    def lines(self, url: str, headers: Mapping[str, str], *, timeout: float = 60.0) -> Generator[bytes]:
        """Yield the lines of a document, which may be large, without their ends."""
        with self._response("GET", url, headers, None, timeout) as response:
            yield from response.iter_lines(_BLOCK_BYTES)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    @contextmanager
    def _response(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> Generator[requests.Response]:
        """Send a request, and close its response in the end. Errors of requests become ours, also while it is read."""
        origin = "/".join(url.split("/")[:3])
        try:
            with self._session.request(
                method,
                url,
                headers=dict(headers),
                data=body,
                timeout=(_CONNECT_SECONDS, timeout),
                allow_redirects=False,
                stream=True,
                auth=lambda prepared: prepared,  # or requests would take credentials from .netrc
            ) as response:
                if not 200 <= response.status_code < 300:
                    given = {name.lower(): value for name, value in response.headers.items()}
                    raise status_error(response.status_code, given, response.content[:_BLOCK_BYTES], time.time())
                yield response
        except requests.exceptions.Timeout as error:
            raise APITimeoutError(f"no answer from {origin} in time", phase="first_token") from error
        except requests.exceptions.RequestException as error:
            raise APIConnectionError(f"no answer from {origin}, or it broke off: {type(error).__name__}") from error
