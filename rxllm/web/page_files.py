"""The chat page's files, as they are in the package: nothing is built, nothing comes from other hosts."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import PurePath

from .http import HttpResponse

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
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
    content = _contents().get(name)
    kind = _TYPES.get(PurePath(name).suffix, "application/octet-stream")
    return None if content is None else HttpResponse(200, {"content-type": kind, **_HEADERS}, content)


@cache
def _contents() -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (files("rxllm.web") / "page").iterdir() if file.is_file()}
