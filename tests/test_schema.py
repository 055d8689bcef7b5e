"""Decoders and converters of Python types."""

from __future__ import annotations

import subprocess
import sys

from .raw_server import LIMIT

FIRST_USES = """
import sys, threading
import msgspec
from rxllm._schema import converter

kinds = []
for number in range(300):
    inner = msgspec.defstruct(f"Inner{number}", [("text", str)])
    kinds.append(msgspec.defstruct(f"Outer{number}", [(f"field{place}", inner) for place in range(4)]))
value = {f"field{place}": {"text": "a"} for place in range(4)}
together = threading.Barrier(4)

def convert_all():
    for kind in kinds:
        together.wait()
        print(converter(kind)(value).field3.text)

sys.setswitchinterval(1e-6)
threads = [threading.Thread(target=convert_all) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_several_threads_may_be_the_first_to_use_a_class() -> None:
    """With `msgspec.convert` itself, the interpreter crashes here."""
    run = subprocess.run([sys.executable, "-c", FIRST_USES], capture_output=True, text=True, timeout=LIMIT)
    assert (run.returncode, run.stdout.count("a")) == (0, 1200), run.stderr
