"""Hooks of the documentation site: pages made from files outside `docs/`, and links that lead to the repository."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md", "architecture.md": "ARCHITECTURE.md"}
SEARCH_BOOST = {
    **dict.fromkeys(("get-started.md", "concepts.md", "messages.md", "troubleshooting.md", "ui.md"), 2.0),
    **dict.fromkeys(("batch.md", "web.md", "assistants.md", "testing.md"), 1.5),
    "performance.md": 0.5,
    **dict.fromkeys(("reference", "architecture.md", "contributing.md"), 0.02),
    "changelog.md": 0.01,
}
"""How much more a page counts in the search of the site: guides come before the reference."""

REFERENCE = {
    "Models": ("rxllm.model", "rxllm.prompt", "rxllm.resilient"),
    "Events and responses": ("rxllm.events",),
    "Messages": ("rxllm.messages",),
    "Options": ("rxllm.options",),
    "Errors": ("rxllm.errors",),
    "Loops, asyncio, shared streams": ("rxllm.sinks.iterate", "rxllm.aio", "rxllm.sinks.shared_stream"),
    "Operators": ("rxllm.operators",),
    "Assistants": ("rxllm.assistant",),
    "User interfaces": ("rxllm.ui", "rxllm.ui.qt", "rxllm.ui.tk", "rxllm.ui.textual", "rxllm.ui.jupyter"),
    "Web": (
        "rxllm.web",
        "rxllm.web.asgi",
        "rxllm.web.wsgi",
        "rxllm.web.client",
        "rxllm.web.multiprocess.relayed_streams",
    ),
    "Batches": ("rxllm.batch",),
    "Relay": ("rxllm.relay",),
    "Providers": ("rxllm.providers.vendors", "rxllm.providers.model_presets", "rxllm.providers.local"),
    "Testing": ("rxllm.testing",),
    "OpenTelemetry": ("rxllm.otel",),
}
"""The pages of the API reference and the modules of each."""


def reference_pages() -> dict[str, str]:
    """Return the pages of the API reference by their path, in the syntax of mkdocstrings; the index is the last."""
    pages: dict[str, str] = {}
    index = ["# API reference", "Every public name. Most are importable from `rxllm` too: `rxllm.TextDelta`."]
    for title, modules in REFERENCE.items():
        page = re.sub(r"\W+", "-", title.lower()) + ".md"
        pages[f"reference/{page}"] = "\n\n".join([f"# {title}: reference", *(f"::: {module}" for module in modules)])
        index.append(f"## [{title}]({page})")
        for module in modules:
            links = " ".join(f"[`{name}`][{module}.{name}]" for name in public_names(module))
            index.append(f"[`{module}`][{module}]: {links}")
    return pages | {"reference/index.md": "\n\n".join(index)}


def public_names(module: str) -> list[str]:
    """Return `__all__` of a module less its modules. The module is not imported, as it may need other packages."""
    path = ROOT / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    (names,) = re.findall(r"^__all__ = (\[.*?\])", file.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [name for name in ast.literal_eval(names) if not (path / f"{name}.py").exists()]


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


def on_config(config: Any) -> Any:
    """Put the pages of the API reference into the navigation, its index first. A hook of mkdocs."""
    pages = [{title: page} for title, page in zip(REFERENCE, reference_pages(), strict=False)]  # the index is the last
    place = config["nav"].index({"API reference": "reference/index.md"})
    config["nav"][place] = {"API reference": ["reference/index.md", *pages]}
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made from other files. A hook of mkdocs."""
    from mkdocs.structure.files import File

    sources = {page: (ROOT / source).read_text(encoding="utf-8") for page, source in PAGES.items()}
    for page, content in {**reference_pages(), **sources}.items():
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: object) -> str:
    """Rewrite links, mark sessions, insert tables, and weight the page. A hook of mkdocs."""
    folder = page.file.src_uri.partition("/")[0]
    page.meta["search"] = {"boost": SEARCH_BOOST.get(folder, 1.0)}
    for mark, table in (("<!-- providers -->", provider_table), ("<!-- operators -->", operator_table)):
        markdown = markdown.replace(mark, table()) if mark in markdown else markdown
    markdown = re.sub(r"```python\n(?=>>>)", "```pycon\n", markdown)
    return site_links(markdown, config["repo_url"].rstrip("/"))
