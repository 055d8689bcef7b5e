"""The pages of the documentation: each snippet runs as a program, against a server in place of the vendors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import rxllm
from rxllm.messages import ToolCall
from rxllm.providers import vendors
from rxllm.testing import LLMServer, RecordedRequest, Reply

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = (
    "index",
    "get-started",
    "concepts",
    "messages",
    "testing",
    "errors",
    "providers",
    "coming-from",
    "troubleshooting",
)


def snippets() -> Iterator[tuple[str, str]]:
    """Yield the Python snippets, also those of tabs, each with a name."""
    for page in PAGES:
        text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
        found = re.findall(r"^( *)```python\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
        for number, (indent, code) in enumerate(found, 1):
            yield f"{page}-{number}", re.sub(f"^{indent}", "", code, flags=re.MULTILINE)


SNIPPETS = dict(snippets())


def vendor(request: RecordedRequest) -> Reply:
    """Answer with a tool call if there are tools, with JSON if the request wants it, else with the prompt."""
    if "tools" in request.json:
        return Reply(tool_calls=[ToolCall("call_1", "weather", {"city": "Oslo"})])
    if "response_format" in request.json:
        return Reply('{"name": "Oslo", "population": 717710}')
    return Reply(request.prompt, reasoning="Let me count.")


@pytest.mark.parametrize("name", SNIPPETS)
def test_a_snippet_runs(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From its imports to its last line; the tests that it defines run too."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n...")
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.7...")
    monkeypatch.setattr(vendors, "_vendors", dict(vendors._vendors))
    with LLMServer(default=vendor) as server:
        for variable, provider in (("OPENAI", "openai"), ("ANTHROPIC", "anthropic")):
            monkeypatch.setenv(f"{variable}_API_KEY", "k")
            monkeypatch.setenv(f"{variable}_BASE_URL", server.base_url(provider))
        names: dict[str, object] = {"__name__": "__main__"}
        exec(compile(SNIPPETS[name], name, "exec", dont_inherit=True), names)  # noqa: S102 - our own pages
        for value in [value for key, value in names.items() if key.startswith("test_")]:
            assert callable(value)
            value(server, monkeypatch)


def test_every_error_and_event_is_on_its_page() -> None:
    """The tables are complete."""
    errors = (DOCS / "errors.md").read_text(encoding="utf-8")
    events = (DOCS / "concepts.md").read_text(encoding="utf-8")
    abstract = {"LLMError", "APIStatusError", "StreamError"}
    names = {name for name in rxllm.__all__ if name.endswith("Error")} - abstract
    assert [name for name in sorted(names) if f"`{name}`" not in errors] == []
    assert [kind.__name__ for kind in rxllm.TokenEvent.__args__ if kind.__name__ not in events] == []
