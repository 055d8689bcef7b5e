"""The page on batches: its snippets run, one after the other; a server plays the vendor."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rxllm.testing import LLMServer, RecordedRequest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "batch.md").read_text()
SNIPPETS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def vendor(request: RecordedRequest) -> str:
    """JSON where it is asked for."""
    return '{"mood": "unfriendly"}' if "response_format" in request.json else "No."


@pytest.fixture
def vendors_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A server in the vendor's place."""
    monkeypatch.chdir(tmp_path)
    with LLMServer(default=vendor) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url())
        monkeypatch.setenv("OPENAI_API_KEY", "not-a-real-key")
        yield


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("vendors_environment")
def test_the_page_works(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """From its first import to its last line, and prints what it says."""
    (tmp_path / "reviews.csv").write_text(
        "".join(f"{line}\n" for line in ("id,text", "r0,Review 0: the soup was cold."))
    )
    names: dict[str, object] = {"__name__": "__main__"}
    for snippet in SNIPPETS:
        exec(compile(snippet, "docs/batch.md", "exec", dont_inherit=True), names)  # noqa: S102  our own
    printed = capsys.readouterr().out
    assert "r42 No." in printed
    assert "100 of 100 - seconds left: 0.0" in printed
    assert "r99 {'mood': 'unfriendly'}" in printed
    assert "1 of the file were settled before" in printed
    assert "100 answered" in printed
    assert '{"id": "r99", "mood": "unfriendly"}\n' in (tmp_path / "verdicts.jsonl").read_text()
    assert "100 were settled before" in printed
    assert "failed" not in printed
    import pandas

    table = pandas.read_parquet(tmp_path / "reviews")
    assert {f"r{n}" for n in range(100)} == set(table["key"])
    assert "Review 7: the soup was cold." in set(table["text_"])


def test_there_are_snippets() -> None:
    """The page is not lost to a change of the markup."""
    assert 7 == len(SNIPPETS)
