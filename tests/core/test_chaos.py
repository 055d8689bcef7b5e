"""Every fault of the shared chaos server, on each wire, ends as its table says.

The rig classifies; this drives it in one process, so that all faults of a wire take seconds. What
the rig says of memory holds for what all faults of a wire add together, eight of them at a time.
"""

from __future__ import annotations

import sys
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import rxllm

from ..shared import SHARED, needs_shared

pytestmark = needs_shared

LIMIT = 60.0
PROTOCOLS = ["openai-chat", "openai-responses", "anthropic", "gemini", "ollama"]
SLOW = {"stall-default", "endless-stream"}
"""Faults the rig does not score: one waits for the default limits, one sends 200 MB of answer."""


@pytest.fixture(scope="module")
def rig() -> Iterator[tuple[ModuleType, ModuleType]]:
    """The shared rig's server module and its runner module."""
    sys.path.insert(0, str(SHARED / "chaos"))
    try:
        import chaos
        import run

        yield chaos, run
    finally:
        sys.path.remove(str(SHARED / "chaos"))


@pytest.fixture(scope="module")
def base(rig: tuple[ModuleType, ModuleType]) -> str:
    """The address of a running chaos server."""
    server = rig[0].Server("127.0.0.1", 0)
    threading.Thread(target=server.serve, daemon=True).start()
    return str(server.base)


def peak_mb(*, reset: bool = False) -> float:
    """The most memory this process has had since the last reset, where the system tells (Linux)."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    return next(int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))


def outcome_of(adapter: Any, base: str, model: str, timeout: float | None) -> dict[str, Any]:
    """What a client made of a fault, in the rig's own terms."""
    try:
        outcome = adapter(base, model, timeout)
    except Exception as error:
        kind = type(error)
        mro = [f"{k.__module__}.{k.__qualname__}" for k in kind.__mro__[:-2]]
        return {
            "outcome": ["error", kind.__qualname__, kind.__module__, str(error)],
            "mro": mro,
            "partial": getattr(error, "partial", None),
        }
    return {"outcome": list(outcome), "mro": [], "partial": None}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_fault_ends_as_its_table_says(protocol: str, rig: tuple[ModuleType, ModuleType], base: str) -> None:
    """The full text or one typed error with what had arrived; no hang, no leak of the key, no retry in vain."""
    chaos, run = rig
    client = run.CLIENTS[f"rxllm-{protocol}"]
    faults = [fault for fault in chaos.FAULTS.values() if protocol in fault.protocols and fault.name not in SLOW]

    def attempt(fault: Any) -> str | None:
        model = f"{fault.name}~{uuid.uuid4().hex[:8]}"
        got = outcome_of(client.run, base, model, fault.timeout)
        encodable = "".join(got["outcome"]).encode("utf-8", "replace").decode() == "".join(got["outcome"])
        got |= {"killed": None, "rss_peak_mb": 0, "wall_s": 0, "encodable": encodable}
        seen = run.get_json(f"{base}/_stats?model={model}")
        kind, detail = run.classify(fault, client, got, seen)
        if got["outcome"][0] == "error" and not isinstance(got["partial"], rxllm.Response):
            return f"{fault.name}: no partial on {got['outcome'][1]}"
        return None if kind in run.CORRECT else f"{fault.name}: {kind} {detail}"

    before = peak_mb(reset=True)
    with ThreadPoolExecutor(8) as pool:
        results = [pool.submit(attempt, fault) for fault in faults]
        wrong = [result for future in results if (result := future.result(LIMIT)) is not None]
    assert wrong == []
    assert peak_mb() - before < run.MEMORY_MB
