"""The minimum versions in pyproject.toml and those that CI installs are the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_lowest_versions_are_the_floors() -> None:
    """A floor that is raised is raised in .ci/lowest-versions.txt too, and each core dependency is listed there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [each for group in project["optional-dependencies"].values() for each in group]
    floors = dict(
        re.findall(r"^([\w-]+)(?:\[.*?\])?>=([\w.]+)", "\n".join([*project["dependencies"], *extras]), re.MULTILINE)
    )
    lowest = dict(re.findall(r"^([\w-]+)==([\w.]+)", (ROOT / ".ci/lowest-versions.txt").read_text(), re.MULTILINE))
    core = [re.split(r"[<>=]", each)[0] for each in project["dependencies"]]
    assert set(core) <= set(lowest)
    for name, version in lowest.items():
        assert (
            version == floors[name]
            or version.removesuffix(".0") == floors[name]
            or version.startswith(f"{floors[name]}.")
        ), name
