"""Reads the tables of vendors and models, which are JSON files beside this module: one row a line."""

from __future__ import annotations

from importlib.resources import files
from typing import TypeVar

import msgspec

_T = TypeVar("_T")


def table(name: str, kind: type[_T]) -> _T:
    """Return the content of the file `name`; raise `msgspec.ValidationError` if a row has a wrong field or value."""
    return msgspec.json.decode(files("rxllm.providers").joinpath(name).read_bytes(), type=kind)
