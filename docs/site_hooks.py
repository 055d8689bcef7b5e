"""Hooks of the documentation site: pages made from files outside `docs/`, and links that lead to the repository."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md", "architecture.md": "ARCHITECTURE.md"}
SEARCH_BOOST = {
    **dict.fromkeys(("get-started.md", "concepts.md", "messages.md", "troubleshooting.md", "ui.md"), 2.0),
    **dict.fromkeys(("batch.md", "web.md", "assistants.md", "testing.md"), 1.5),
    "performance.md": 0.5,
    **dict.fromkeys(("reference.md", "architecture.md", "contributing.md"), 0.02),
    "changelog.md": 0.01,
}
"""How much more a page counts in the search of the site: guides come before the reference."""

REFERENCE = (
    "rxllm.model",
    "rxllm.events",
    "rxllm.messages",
    "rxllm.options",
    "rxllm.prompt",
    "rxllm.errors",
    "rxllm.sinks.iterate",
    "rxllm.sinks.shared_stream",
    "rxllm.sinks.aio",
    "rxllm.resilient",
    "rxllm.providers.vendors",
    "rxllm.providers.model_presets",
    "rxllm.providers.local",
    "rxllm.operators",
    "rxllm.aio",
    "rxllm.assistant",
    "rxllm.assistant.assistant",
    "rxllm.assistant.errors",
    "rxllm.assistant.events",
    "rxllm.assistant.listeners",
    "rxllm.assistant.memory",
    "rxllm.assistant.sqlite",
    "rxllm.assistant.structured",
    "rxllm.assistant.templates",
    "rxllm.assistant.tools",
    "rxllm.ui",
    "rxllm.ui.qt",
    "rxllm.ui.tk",
    "rxllm.ui.textual",
    "rxllm.ui.jupyter",
    "rxllm.web",
    "rxllm.relay",
    "rxllm.batch",
    "rxllm.testing",
    "rxllm.otel",
)
"""The modules of the API reference, in the order of the page."""


def reference_page() -> str:
    """Return the page of the API reference in the syntax of mkdocstrings."""
    intro = "Every public name, module by module. Most are importable from `rxllm` too: `rxllm.TextDelta`."
    return "\n\n".join(["# API reference", intro, *(f"::: {module}" for module in REFERENCE)])


def provider_table() -> str:
    """Return the table of providers, as Markdown."""
    from rxllm.providers.vendors import vendors

    rows = ["| provider | key | default model | protocol |", "|---|---|---|---|"]
    for vendor in vendors():
        keys = " or ".join(f"`{name}`" for name in vendor.key_variables) if vendor.needs_key else "none"
        rows.append(f"| `{vendor.name}` | {keys} | {vendor.default_model or 'name one'} | {vendor.wire} |")
    return "\n".join(rows)


def operator_table() -> str:
    """Return the table "Which operator do I need?" of `rxllm.operators`, with a link from each name to its section."""
    from rxllm import operators

    rows = [line for line in (operators.__doc__ or "").splitlines() if line.startswith("|")]
    return re.sub(r"`(\w+)\([^`]*\)`", lambda call: f"[{call[0]}](#{call[1].lower()})", "\n".join(rows))


def site_links(text: str, repository: str) -> str:
    """Return Markdown whose links to files outside `docs/` lead to the repository or to their page of the site."""
    for page, source in PAGES.items():
        text = text.replace(f"]({source}", f"]({page}").replace(f"](../{source}", f"]({page}")
    text = re.sub(r"\]\(docs/([\w/.-]+)", r"](\1", text)
    outside = r"\]\((?:\.\./)?((?:examples|notebooks|benchmarks|rxllm|tests|\.ci|LICENSE)[\w/.-]*)"
    text = re.sub(outside, rf"]({repository}/blob/main/\1", text)
    return re.sub(r"\]\(([\w/-]+\.py)\)", rf"]({repository}/blob/main/docs/\1)", text)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made from other files. A hook of mkdocs."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, "reference.md", content=reference_page()))
    for page, source in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: object) -> str:
    """Rewrite links, insert the tables of providers and operators, and weight the page. A hook of mkdocs."""
    page.meta["search"] = {"boost": SEARCH_BOOST.get(page.file.src_uri, 1.0)}
    for mark, table in (("<!-- providers -->", provider_table), ("<!-- operators -->", operator_table)):
        markdown = markdown.replace(mark, table()) if mark in markdown else markdown
    return site_links(markdown, config["repo_url"].rstrip("/"))
