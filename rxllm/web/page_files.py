"""The chat page's files, as they are in the package: nothing is built, nothing comes from other hosts."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from .http import HttpResponse

_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "clipboard.js": "text/javascript; charset=utf-8",
    "markdown.js": "text/javascript; charset=utf-8",
    "stream.js": "text/javascript; charset=utf-8",
    "store.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

_HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def file(path: str) -> HttpResponse | None:
    """Return the file of the page at `path`; None if there is none."""
    name = "index.html" if path == "/" else path.removeprefix("/")
    kind = _TYPES.get(name)
    return None if kind is None else HttpResponse(200, {"content-type": kind, **_HEADERS}, _content(name))


@cache
def _content(name: str) -> bytes:
    return (files("rxllm.web") / "page" / name).read_bytes()
