"""Parts of requests: addresses, headers, bodies, data URLs, and refusals."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import unquote_to_bytes, urlsplit, urlunsplit

from .._json import Json, encode, is_array, is_object
from .._json_values import json_data
from ..errors import ConfigurationError
from ..messages import MediaPart, ToolResult
from ..options import Options

_VERSION = re.compile(r"/v\d+(?:alpha|beta)?\d*$")


class Inline(NamedTuple):
    """A file inside a request: its media type and its base64 text."""

    media_type: str
    base64: str


def endpoint_url(base_url: str, version: str, path: str, query: str = "", *, pasted: str = "") -> str:
    """Return the address of `path` under `base_url`, whose path may already end with `version` or another version.

    `pasted` is a regular expression of what else people paste at the end of an address: it is cut off.

    >>> endpoint_url("https://api.example.com/v1/", "/v1", "/messages")
    'https://api.example.com/v1/messages'
    >>> endpoint_url("https://api.example.com/v1alpha?tenant=7", "/v1beta", "/models")
    'https://api.example.com/v1alpha/models?tenant=7'
    >>> endpoint_url("https://api.example.com/v1/messages", "/v1", "/messages")
    'https://api.example.com/v1/messages'
    """
    parts = urlsplit(base_url)
    root = parts.path.rstrip("/").removesuffix(path)
    root = re.sub(rf"(?:{pasted})$", "", root) if pasted else root
    if not root.endswith(version) and not (_VERSION.fullmatch(version) and _VERSION.search(root)):
        root += version
    queries = "&".join(filter(None, (parts.query, query)))
    return urlunsplit((parts.scheme, parts.netloc, root + path, queries, ""))


def header_fields(ours: Mapping[str, str | None], theirs: Mapping[str, str]) -> dict[str, str]:
    """Return `ours` that have a value, and that of JSON requests; `theirs` override them, in any case of letters."""
    ours = {**ours, "Content-Type": "application/json"}
    overruled = {name.lower() for name in theirs}
    kept = {name: value for name, value in ours.items() if value is not None and name.lower() not in overruled}
    return {**kept, **theirs}


def body_bytes(body: Mapping[str, object], extra: Mapping[str, object] | None) -> bytes:
    """Encode the body as JSON: fields without a value left out, `extra` merged over the rest, its `tools` added.

    Raises `ConfigurationError` if something in it cannot be encoded.

    >>> body_bytes({"a": 1, "b": None, "c": {"d": 2}}, {"c": {"e": 3}})
    b'{"a":1,"c":{"d":2,"e":3}}'
    """
    fields = without_none(**body)
    if extra:
        fields = merged(fields, extra)
        more, ours = extra.get("tools"), body.get("tools")
        if is_array(more) and is_array(ours):
            fields["tools"] = [*ours, *more]  # server tools stand beside the functions
    return json_bytes(fields)


def json_bytes(value: object) -> bytes:
    """Return a value as JSON, halves of surrogate pairs as U+FFFD; raise `ConfigurationError` if it is not JSON."""
    try:
        return encode(value)
    except UnicodeEncodeError:
        return encode(json_data(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"the prompt or an option cannot be sent as JSON: {error}") from error


def merged(body: Mapping[str, object], extra: Mapping[str, object]) -> Json:
    """Return `body` with `extra` over it: objects in both are merged, anything else is replaced."""
    result = dict(body)
    for name, value in extra.items():
        before = result.get(name)
        result[name] = merged(before, value) if is_object(before) and is_object(value) else value
    return result


def without_none(**fields: object) -> Json:
    """Return the fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


def result_text(result: ToolResult) -> str:
    """Return a tool result's text; of an error never empty, which vendors refuse."""
    return result.content or ("The tool failed without a message." if result.is_error else "")


def inline(part: MediaPart) -> Inline | None:
    """Return the part's content if it is inline (bytes or a data URL); None if it is only referenced."""
    if part.data is not None:
        return Inline(part.media_type or "application/octet-stream", base64.b64encode(part.data).decode())
    url = part.url or ""
    if url[:5].lower() != "data:":
        return None
    head, comma, payload = url[5:].partition(",")
    if not comma:
        raise ConfigurationError(f"{type(part).__name__}: a data: URL has a comma before its content; got {url[:40]!r}")
    media_type, *parameters = head.split(";")
    return Inline(media_type or part.media_type or "text/plain", _payload(part, payload, "base64" in parameters))


def data_url(part: MediaPart) -> str | None:
    """Return the part's URL, or the part itself as a data: URL."""
    file = inline(part)
    return f"data:{file.media_type};base64,{file.base64}" if file else part.url


def unsupported_option(option: str, provider: str, advice: str) -> ConfigurationError:
    """Return the error for an option that a provider does not support."""
    return ConfigurationError(f"{option}= is not something {provider!r} can do: {advice}", provider=provider)


def refuse_options(names: Iterable[str], options: Options, provider: str, advice: str) -> None:
    """Raise `ConfigurationError` if one of the named options is given, which the provider does not support."""
    for name in names:
        if getattr(options, name) not in (None, ()):
            raise unsupported_option(name, provider, advice)


def _payload(part: MediaPart, payload: str, encoded: bool) -> str:
    """Return the payload of a `data:` URL as base64."""
    data = unquote_to_bytes(payload)
    if not encoded:
        return base64.b64encode(data).decode()
    try:
        return base64.b64encode(base64.b64decode(data, validate=True)).decode()
    except binascii.Error as error:
        raise ConfigurationError(f"{type(part).__name__}: its data: URL is not base64: {error}") from error
