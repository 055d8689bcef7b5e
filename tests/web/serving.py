"""`rxllm serve` as a process of its own."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator

from rxllm.testing import LLMServer

PROGRAM = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from rxllm.cli import main, serve
from rxllm.web import asgi
serve.HEADER_SECONDS = float(os.environ.get("HEADER_SECONDS", serve.HEADER_SECONDS))
asgi.STALLED_SECONDS = float(os.environ.get("STALLED_SECONDS", asgi.STALLED_SECONDS))
sys.exit(main.main())
"""


@contextlib.contextmanager
def served(*words: str, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the address that it says it serves at."""
    with started(*words, **variables) as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            found = re.search(r"http://\S+", line)
            assert found is not None, line
            yield process, found.group()
        finally:
            process.kill()


def refusal(*words: str, status: int = 1) -> str:
    """What the process says that does not serve."""
    with started(*words) as process:
        said = process.communicate(timeout=100)[1]
    assert process.returncode == status, said
    return said


def started(*words: str, **variables: str) -> subprocess.Popen[str]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ}
    env = {**kept, "PYTHONUTF8": "1", "OLLAMA_HOST": "http://127.0.0.1:9"} | variables
    command = [sys.executable, "-c", PROGRAM, "serve", "--port", "0", *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)


def of(llm: LLMServer) -> list[str]:
    return ["--model", "openai-compatible:m", "--base-url", llm.base_url()]
