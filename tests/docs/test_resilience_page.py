"""The page on resilience: its snippets run, and its table of vendors is the code's."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

from rxllm.providers.vendors import providers_with_prefix

PATH = Path(__file__).resolve().parents[2] / "docs" / "resilience.md"
PAGE = PATH.read_text()


def test_the_snippets_give_what_the_page_says() -> None:
    """From top to bottom, as one session."""
    snippets = "\n".join(re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    test = doctest.DocTestParser().get_doctest(snippets, {}, PATH.name, str(PATH), 0)
    assert len(test.examples) > 20
    report: list[str] = []
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(test, out=report.append)
    assert runner.failures == 0, "".join(report)


def test_links_lead_to_sections() -> None:
    """Within the page."""
    sections = {title.lower().replace(" ", "-") for title in re.findall(r"^##+ (.+)$", PAGE, re.MULTILINE)}
    assert sections.issuperset(re.findall(r"\]\(#([\w-]+)\)", PAGE))


def test_every_vendor_that_allows_a_prefix_is_named() -> None:
    """And nobody else is said to."""
    rows = re.findall(r"^\| ([^|]+) \|[^|]*\|$", PAGE.partition("## After a cut")[2], re.MULTILINE)
    named = " ".join(rows).partition("OpenAI")[0].lower().replace(".", "").replace("the embedded model", "local")
    assert [] == [provider for provider in providers_with_prefix() if provider not in named]
