"""What encoders share: addresses, headers, bodies, data URLs, and how they say no."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote_to_bytes, urlsplit, urlunsplit

from .._json import encode, is_object
from ..errors import ConfigurationError
from ..messages import AudioPart, DocumentPart, ImagePart, Part, VendorFields
from ..options import Options

_VERSION = re.compile(r"/v\d+(?:alpha|beta)?\d*$")


class Inline(NamedTuple):
    """A file inside a request: its media type and its base64 text."""

    media_type: str
    base64: str


def endpoint(base_url: str, version: str, path: str, query: str = "") -> str:
    """Return the address of `path` under `base_url`, whose path may already end with `version` or another version.

    >>> endpoint("https://api.example.com/v1/", "/v1", "/messages")
    'https://api.example.com/v1/messages'
    >>> endpoint("https://api.example.com/v1alpha?tenant=7", "/v1beta", "/models")
    'https://api.example.com/v1alpha/models?tenant=7'
    """
    parts = urlsplit(base_url)
    root = parts.path.rstrip("/")
    if not root.endswith(version) and not (_VERSION.fullmatch(version) and _VERSION.search(root)):
        root += version
    queries = "&".join(filter(None, (parts.query, query)))
    return urlunsplit((parts.scheme, parts.netloc, root + path, queries, ""))


def header_fields(ours: Mapping[str, str | None], theirs: Mapping[str, str]) -> dict[str, str]:
    """Return `ours` without those that have no value; `theirs` override them, in any case of letters."""
    overruled = {name.lower() for name in theirs}
    kept = {name: value for name, value in ours.items() if value is not None and name.lower() not in overruled}
    return {**kept, **theirs}


def body_bytes(body: Mapping[str, object], extra: Mapping[str, object] | None) -> bytes:
    """Encode the body as JSON: fields without a value left out, `extra` merged over the rest.

    Raises `ConfigurationError` where something in it is no JSON.

    >>> body_bytes({"a": 1, "b": None, "c": {"d": 2}}, {"c": {"e": 3}})
    b'{"a":1,"c":{"d":2,"e":3}}'
    """
    fields = {name: value for name, value in body.items() if value is not None}
    try:
        return encode(merged(fields, extra) if extra else fields)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"the prompt or an option cannot be sent as JSON: {error}") from error


def merged(body: Mapping[str, object], extra: Mapping[str, object]) -> dict[str, object]:
    """Return `body` with `extra` over it: objects in both are merged, anything else is replaced."""
    result = dict(body)
    for name, value in extra.items():
        before = result.get(name)
        result[name] = merged(before, value) if is_object(before) and is_object(value) else value
    return result


def without_none(**fields: object) -> dict[str, object]:
    """Return the fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


def vendor_fields(vendor: VendorFields | None, wire: str) -> dict[str, object]:
    """Return the fields that a part keeps for `wire`, to be sent back with it."""
    return vendor.get(wire, {}) if vendor else {}


def inline(part: ImagePart | DocumentPart | AudioPart) -> Inline | None:
    """Return the part's content where the part holds it, as bytes or as a data URL; None where it is elsewhere."""
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


def unsupported_option(option: str, provider: str, advice: str) -> ConfigurationError:
    """Return the error for an option that a provider does not support."""
    return ConfigurationError(f"{option}= is not something {provider!r} can do: {advice}", provider=provider)


def refuse_format_beside_tools(options: Options, provider: str) -> None:
    """Raise where both an answer format and tools are given; for providers that then call no tool."""
    if options.response_format is not None and options.tools and options.tool_choice != "none":
        raise unsupported_option("response_format", provider, "it calls no tools beside it; give one or the other")


def unsupported_part(part: Part, provider: str, advice: str) -> ConfigurationError:
    """Return the error for a message part that a provider does not support."""
    return ConfigurationError(f"{provider!r} takes no such {type(part).__name__}: {advice}", provider=provider)


def refuse_detail(part: ImagePart, provider: str) -> None:
    """Raise where an image is wanted at a detail; for providers that know none but their own."""
    if part.detail in ("low", "high"):
        raise unsupported_part(part, provider, f"it has no detail={part.detail!r}; resize the image instead")


def _payload(part: Part, payload: str, encoded: bool) -> str:
    data = unquote_to_bytes(payload)
    if not encoded:
        return base64.b64encode(data).decode()
    try:
        return base64.b64encode(base64.b64decode(data, validate=True)).decode()
    except binascii.Error as error:
        raise ConfigurationError(f"{type(part).__name__}: its data: URL is not base64: {error}") from error
