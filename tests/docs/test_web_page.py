"""The examples of docs/web.md, run as they are printed: against a scripted model behind OpenAI's address."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from starlette.responses import HTMLResponse

from rxllm.testing import Drop, Gate, LLMServer, Reply

from ..web.conftest import browser as browser
from ..web.running import running

PAGE = (Path(__file__).parent.parent.parent / "docs" / "web.md").read_text()
EXAMPLES = [textwrap.dedent(found) for found in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)]
HTML = re.findall(r"```html\n(.*?)```", PAGE, re.DOTALL)
UI_CHAT = {"id": "c", "messages": [{"id": "u", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}]}


@pytest.fixture(autouse=True)
def openai(monkeypatch: pytest.MonkeyPatch, llm_server: LLMServer) -> LLMServer:
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    monkeypatch.setenv("OPENAI_BASE_URL", llm_server.base_url())
    return llm_server


def example(*words: str) -> dict[str, object]:
    """What the one example defines that has these words."""
    (source,) = [source for source in EXAMPLES if all(word in source for word in words)]
    return run(source)


def run(source: str) -> dict[str, object]:
    names: dict[str, object] = {"__name__": __name__}
    exec(compile(source, "docs/web.md", "exec"), names)  # noqa: S102 - our own page
    return names


def answer(app: object, ask: Callable[[str], requests.Response]) -> str:
    with running(None, app=app) as url:  # type: ignore[arg-type]  # the application is given
        response = ask(url)
    assert 200 == response.status_code, response.text
    return response.text


def chat(path: str = "/api/chat", **body: object) -> Callable[[str], requests.Response]:
    return lambda url: requests.post(url + path, json={"prompt": "Hi", **body}, timeout=60)


def test_there_are_as_many_examples_as_tests() -> None:
    """Each is run by one of the tests below."""
    assert len(EXAMPLES) == 8


def test_a_service_of_named_models(openai: LLMServer) -> None:
    """The first one."""
    openai.enqueue("Hello there")
    assert '"text":"Hello there"' in answer(run(EXAMPLES[0])["app"], chat(model="gpt"))


def test_it_is_mounted_in_an_application(openai: LLMServer) -> None:
    """Whose lifespan closes it."""
    openai.enqueue("Hello there")
    assert '"text":"Hello there"' in answer(example("Mount(")["app"], chat("/llm/api/chat"))


def test_functions_on_offer(openai: LLMServer) -> None:
    """A fallback and an assistant."""
    openai.enqueue("Hello there", "Hello there")
    with running(None, app=example("def clerk")["app"]) as url:  # type: ignore[arg-type]
        assert "Hello there" in chat(model="careful")(url).text
        body = {**UI_CHAT, "model": "clerk"}
        assert "Hello" in requests.post(f"{url}/api/ui-chat", json=body, timeout=60).text


@pytest.mark.parametrize("framework", ["Starlette(routes=[Route", "FastAPI()"])
def test_one_stream_out_of_an_endpoint(openai: LLMServer, framework: str) -> None:
    """Of Starlette, and of FastAPI."""
    if "FastAPI" in framework:
        pytest.importorskip("fastapi", reason="the package fastapi is not installed")
    openai.enqueue("Hello there")
    app = example(framework)["app"]
    assert '"text":"Hello there"' in answer(app, lambda url: requests.get(f"{url}/ask?q=Hi", timeout=60))
    assert "Hi" == openai.requests[0].prompt


def test_flask(openai: LLMServer) -> None:
    """By its own test client."""
    pytest.importorskip("flask", reason="the package flask is not installed")
    openai.enqueue("Hello there")
    app = example("Flask(__name__)")["app"]
    assert '"text":"Hello there"' in app.test_client().get("/ask?q=Hi").text  # type: ignore[attr-defined]


def test_users(openai: LLMServer) -> None:
    """Those whose session is known."""
    openai.enqueue("Hello there")
    headers = {"host": "chat.example.com"}
    with running(None, app=example("def authenticate")["app"]) as url:  # type: ignore[arg-type]
        assert 401 == requests.get(f"{url}/api/models", headers=headers, timeout=60).status_code
        headers["authorization"] = "Bearer ann's session"
        response = requests.post(f"{url}/api/chat", json={"prompt": "Hi"}, headers=headers, timeout=60)
    assert '"text":"Hello there"' in response.text


def test_the_client() -> None:
    """Its Observables ask when they are subscribed to."""
    assert {"events", "again"} <= example("client.watch").keys()


def test_the_page_of_an_endpoint_asks_once(openai: LLMServer, browser: Any) -> None:
    """Its `EventSource` is closed at the end of an answer, of one that was cut too, and by the stop button."""
    starlette = example("Starlette(routes=[Route")["app"]
    page_source = HTML[0]
    starlette.add_route("/", lambda request: HTMLResponse(page_source))  # type: ignore[attr-defined]
    gate = Gate()
    openai.enqueue("Hello there", Reply("one two three", fault=Drop(2)), Reply("one two three", gate=gate))
    with running(None, app=starlette) as url:  # type: ignore[arg-type]
        page = browser.new_page()
        page.goto(url)
        for shown in ("Hello there", "one two\nthe connection was closed in the middle of the answer"):
            page.click("#ask")
            page.wait_for_function("shown => document.querySelector('#answer').textContent === shown", arg=shown)
            page.wait_for_function("() => source.readyState === EventSource.CLOSED")
        page.click("#ask")
        gate.wait_until_reached()
        page.click("#stop")
        assert openai.requests[2].closed.wait(20)
        page.close()
    assert len(openai.requests) == 3


def test_the_page_of_a_service_continues_after_a_reload(openai: LLMServer, browser: Any) -> None:
    """It shows the whole answer again, and its stop button closes the vendor's connection."""
    mounted = example("Mount(")["app"]
    mounted.add_route("/", lambda request: HTMLResponse(HTML[1]))  # type: ignore[attr-defined]
    gate = Gate()
    openai.enqueue(Reply("one two three", gate=gate))
    text_is = "text => document.querySelector('#answer').textContent === text"
    with running(None, app=mounted) as url:  # type: ignore[arg-type]
        page = browser.new_page()
        page.goto(url)
        page.click("#ask")
        gate.release()
        page.wait_for_function(text_is, arg="one")
        page.reload()
        page.wait_for_function(text_is, arg="one")
        gate.release()
        page.wait_for_function(text_is, arg="one two")
        page.click("#stop")
        assert openai.requests[0].closed.wait(20)
        page.wait_for_function("() => source.readyState === EventSource.CLOSED")
        page.close()
    assert len(openai.requests) == 1
