"""The documentation site: it builds without a warning, its links lead somewhere, and it names all that is public."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest

from ..test_front_door import PUBLIC_MODULES

ROOT = Path(__file__).resolve().parents[2]
BASE = "https://site/"

pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install -e '.[docs]'")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.mark.slow
def test_links_lead_somewhere(site: Path) -> None:
    """Every link and picture inside the site, with its anchor."""
    pages = {BASE + str(path.relative_to(site)): path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    anchors = {url: set(re.findall(r'\bid="([^"]+)"', text)) for url, text in pages.items()}
    broken: list[str] = []
    for page, text in pages.items():
        if page.endswith("404.html"):
            continue
        for link in re.findall(r'(?:href|src)="([^"]+)"', text):
            parts = urlsplit(urljoin(page, link))
            if f"{parts.scheme}://{parts.netloc}/" != BASE:
                continue
            path = unquote(parts.path).lstrip("/")
            target = site / path / "index.html" if (site / path).is_dir() else site / path
            url = BASE + str(target.relative_to(site))
            if not target.is_file() or (
                parts.fragment and unquote(parts.fragment) not in anchors.get(url, {parts.fragment})
            ):
                broken.append(f"{page}: {link}")
    assert broken == []


@pytest.mark.slow
def test_every_public_name_is_in_the_reference(site: Path) -> None:
    """Of the modules that users import: the files of `rxllm.assistant` are imported through it."""
    page = (site / "reference" / "index.html").read_text(encoding="utf-8")
    ids = set(re.findall(r'\bid="(rxllm\.[\w.]+)"', page))
    names = {name.rpartition(".")[2] for name in ids}
    missing = [
        f"{module}.{name}"
        for module in PUBLIC_MODULES
        if not module.startswith("rxllm.assistant.")
        for name in importlib.import_module(module).__all__
        if name not in names and not name.startswith("__") and f"{module}.{name}" not in ids
    ]
    assert missing == []


@pytest.mark.slow
def test_examples_of_the_reference_are_code(site: Path) -> None:
    """Not quotations, which Markdown makes of `>>>`."""
    page = (site / "reference" / "index.html").read_text(encoding="utf-8")
    assert "<blockquote>" not in page
    assert 'class="gp">&gt;&gt;&gt;' in page.replace(" </span>", "</span>")
