"""A call that needs a package that is not installed says how to install it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import rxllm
from rxllm import batch
from rxllm import operators as ops
from rxllm.testing import marble

from .raw_server import LIMIT


class Pixels:
    """One pixel, described as NumPy does it."""

    dtype = "uint8"
    shape = (1, 1)


USES: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "pixels": ("PIL", "pillow", lambda _: rxllm.ImagePart.from_array(Pixels())),
    "redact": ("regex", "rxllm[text]", lambda _: ops.redact("[0-9]+")),
    "cost": (
        "genai_prices",
        "rxllm[cost]",
        lambda _: marble("a|").pipe(ops.response(), ops.cost()).run(),
    ),
    "parquet": ("pyarrow", "pyarrow", lambda folder: batch.write_parquet([], folder / "rows")),
}


@pytest.mark.parametrize("use", USES)
def test_a_missing_package_is_named(use: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the requirement to install."""
    package, requirement, call = USES[use]
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(rxllm.MissingPackageError) as caught:
        call(tmp_path)
    assert f'needs the package {package}: pip install "{requirement}"' in str(caught.value)


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("rxllm.relay", "redis", "relay"),
        ("rxllm.web.asgi", "starlette", "web"),
        ("rxllm.ui.textual", "textual", "textual"),
    ],
)
def test_an_import_names_its_extra(module: str, package: str, extra: str) -> None:
    """A handler of ImportError catches it too."""
    script = f"""
import subprocess
import sys
sys.modules[{package!r}] = None
try:
    import {module}
except ImportError as error:
    print(type(error).__name__, error)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=LIMIT)
    assert (
        run.stdout.strip() == f'MissingPackageError {module} needs the package {package}: pip install "rxllm[{extra}]"'
    )
