"""Time limits: silence, content, and what is not asked again."""

from __future__ import annotations

import math
import threading

import pytest

import rxllm
from rxllm import APITimeoutError, ConfigurationError, StreamingModel, Timeout
from rxllm import operators as ops
from rxllm._core.retry import total_deadline

from ..raw_server import LIMIT, Connection, RawServer

TEXT = b'data: {"choices": [{"index": 0, "delta": {"content": "Hi"}}]}\n\n'
END = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
NOISES = {
    "comment": b": keep-alive\n\n",
    "ping": b'event: ping\ndata: {"type": "ping"}\n\n',
    "named heartbeat": b"event: heartbeat\ndata: {}\n\n",
    "usage": b'data: {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}\n\n',
    "empty delta": b'data: {"choices": [{"index": 0, "delta": {"content": ""}}]}\n\n',
    "role": b'data: {"choices": [{"index": 0, "delta": {"role": "assistant"}}]}\n\n',
    "empty tool arguments": b'data: {"choices": [{"index": 0, "delta": {"tool_calls": []}}]}\n\n',
    "unknown payload": b'data: {"object": "progress", "percent": 10, "choices": []}\n\n',
}


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def model_at(server: RawServer, timeout: Timeout, **options: int) -> StreamingModel:
    return rxllm.create_streaming_model(
        "openai", model="m", api_key="k", base_url=server.url, timeout=timeout, **options
    )


def noisy(connection: Connection, noise: bytes, before: bytes = b"") -> None:
    """Answer with `before`, and then with noise until the client closes."""
    connection.read_request()
    connection.respond(chunk(before) if before else b"", "Transfer-Encoding: chunked")
    pause = threading.Event()
    while not pause.wait(0.02):
        connection.send(chunk(noise))


def timeout_of(server: RawServer, timeout: Timeout, **options: int) -> APITimeoutError:
    with pytest.raises(APITimeoutError) as caught:
        model_at(server, timeout, **options).chat("Hi")
    return caught.value


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
def test_noise_is_no_content(noise: bytes) -> None:
    """It keeps neither `first_token` nor `idle` from passing; and no such answer is asked for again."""
    with RawServer(lambda connection: noisy(connection, noise)) as server:
        error = timeout_of(server, Timeout(first_token=1.0))
        assert (error.phase, error.transient, len(server.connections)) == ("first_token", False, 1)
    with RawServer(lambda connection: noisy(connection, noise, TEXT)) as server:
        error = timeout_of(server, Timeout(idle=1.0))
        assert (error.phase, error.transient) == ("idle", False)
        assert error.partial is not None
        assert error.partial.text == "Hi"


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
def test_noise_is_a_sign_of_life(noise: bytes) -> None:
    """A model may think for longer than a dead peer is waited for."""
    thought = threading.Event()

    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.respond(b"", "Transfer-Encoding: chunked")
        for _ in range(30):
            thought.wait(0.05)
            connection.send(chunk(noise))
        connection.send(chunk(TEXT + END) + b"0\r\n\r\n")

    with RawServer(handle) as server:
        assert model_at(server, Timeout(silence=1.2)).chat("Hi").text == "Hi"


def test_no_bytes_at_all_are_silence() -> None:
    """In the middle of an answer, and the partial answer is kept."""

    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.respond(chunk(TEXT), "Transfer-Encoding: chunked")
        connection.wait_closed()

    with RawServer(handle) as server:
        error = timeout_of(server, Timeout(silence=1.0))
    assert (error.phase, error.transient) == ("silence", True)
    assert error.partial is not None
    assert error.partial.text == "Hi"


def test_a_server_that_says_nothing_is_asked_again() -> None:
    """The request may not have arrived."""

    def handle(connection: Connection) -> None:
        connection.read_request()
        if connection.number == 0:
            connection.wait_closed()
        connection.respond(chunk(TEXT + END) + b"0\r\n\r\n", "Transfer-Encoding: chunked")

    with RawServer(handle) as server:
        assert model_at(server, Timeout(first_token=1.0)).chat("Hi").text == "Hi"


def test_total_is_not_for_streams_that_a_subscriber_starts() -> None:
    """Inside its on_next: they have limits of their own."""
    inside: list[float] = []

    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.respond(chunk(TEXT + END) + b"0\r\n\r\n", "Transfer-Encoding: chunked")

    with RawServer(handle) as server, model_at(server, Timeout(total=LIMIT), max_retries=2) as model:
        model.stream("Hi").pipe(ops.tap(lambda _: inside.append(total_deadline.get()))).run()
    assert set(inside) == {math.inf}


def test_total_covers_all_attempts() -> None:
    """And the delays between them."""

    def handle(connection: Connection) -> None:
        while True:
            connection.read_request()
            connection.respond(b"", "Retry-After: 0.2", status="503 Service Unavailable")

    with RawServer(handle) as server:
        model = model_at(server, Timeout(total=0.7), max_retries=10_000)
        with pytest.raises(rxllm.LLMError):
            model.chat("Hi")


@pytest.mark.slow
def test_a_slow_upload_is_not_limited_by_connect() -> None:
    """Each part that is sent is a sign of life."""
    resume = threading.Event()

    def handle(connection: Connection) -> None:
        resume.wait(1.5)
        connection.read_request()
        connection.respond(chunk(TEXT + END) + b"0\r\n\r\n", "Transfer-Encoding: chunked")

    with RawServer(handle) as server:
        model = model_at(server, Timeout(connect=1.0, first_token=LIMIT))
        assert model.chat("y" * 20_000_000).text == "Hi"


def test_the_defaults_are_as_patient_as_the_vendors_sdks() -> None:
    """600 s for the next byte, and longer for content while there are signs of life."""
    defaults = Timeout()
    assert defaults.silence == 600
    assert defaults.first_token is not None
    assert defaults.first_token >= 600
    assert defaults.idle is not None
    assert defaults.idle >= 600


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), True, "5", 10**400])
def test_what_is_no_duration_is_refused(seconds: float) -> None:
    """At once; infinity is a duration."""
    with pytest.raises(ConfigurationError, match="first_token"):
        Timeout(first_token=seconds)
    assert Timeout(first_token=float("inf")).first_token == float("inf")
