"""What a token costs: CPU of the client process per text delta, beside hand-written floors in the same run.

    python benchmarks/cost.py [--rounds 5] [--deltas 20000]

A server in a process of its own sends an OpenAI chat stream, an HTTP chunk per delta of about four
characters. Each client reads it in a fresh process; rounds are interleaved, so that a drift of the
machine hits all alike. Read the ratios, not the microseconds.
"""

from __future__ import annotations

import argparse
import json
import resource
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

DELTAS = 20_000
PASSES = 5
IMPORTS = {
    "import requests, reactivex, sseclient": "import requests, reactivex, sseclient",
    "import rxllm": "import rxllm",
}


def stream_bytes(deltas: int) -> bytes:
    """The whole HTTP response: each event in a chunk of its own."""
    words = [" the", "tion", " “q”", "\n\n- ", '"ok"', " 1.5", "é né", "ing,"]

    def chunk(delta: dict[str, object], finish: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        shell = {"id": "chatcmpl-0123456789", "object": "chat.completion.chunk", "created": 1770933892}
        shell |= {"model": "gpt", "service_tier": "default", "system_fingerprint": "fp_0"}
        data = json.dumps({**shell, "choices": [choice], "usage": None}, ensure_ascii=False, separators=(",", ":"))
        event = b"data: " + data.encode() + b"\n\n"
        return b"%x\r\n%b\r\n" % (len(event), event)

    events = [chunk({"role": "assistant", "content": ""}, None)]
    events += [chunk({"content": words[n % len(words)]}, None) for n in range(deltas)]
    events += [chunk({}, "stop"), b"e\r\ndata: [DONE]\n\n\r\n", b"0\r\n\r\n"]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(events)


def serve(deltas: int) -> None:
    """Answer every request with the stream, until the process is ended."""
    answer = stream_bytes(deltas)

    def handle(connection: socket.socket) -> None:
        with connection:
            while True:
                request = b""
                while b"\r\n\r\n" not in request:
                    more = connection.recv(65536)
                    if not more:
                        return
                    request += more
                head, _, body = request.partition(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                while len(body) < length:
                    body += connection.recv(65536)
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            threading.Thread(target=handle, args=(listener.accept()[0],), daemon=True).start()


def raw_socket(url: str) -> Callable[[], int]:
    """The floor: a socket, a split at line feeds, json.loads."""
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port))
    body = b"{}"
    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    def read() -> int:
        connection.sendall(request)
        seen, rest = 0, b""
        while True:
            *lines, rest = (rest + connection.recv(65536)).split(b"\n")
            for line in lines:
                if line.startswith(b"data: {"):
                    seen += bool(json.loads(line[6:])["choices"][0]["delta"].get("content"))
                elif line == b"0\r":
                    return seen

    return read


def requests_and_sseclient(url: str) -> Callable[[], int]:
    """The naive road: requests, sseclient-py over its body, json.loads."""
    import requests
    import sseclient

    session = requests.Session()

    def read() -> int:
        seen = 0
        with session.post(url, data=b"{}", stream=True) as response:
            for event in sseclient.SSEClient(response.iter_content(None)).events():
                if event.data != "[DONE]":
                    seen += bool(json.loads(event.data)["choices"][0]["delta"].get("content"))
        return seen

    return read


def rxllm_text(url: str) -> Callable[[], int]:
    """The whole road: HTTP to typed events to an Observable to `ops.text()` to a subscriber."""
    import rxllm
    from rxllm import operators as ops

    model = rxllm.create_streaming_model("openai-compatible", model="m", base_url=url, max_retries=0)

    def read() -> int:
        seen = 0
        ended = threading.Event()

        def on_next(text: str) -> None:
            nonlocal seen
            seen += 1

        model.stream("?").pipe(ops.text()).subscribe(on_next, lambda error: ended.set(), ended.set)
        ended.wait()
        return seen

    return read


CLIENTS = {"raw socket + json.loads": raw_socket, "requests + sseclient-py + json.loads": requests_and_sseclient}
CLIENTS |= {"rxllm: typed events, Observable, ops.text()": rxllm_text}


def client(name: str, url: str, deltas: int) -> None:
    """Measure one client in this process, and print microseconds of CPU per delta."""
    read = CLIENTS[name](url)
    read()
    best = float("inf")
    for _ in range(PASSES):
        before = resource.getrusage(resource.RUSAGE_SELF)
        seen = read()
        after = resource.getrusage(resource.RUSAGE_SELF)
        if seen != deltas:
            raise SystemExit(f"{name} saw {seen} of {deltas} deltas")
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    print(best / deltas * 1e6)


def run(*arguments: str) -> float:
    """The number that a fresh process prints."""
    done = subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True)
    return float(done.stdout)


def import_ms(statement: str) -> float:
    """CPU milliseconds of an import in a fresh process."""
    return run("-c", f"import time; t = time.process_time(); {statement}; print((time.process_time() - t) * 1e3)")


def table(title: str, unit: str, samples: dict[str, list[float]]) -> None:
    """Medians, and their ratios to the first row's."""
    floor = statistics.median(next(iter(samples.values())))
    print(f"\n| {title} | {unit} | ratio |\n|---|--:|--:|")
    for name, values in samples.items():
        median = statistics.median(values)
        print(f"| {name} | {median:.2f} | {median / floor:.2f} |")


def main() -> None:
    """Run the server, then all clients in turn, and print two tables."""
    parser = argparse.ArgumentParser(description="CPU per text delta, and import time")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--deltas", type=int, default=DELTAS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--client", nargs=2, metavar=("NAME", "URL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.deltas)
    if options.client:
        client(*options.client, options.deltas)
        return
    deltas = ["--deltas", str(options.deltas)]
    with subprocess.Popen([sys.executable, __file__, "--serve", *deltas], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        costs: dict[str, list[float]] = {name: [] for name in CLIENTS}
        imports: dict[str, list[float]] = {name: [] for name in IMPORTS}
        for _ in range(options.rounds):
            for name in CLIENTS:
                costs[name].append(run(__file__, "--client", name, url, *deltas))
            for name, statement in IMPORTS.items():
                imports[name].append(import_ms(statement))
        server.terminate()
    print(f"Python {sys.version.split()[0]}, {time.strftime('%Y-%m-%d')}, {options.deltas} deltas")
    table("CPU per text delta", "us", costs)
    table("import", "ms CPU", imports)


if __name__ == "__main__":
    main()
