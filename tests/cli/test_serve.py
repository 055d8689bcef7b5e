"""`rxllm serve` as a process: started, used, interrupted."""

from __future__ import annotations

import signal
import socket

import pytest
import requests

from rxllm.testing import Gate, LLMServer, Reply

from ..embedded_model import needs_embedded_model
from ..web.serving import of, refusal, served


def test_it_serves_and_an_interrupt_ends_it(llm_server: LLMServer) -> None:
    """With what is under way, which has its time to end."""
    gate = Gate(1)
    llm_server.enqueue(Reply("one two", gate=gate))
    with served(*of(llm_server), "--drain", "20") as (process, url):
        assert ["openai-compatible:m"] == requests.get(f"{url}api/models", timeout=60).json()["models"]
        assert "rxllm chat" in requests.get(url, timeout=60).text
        response = requests.post(f"{url}api/chat", json={"prompt": "Hi"}, stream=True, timeout=60)
        gate.wait_until_reached()
        process.send_signal(signal.SIGINT)
        lines = response.iter_lines(chunk_size=1, decode_unicode=True)
        gate.open()
        assert any('"type":"end"' in line for line in lines)
        assert 0 == process.wait(60)


def test_what_does_not_end_is_stopped(llm_server: LLMServer) -> None:
    """Its reader is told, the provider sees it, and nothing ugly is printed."""
    gate = Gate(1)
    llm_server.enqueue(Reply("one two", gate=gate))
    with served(*of(llm_server), "--drain", "0.2") as (process, url):
        response = requests.post(f"{url}api/chat", json={"prompt": "Hi"}, stream=True, timeout=60)
        gate.wait_until_reached()
        process.send_signal(signal.SIGINT)
        lines = response.iter_lines(chunk_size=1, decode_unicode=True)
        assert any('"type":"stopped"' in line for line in lines)
        assert llm_server.wait_for_request().closed.wait(60)
        process.wait(60)
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_others_than_this_machine_need_a_token(llm_server: LLMServer) -> None:
    """It is made up where none is given, and told to who started the server."""
    with served(*of(llm_server), "--host", "0.0.0.0") as (_, address):
        url, _, token = address.partition("#token=")
        assert len(token) > 16
        assert 401 == requests.get(f"{url}api/models", timeout=60).status_code
        headers = {"authorization": f"Bearer {token}"}
        assert 200 == requests.get(f"{url}api/models", headers=headers, timeout=60).status_code


@pytest.mark.parametrize(("host", "shown"), [("::1", "[::1]"), ("127.0.0.1", "127.0.0.1")])
def test_the_link_can_be_opened(llm_server: LLMServer, host: str, shown: str) -> None:
    """Also with IPv6."""
    with served(*of(llm_server), "--host", host) as (_, url):
        assert url.startswith(f"http://{shown}:")
        assert 200 == requests.get(url, timeout=60).status_code


def test_the_link_for_other_machines_names_this_one(llm_server: LLMServer) -> None:
    """Neither "localhost" nor "0.0.0.0" is a link for them."""
    with served(*of(llm_server), "--host", "0.0.0.0") as (_, url):
        assert not url.startswith("http://0.0.0.0")
        assert 200 == requests.get(url.partition("#")[0], timeout=60).status_code


def test_streams_are_limited_for_each_client(llm_server: LLMServer) -> None:
    """Behind a proxy, by the address that it passes on."""
    llm_server.enqueue(*(Reply("one two", gate=Gate(1)) for _ in range(2)))
    with served(*of(llm_server), "--per-client", "1", "--proxy", "127.0.0.1") as (_, url):

        def ask(address: str) -> requests.Response:
            headers = {"x-forwarded-for": address}
            return requests.post(f"{url}api/chat", json={"prompt": "Hi"}, headers=headers, stream=True, timeout=60)

        statuses = [ask(address).status_code for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2")]
    assert [200, 429, 200] == statuses


def test_a_connection_without_a_request_ends(llm_server: LLMServer) -> None:
    """After some seconds: it holds a descriptor."""
    with served(*of(llm_server), HEADER_SECONDS="0.5") as (_, url):
        port = int(url.rstrip("/").rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /api/models HTTP/1.1\r\nHost: 127")
            client.settimeout(60)
            assert client.recv(1) == b""


@needs_embedded_model
def test_without_any_setting_the_embedded_model_answers() -> None:
    """Out of the box, with no key and no network."""
    with served() as (_, url):
        body = {"prompt": "Say hello", "max_tokens": 4}
        answer = requests.post(f"{url}api/chat", json=body, timeout=100).text
    assert '"type":"text_delta"' in answer
    assert '"type":"end"' in answer


def test_a_port_that_is_taken_is_said_so(llm_server: LLMServer) -> None:
    """Rather than a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = refusal(*of(llm_server), "--port", str(taken.getsockname()[1]))
    assert said.startswith("rxllm: cannot listen")
    assert "0-65535" in refusal(*of(llm_server), "--port", "99999")


@pytest.mark.parametrize(
    ("option", "value"),
    [("--max-frames", "0"), ("--max-streams", "0"), ("--per-client", "-1"), ("--linger", "nan"), ("--drain", "-1")],
)
def test_numbers_that_make_no_sense_are_refused(option: str, value: str) -> None:
    """Before anything is started; the message says what is allowed."""
    said = refusal("--model", "ollama:m", option, value, status=2)
    assert option in said
    assert "or more" in said
