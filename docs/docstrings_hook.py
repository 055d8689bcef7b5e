"""Docstrings of the API reference, in the section names that mkdocstrings knows. An extension of griffe."""

from __future__ import annotations

import re
from textwrap import dedent, indent
from typing import Any

import griffe


class DocstringSections(griffe.Extension):
    """Gives examples, and the fields of msgspec structs, the sections that show them as code and with types."""

    def on_object(self, *, obj: griffe.Object, loader: griffe.GriffeLoader, **_: Any) -> None:
        """Rewrite the docstring of `obj`. A hook of griffe."""
        if obj.path == "rxllm.operators.text" and isinstance(obj.parent, griffe.Module):
            loader.resolve_aliases()  # griffe takes the package for the operator: the other aliases lead through it
            obj.parent.members["text"] = griffe.Alias("text", obj["plain.text"], parent=obj.parent)
        if obj.docstring is None:
            return
        text = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
        text = re.sub(r"^>>> (?:.+\n?)+", _as_examples, text, flags=re.MULTILINE)
        text = re.sub(r"^::\n\n((?: {4}.*\n?|\n)+)", _as_fence, text, flags=re.MULTILINE)
        text = re.sub(r":(?=:$)", "", text, flags=re.MULTILINE)  # Markdown knows a block of code by its indent
        if isinstance(obj, griffe.Class) and not list(obj.parameters):  # griffe sees no constructor of a struct
            text = re.sub(r"^Args:$", "Attributes:", text, flags=re.MULTILINE)
        obj.docstring.value = text


def _as_examples(doctest: re.Match[str]) -> str:
    return "Examples:\n" + indent(doctest[0], "    ")


def _as_fence(block: re.Match[str]) -> str:
    """Fences end a section such as Args; an indented block would be read as a part of it."""
    return f"```text\n{dedent(block[1]).strip(chr(10))}\n```\n"
