"""Every fault of the shared chaos server, on each wire, ends as its table says.

The rig classifies; this drives it and the rig's server in one process, 40 faults at a time, because most of them wait.
"""

from __future__ import annotations

import sys
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import rxllm

from ..shared import SHARED, needs_shared

pytestmark = needs_shared

PROTOCOLS = ["openai-chat", "openai-responses", "anthropic", "gemini", "ollama"]
SLOW = {"stall-default", "endless-stream"}
"""Faults the rig does not score: one waits for the default limits, one sends 200 MB of answer."""


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """The shared rig, with all faults begun."""
    sys.path.insert(0, str(SHARED / "chaos"))
    try:
        import chaos
        import run

        server = chaos.Server("127.0.0.1", 0)
        threading.Thread(target=server.serve, daemon=True).start()
        rig = Rig(chaos, run, str(server.base), {})
        before = peak_mb(reset=True)
        with ThreadPoolExecutor(40) as pool:  # first those that wait for a limit
            rig.verdicts |= {
                (protocol, fault.name): pool.submit(rig.attempt, protocol, fault)
                for protocol, fault in sorted(
                    ((protocol, fault) for protocol in PROTOCOLS for fault in rig.faults(protocol)),
                    key=lambda pair: pair[1].timeout is None,
                )
            }
        assert peak_mb() - before < 2 * run.MEMORY_MB  # of 40 at a time, and of the server; the rig allows one so much
        yield rig
    finally:
        sys.path.remove(str(SHARED / "chaos"))


@dataclass
class Rig:
    """A running chaos server, and what became of each fault on each wire so far."""

    chaos: ModuleType
    run: ModuleType
    base: str
    verdicts: dict[tuple[str, str], Future[str | None]]

    def faults(self, protocol: str) -> list[Any]:
        """Those of a wire that are scored."""
        return [each for each in self.chaos.FAULTS.values() if protocol in each.protocols and each.name not in SLOW]

    def attempt(self, protocol: str, fault: Any) -> str | None:
        """Return what is wrong with the outcome of a fault; None if nothing is."""
        client = self.run.CLIENTS[f"rxllm-{protocol}"]
        model = f"{fault.name}~{uuid.uuid4().hex[:8]}"
        got = outcome_of(client.run, self.base, model, fault.timeout)
        encodable = "".join(got["outcome"]).encode("utf-8", "replace").decode() == "".join(got["outcome"])
        got |= {"killed": None, "rss_peak_mb": 0, "wall_s": 0, "encodable": encodable}
        seen = self.run.get_json(f"{self.base}/_stats?model={model}")
        kind, detail = self.run.classify(fault, client, got, seen)
        if got["outcome"][0] == "error" and not isinstance(got["partial"], rxllm.Response):
            return f"{fault.name}: no partial on {got['outcome'][1]}"
        return None if kind in self.run.CORRECT else f"{fault.name}: {kind} {detail}"


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


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_fault_ends_as_its_table_says(protocol: str, rig: Rig) -> None:
    """The full text or one typed error with what had arrived; no hang, no leak of the key, no retry in vain.

    The table's limits are short: what failed beside the others is tried once more, alone.
    """
    failed = [fault for fault in rig.faults(protocol) if rig.verdicts[protocol, fault.name].result() is not None]
    assert len(failed) < 8
    assert [] == [wrong for fault in failed if (wrong := rig.attempt(protocol, fault)) is not None]
