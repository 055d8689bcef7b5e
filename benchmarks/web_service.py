"""What `rxllm serve` adds to a token, beside LiteLLM's proxy: milliseconds until the client has it, CPU per token.

    python -m benchmarks.web_service [--streams 50,200] [--rate 20] [--seconds 10] [--litellm COMMAND]

A replay server sends tokens at a steady rate, each of which says when it was sent; one process reads all streams
through the server that is measured. The row "none" is the same without a server in between: what it takes is the
machine's own, and its CPU is that of the reading process. `--litellm` is the path of the command
`litellm`, of an environment with `litellm[proxy]`; without it, only `rxllm serve` is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from .server import now_us, raise_file_limit, script

_CONTENT = re.compile(rb'"content":\s*"(\d{6,})"')
_MEGA = 1_000_000


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", default="50,200")
    parser.add_argument("--rate", type=int, default=20, help="tokens a second and stream")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--litellm")
    arguments = parser.parse_args()
    raise_file_limit()
    print("| server | streams | tokens | errors | p50 ms | p99 ms | CPU us per token |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for streams in map(int, arguments.streams.split(",")):
        model = script("paced", arguments.rate * arguments.seconds, arguments.rate)
        for name in ("none", "rxllm serve", *(["litellm proxy"] if arguments.litellm else [])):
            with _upstream() as url, _server(name, url, model, arguments.litellm) as (process, port, served):
                print(
                    f"| {name} | {streams} | {_measure(process, port, served, streams, arguments.seconds)} |",
                    flush=True,
                )


def _measure(process: psutil.Process, port: int, model: str, streams: int, seconds: int) -> str:
    before = _cpu_seconds(process)
    latencies, errors = asyncio.run(_read_all(port, model, streams, seconds))
    used = (_cpu_seconds(process) - before) * _MEGA
    if not latencies:
        return f"0 | {errors} | - | - | -"
    latencies.sort()
    p50, p99 = (latencies[int(len(latencies) * part)] / 1000 for part in (0.5, 0.99))
    return f"{len(latencies)} | {errors} | {p50:.1f} | {p99:.1f} | {used / len(latencies):.0f}"


async def _read_all(port: int, model: str, streams: int, seconds: int) -> tuple[list[int], int]:
    latencies: list[int] = []

    async def read(delay: float) -> int:
        await asyncio.sleep(delay)
        try:
            async with asyncio.timeout(seconds * 6 + 60):
                return await _read(port, model, latencies)
        except (OSError, TimeoutError):
            return 1

    errors = await asyncio.gather(*(read(seconds / 5 * at / streams) for at in range(streams)))
    return latencies, sum(errors)


async def _read(port: int, model: str, latencies: list[int]) -> int:
    """Read one stream; return 1 if it was not whole."""
    body = json.dumps({"model": model, "stream": True, "messages": [{"role": "user", "content": "x"}]}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer sk-benchmarks-only\r\n"
    )
    writer.write(f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
    ended = False
    while block := await reader.read(1 << 16):
        now = now_us()
        latencies.extend(now - int(sent) for text in _CONTENT.findall(block) for sent in _stamps(text))
        if ended := b"[DONE]" in block:
            break
    writer.close()
    return 0 if ended else 1


def _stamps(text: bytes) -> Iterator[bytes]:
    """Yield the times of sending: a server may have merged several tokens into one text."""
    width = len(str(now_us()))
    return (text[at : at + width] for at in range(0, len(text), width))


def _cpu_seconds(process: psutil.Process) -> float:
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(one.user + one.system for one in times)


@contextmanager
def _upstream() -> Iterator[str]:
    with subprocess.Popen([sys.executable, "-m", "benchmarks.server"], stdin=-1, stdout=-1, text=True) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
        server.kill()


@contextmanager
def _server(name: str, url: str, model: str, litellm: str | None) -> Iterator[tuple[psutil.Process, int, str]]:
    if name == "none":
        yield psutil.Process(), urlsplit(url).port or 0, model
        return
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        if name == "rxllm serve":
            served = f"openai-compatible:{model}"
            command = [sys.executable, "-c", "import sys; from rxllm.cli.main import main; sys.exit(main())"]
            command += ["serve", "--model", served, "--base-url", url, "--max-streams", "5000", "--per-client", "5000"]
        else:
            served = "bench"
            parameters = {"model": f"openai/{model}", "api_base": url, "api_key": "unused"}
            config = Path(folder, "config.json")  # JSON is YAML
            config.write_text(json.dumps({"model_list": [{"model_name": served, "litellm_params": parameters}]}))
            command = [str(litellm), "--config", str(config)]
        env = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": "sk-benchmarks-only"}
        quiet = subprocess.DEVNULL
        with subprocess.Popen([*command, "--port", str(port)], env=env, stdout=quiet, stderr=quiet) as server:
            _wait_for(port, server)
            yield psutil.Process(server.pid), port, served
            for one in psutil.Process(server.pid).children(recursive=True):
                one.kill()
            server.kill()


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as ready:
                ready.sendall(b"GET /v1/models HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
                if ready.recv(12).startswith(b"HTTP/1.1"):
                    return
        except OSError:
            time.sleep(0.2)
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with status {server.returncode}: run its command to see why")
    raise RuntimeError("the server does not start")


if __name__ == "__main__":
    main()
