"""Real servers: llama.cpp with a real model on three wires, and one that speaks Ollama's protocol in front of it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

import rxllm
from rxllm.providers.local import LocalServer

from .embedded_model import needs_embedded_model
from .raw_server import LIMIT

OLLAMBDA = os.environ.get("RXLLM_OLLAMBDA") or shutil.which("ollambda")

pytestmark = [
    needs_embedded_model,
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def llama() -> str:
    """The address of llama.cpp's OpenAI API."""
    return LocalServer(api_key="").base_url()


@pytest.fixture(scope="module")
def ollama(llama: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that speaks Ollama's protocol, with llama.cpp behind it."""
    if OLLAMBDA is None:
        pytest.skip("needs ollambda (Python 3.13): pip install ollambda gevent packaging, RXLLM_OLLAMBDA names it")
    folder = tmp_path_factory.mktemp("ollambda")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {"HOST": "127.0.0.1", "PORT": port, "PROXY_IP": "127.0.0.1", "STORAGE_DIR": folder}
    settings["PROXY_PORT"] = llama.rpartition(":")[2].partition("/")[0]
    environment = os.environ | {f"OLLAMBDA_{name}": str(value) for name, value in settings.items()}
    with Path(folder / "log").open("wb") as log:
        server = subprocess.Popen([OLLAMBDA], cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        yield _when_ready(f"http://127.0.0.1:{port}", server)
    finally:
        server.terminate()
        server.wait(LIMIT)


def _when_ready(url: str, server: subprocess.Popen[bytes]) -> str:
    waiting = threading.Event()
    for _ in range(600):
        try:
            requests.get(f"{url}/api/version", timeout=60).raise_for_status()
            return url
        except requests.RequestException:
            assert server.poll() is None, "the server ended at its start"
            waiting.wait(0.1)
    raise AssertionError("the server did not start")


def check(model: rxllm.StreamingModel) -> rxllm.Response:
    """A real answer, as a stream: deltas that join to the response, and an end."""
    events = list(rxllm.iter_events(model.stream("Say hello in five words.")))
    end = events[-1]
    assert isinstance(end, rxllm.StreamEnd)
    text = "".join(event.text for event in events if isinstance(event, rxllm.TextDelta))
    assert text == end.response.text != ""
    assert end.response.finish_reason in ("stop", "length")
    return end.response


@pytest.mark.parametrize("provider", ["openai", "openai-responses", "anthropic", "openai-compatible", "llamacpp"])
def test_llama_cpp(provider: str, llama: str) -> None:
    """Its /v1/chat/completions, /v1/responses and /v1/messages, through our providers."""
    base_url = llama.removesuffix("/v1") if provider == "anthropic" else llama
    with rxllm.create_streaming_model(provider, model="any", base_url=base_url, max_tokens=24) as model:
        response = check(model)
    assert response.usage.output_tokens is not None
    assert 0 < response.usage.output_tokens <= 24


def test_an_answer_of_a_schema(llama: str) -> None:
    """The real server holds the model to the schema that we send."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    model = rxllm.create_streaming_model("llamacpp", base_url=llama, response_format=schema, max_tokens=100, seed=1)
    response = model.chat("Name a city in Norway, as JSON.")
    assert '"city"' in response.text


def test_stopping_a_real_answer(llama: str) -> None:
    """Disposing ends the generation: the server is free for the next at once."""
    model = rxllm.create_streaming_model("llamacpp", base_url=llama, max_tokens=4000)
    got = threading.Event()
    stop = model.stream("Count to one thousand.").subscribe(lambda event: got.set())
    assert got.wait(60)
    stop.dispose()
    assert model.chat("Say hi", max_tokens=4).text


def test_ollama(ollama: str) -> None:
    """Ollama's /api/chat as somebody else implements it: real tokens, to their end or until we have had enough."""
    name = requests.get(f"{ollama}/api/tags", timeout=LIMIT).json()["models"][0]["name"]
    texts: list[str] = []
    with rxllm.create_streaming_model("ollama", model=name, base_url=ollama) as model:
        for event in rxllm.iter_events(model.stream("Say hello in five words.")):
            if isinstance(event, rxllm.TextDelta):
                texts.append(event.text)
            if isinstance(event, rxllm.StreamEnd):
                assert event.response.text == "".join(texts)
            if len(texts) == 20:
                break  # this server does not pass a limit on, and a small model may go on for long
    assert "".join(texts).strip()
