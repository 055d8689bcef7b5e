"""The rules of the house: names, docstrings and sizes that a reader can rely on."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import pytest

import rxllm
import rxllm.testing as rxllm_testing

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "rxllm").rglob("*.py"))

PUBLIC_MODULES: dict[str, set[str]] = {
    # core
    "rxllm.aio": {"AsyncIOScheduler"},
    "rxllm.errors": set(),
    "rxllm.events": set(),
    "rxllm.messages": set(),
    "rxllm.model": set(),
    "rxllm.options": {"CallOptions"},
    "rxllm.prompt": set(),
    "rxllm.resilient": set(),
    "rxllm.sinks.aio": set(),
    "rxllm.sinks.iterate": set(),
    "rxllm.sinks.shared_stream": set(),
    "rxllm": {
        "CallOptions",
        "LocalServer",
        "ModelPreset",
        "Vendor",
        "model_preset",
        "model_presets",
        "register_provider",
    },
    # operators
    "rxllm.operators": set(),
    # providers
    "rxllm.providers.local": set(),
    # assistant
    "rxllm.assistant": set(),
    # ui
    # web
    # testing
    "rxllm.testing": set(),
    # relay, batch, otel
    "rxllm.batch": {"WorkerLostError"},
    "rxllm.relay": {"ProducerLostError", "StreamGoneError", "StreamTakenError"},
}
"""Modules that users import, each with the names whose parameters need no description.

Each module that you add is checked by the tests below: `__all__`, type variables, and the parameters in docstrings.
"""


@pytest.mark.parametrize("name", PUBLIC_MODULES)
def test_all_is_sorted_and_true(name: str) -> None:
    """`__all__` is sorted, holds what the module offers and defines, and no type variable."""
    module = importlib.import_module(name)
    names = module.__all__
    assert names == sorted(names, key=_order)
    assert [each for each in names if not hasattr(module, each)] == []
    assert [each for each in names if isinstance(getattr(module, each), TypeVar)] == []
    assert sorted(set(_defined_names(module)) - set(names)) == []


@pytest.mark.parametrize("name", PUBLIC_MODULES)
def test_every_parameter_is_described(name: str) -> None:
    """The docstring of each public function, constructor and method names each of its parameters under `Args:`."""
    module = importlib.import_module(name)
    missing = [
        f"{label}: {', '.join(sorted(parameters))}"
        for public in module.__all__
        if public not in PUBLIC_MODULES[name]
        for label, value in _callables(public, getattr(module, public))
        if (parameters := set(_parameters(value)) - _described(inspect.getdoc(value) or ""))
    ]
    assert missing == []


def _order(name: str) -> tuple[bool, bool, str]:
    """Return the sort key of ruff's rule RUF022: constants, classes, then all others."""
    return not name.isupper(), not name[0].isupper(), name


def _defined_names(module: ModuleType) -> Iterator[str]:
    """Yield the public functions and classes that are defined in the file of `module`."""
    for name, value in vars(module).items():
        is_callable = inspect.isclass(value) or inspect.isfunction(value)
        if is_callable and not name.startswith("_") and value.__module__ == module.__name__:
            yield name


def _callables(name: str, value: object) -> Iterator[tuple[str, Callable[..., object]]]:
    """Yield a function; or a class, for its constructor, and its public methods."""
    if inspect.isfunction(value):
        yield name, value
    elif inspect.isclass(value) and (value.__module__ or "").startswith("rxllm"):
        yield name, value
        for method_name, member in vars(value).items():
            method = getattr(value, method_name)
            is_method = isinstance(member, classmethod | staticmethod) or inspect.isfunction(member)
            if is_method and not method_name.startswith("_"):
                yield f"{name}.{method_name}", method


def _parameters(value: Callable[..., object]) -> list[str]:
    """Return the public parameters of a function, or of a class that defines its own constructor or fields."""
    if inspect.isclass(value) and getattr(value, "_is_protocol", False):
        return []
    if inspect.isclass(value) and not ({"__init__", "__struct_fields__", "__annotations__"} & vars(value).keys()):
        return []  # the base class describes them
    try:
        parameters = inspect.signature(value).parameters
    except ValueError:  # built-in constructors
        return []
    return [name for name in parameters if name not in ("self", "cls") and not name.startswith("_")]


def _described(docstring: str) -> set[str]:
    """Return the names under `Args:` or `Attributes:`."""
    sections = re.findall(r"^(?:Args|Attributes):\n((?:[ \t]+.*\n?|\n)*)", docstring, re.MULTILINE)
    lines = re.findall(r"^    \*{0,2}(\w+(?:, \w+)*)(?: \([^)]*\))?:", "\n".join(sections), re.MULTILINE)
    return {name for line in lines for name in line.split(", ")}


@pytest.mark.parametrize("name", [name for name in rxllm.__all__ if not name.startswith("_")])
def test_every_public_name_says_what_it_is(name: str) -> None:
    """Public functions, classes and their public methods have docstrings."""
    value = getattr(rxllm, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__doc__
    if inspect.isclass(value):
        for member_name, member in vars(value).items():
            if inspect.isfunction(member) and not member_name.startswith("_"):
                assert inspect.getdoc(getattr(value, member_name)), member_name


def test_a_file_can_be_read_in_one_sitting() -> None:
    """A file has a docstring and at most 400 lines; a function has at most 60, without its docstring."""
    for path in FILES:
        text = path.read_text()
        tree = ast.parse(text)
        assert text.count("\n") <= 400, path
        assert ast.get_docstring(tree), path
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert _lines(node) <= 60, (path, node.name)


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the number of lines of a function without its docstring."""
    lines = (node.end_lineno or 0) - node.lineno + 1
    docstring = node.body[0]
    if ast.get_docstring(node, clean=False) is not None:
        lines -= (docstring.end_lineno or 0) - docstring.lineno + 1
    return lines


def test_importing_loads_no_toolkit() -> None:
    """Creating a model loads nothing that only some users need."""
    script = (
        "import sys, rxllm; rxllm.create_streaming_model, rxllm.iter_events;"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    toolkits = {"tkinter", "PySide6", "PyQt6", "textual", "rich", "starlette", "uvicorn", "redis", "ray", "xllamacpp"}
    toolkits |= {"pydantic", "numpy", "pandas", "IPython", "opentelemetry", "pytest"}
    assert toolkits.isdisjoint(loaded)


def test_a_model_of_a_vendor_needs_no_operators() -> None:
    """Their import takes longer than that of all the rest."""
    script = "import rxllm, sys; rxllm.create_streaming_model('openai', api_key='k'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "rxllm.operators" not in done.stdout.split()


def test_the_pytest_plugin_costs_nothing_where_it_is_unused() -> None:
    """Pytest loads it in every run of every project: it loads no module of rxllm but two package fronts."""
    script = "import sys, rxllm.testing.plugin; print(*(name for name in sys.modules if name.startswith('rxllm')))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert sorted(loaded) == ["rxllm", "rxllm._lazy_imports", "rxllm.testing", "rxllm.testing.plugin"]


@pytest.mark.parametrize("package", [rxllm, rxllm_testing])
def test_lazy_names_load(package: ModuleType) -> None:
    """Each public name loads; one that does not exist is an AttributeError."""
    for name in package.__all__:
        assert getattr(package, name) is not None
        assert inspect.ismodule(getattr(package, name)) <= (package is rxllm), "a module hides the name"
        assert name in dir(package)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        package.nothing  # noqa: B018 - reading it raises


def test_the_version_is_that_of_the_installed_package() -> None:
    """`rxllm.__version__` is read from the package's metadata when it is first used, not at import."""
    script = "import rxllm; print('__version__' in vars(rxllm), rxllm.__version__)"
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert printed == ["False", importlib.metadata.version("rxllm")]


def test_the_architecture_names_the_packages_that_there_are() -> None:
    """All packages and top modules; each module of the machinery; and the four paths pass modules that exist."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    rows = {cells[1]: cells[2] for line in text.splitlines() if line.startswith("| `") and (cells := line.split("|"))}
    tops = {path.stem for path in (ROOT / "rxllm").iterdir() if path.name[:2] not in ("__", "py")}
    assert tops == {name.rstrip("/") for first in rows for name in re.findall(r"[\w/]+", first)}
    for package in ("_core", "_runtime", "_transport"):
        named = set(re.findall(r"`(\w+)`", rows[f" `{package}/` "]))
        assert {path.stem for path in (ROOT / "rxllm" / package).glob("[a-z]*.py")} <= named
    paths = text.partition("## Four paths")[2].partition("##")[0]
    for module in re.findall(r"`([\w/]+/\w+)`", paths):
        assert (ROOT / "rxllm" / f"{module}.py").is_file()
