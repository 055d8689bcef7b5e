"""Plain HTTP requests with whole answers, for the APIs of vendors that do not stream."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping

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
        with self._send(method, url, headers, body, timeout) as response:
            try:
                return response.headers, response.content
            except requests.exceptions.RequestException as error:
                raise APIConnectionError(f"the answer of {_origin(url)} broke off: {type(error).__name__}") from error

    def lines(self, url: str, headers: Mapping[str, str], *, timeout: float = 60.0) -> Generator[bytes]:
        """Yield the lines of a document, which may be large, without their ends."""
        with self._send("GET", url, headers, None, timeout) as response:
            left = b""
            try:
                for block in response.iter_content(_BLOCK_BYTES):
                    *whole, left = (left + block).split(b"\n")
                    yield from whole
            except requests.exceptions.RequestException as error:
                raise APIConnectionError(f"the answer of {_origin(url)} broke off: {type(error).__name__}") from error
            if left:
                yield left

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> requests.Response:
        try:
            response = self._session.request(
                method,
                url,
                headers=dict(headers),
                data=body,
                timeout=(_CONNECT_SECONDS, timeout),
                allow_redirects=False,
                stream=True,
                auth=_unchanged,  # or requests would take credentials from .netrc
            )
        except requests.exceptions.Timeout as error:
            raise APITimeoutError(f"no answer from {_origin(url)} in time", phase="first_token") from error
        except requests.exceptions.RequestException as error:
            raise APIConnectionError(f"no answer from {_origin(url)}: {type(error).__name__}") from error
        if 200 <= response.status_code < 300:
            return response
        with response:
            given = {name.lower(): value for name, value in response.headers.items()}
            raise status_error(response.status_code, given, response.content[:_BLOCK_BYTES], time.time())


def _unchanged(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    return prepared


def _origin(url: str) -> str:
    return "/".join(url.split("/")[:3])
