"""The documentation site: it builds without a warning, its links lead somewhere, and it names all that is public."""

from __future__ import annotations

import importlib
import inspect
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


@pytest.fixture(scope="module")
def reference(site: Path) -> dict[str, str]:
    """The pages of the API reference."""
    pages = {path.parent.name: path.read_text(encoding="utf-8") for path in (site / "reference").rglob("index.html")}
    assert len(pages) > 10
    return pages


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
def test_every_public_name_is_in_the_reference(reference: dict[str, str]) -> None:
    """Of the modules that users import."""
    ids = set(re.findall(r'\bid="(rxllm\.[\w.]+)"', "".join(reference.values())))
    names = {name.rpartition(".")[2] for name in ids}
    missing = [
        f"{module}.{name}"
        for module in PUBLIC_MODULES
        for name in importlib.import_module(module).__all__
        if name not in names and not name.startswith("__") and f"{module}.{name}" not in ids
    ]
    assert missing == []


@pytest.mark.slow
def test_the_index_of_the_reference_is_complete(reference: dict[str, str]) -> None:
    """It leads to each heading of a public name, and each page is small enough to load at once."""
    linked = {link.partition("#")[2] for link in re.findall(r'href="([^"]+)"', reference["reference"])}
    shown = {name for page in reference.values() for name in re.findall(r'<h[23] id="(rxllm\.[\w.]+)"', page)}
    assert shown - linked == set()
    assert "rxllm.operators.text" in shown  # the operator, not the package of this name
    assert {name: len(page) for name, page in reference.items() if len(page) > 500_000} == {}


@pytest.mark.slow
def test_no_markup_is_left_in_a_paragraph(site: Path) -> None:
    """A fence, an item of a list or a link that the site generator did not understand is shown as plain text."""
    left = re.compile(r"```|::$|\n\s*(?:- |\* |\|)|\][(\[]")
    pages = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    paragraphs = [(path, text) for path, page in pages.items() for text in re.findall(r"<p>(.*?)</p>", page, re.DOTALL)]
    assert len(paragraphs) > 500
    assert [(path.parent.name, text[:80]) for path, text in paragraphs if left.search(text)] == []


def parameters(value: object) -> list[str]:
    """The parameters that a public function or class has of its own: inherited ones stand with the base class."""
    if not (inspect.isfunction(value) or inspect.isclass(value)) or value.__module__ == "typing":
        return []
    if inspect.isclass(value) and issubclass(value, dict):
        return [*value.__annotations__]  # a TypedDict
    own = dict(inspect.signature(value).parameters)
    if inspect.isclass(value):
        fields = {*vars(value).get("__annotations__", ())}
        fields |= {*inspect.signature(value.__init__).parameters} if "__init__" in vars(value) else set()
        kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        own = {name: each for name, each in own.items() if name in fields and each.kind not in kinds}
    return [name for name in own if not name.startswith("_")]


@pytest.mark.slow
def test_every_parameter_is_in_the_reference(reference: dict[str, str]) -> None:
    """In the table of its function or class, or as an attribute of the class."""
    page = "".join(reference.values())
    sections = dict(re.findall(r'<h\d id="(rxllm\.[\w.]+)"(.*?)(?=<h\d id="rxllm\.|\Z)', page, re.DOTALL))
    missing: list[str] = []
    count = 0
    for module in PUBLIC_MODULES:
        for name in importlib.import_module(module).__all__:
            found = [text for key, text in sections.items() if key.endswith(f".{name}")]
            for parameter in parameters(getattr(importlib.import_module(module), name)) if found else ():
                count += 1
                listed = any(f"<code>{parameter}</code>" in text for text in found)
                if not listed and not any(key.endswith(f".{name}.{parameter}") for key in sections):
                    missing.append(f"{module}.{name}: {parameter}")
    assert missing == []
    assert count > 500


@pytest.mark.slow
def test_examples_of_the_reference_are_code(reference: dict[str, str]) -> None:
    """Not quotations, which Markdown makes of `>>>`."""
    page = "".join(reference.values())
    assert "<blockquote>" not in page
    assert 'class="gp">&gt;&gt;&gt;' in page.replace(" </span>", "</span>")


@pytest.mark.slow
def test_the_copy_button_leaves_prompts_out(site: Path) -> None:
    """Each prompt of a session has the class that `site.css` hides while the button copies."""
    code = "".join(path.read_text(encoding="utf-8") for path in site.rglob("index.html"))
    prompts = re.findall(r'<span class="(\w+)">&gt;&gt;&gt;', code)
    assert len(prompts) > 100
    assert set(prompts) == {"gp"}
    assert "[data-md-copying] :is(.gp, .go)" in (site / "site.css").read_text(encoding="utf-8")
