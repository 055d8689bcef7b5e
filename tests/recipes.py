"""The snippets of a page of the documentation, to be run as they are printed."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def recipes(page: str) -> dict[str, str]:
    """The Python snippets of a page, by the title of their section; a second one of a section has a number."""
    found: dict[str, str] = {}
    for section in re.split(r"(?m)^## ", (DOCS / page).read_text())[1:]:
        title = section.partition("\n")[0]
        for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL), 1):
            found[title if number == 1 else f"{title} ({number})"] = code
    return found


def run(recipe: str) -> None:
    """From its imports to its last line."""
    exec(compile(recipe, "recipe", "exec", dont_inherit=True), {"__name__": "__main__"})  # noqa: S102  our own
