"""The examples for web frameworks, in a browser."""

from __future__ import annotations

import importlib
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

import rxllm
from rxllm.testing import Gate, LLMServer, Reply

from ..extra_python import extra_environment, python_with
from .browser import browser_page
from .conftest import EXAMPLES

if TYPE_CHECKING:
    from playwright.sync_api import Page

LIMIT_SECONDS = 60

Models = dict[str, rxllm.StreamingModel]

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # of the frameworks' own
    pytest.mark.timeout(180),  # they take their time to start
]


@pytest.fixture
def page() -> Iterator[Page]:
    """A page in a browser."""
    with browser_page() as page:
        yield page


@contextmanager
def program(framework: str, *command: str, **environment: str) -> Iterator[str]:
    """Run it, on a Python with the framework, for the length of the block; gives the address it says it serves at."""
    process = subprocess.Popen(
        [python_with(framework, get=f"pip install {framework}"), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=EXAMPLES,
        env=extra_environment() | {"PYTHONUNBUFFERED": "1"} | environment,
    )
    assert process.stdout is not None
    try:
        port = _port_in(process.stdout)
        drain = threading.Thread(target=process.stdout.read, daemon=True)
        drain.start()
        _wait_until_listening(int(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(LIMIT_SECONDS)
    drain.join(LIMIT_SECONDS)
    process.stdout.close()


def _port_in(lines: Iterable[str]) -> str:
    """The port of the first address on this machine that is printed."""
    said = ""
    for line in lines:
        said += line
        if address := re.search(r"http://(?:localhost|127\.0\.0\.1|0\.0\.0\.0):(\d+)", line):
            return address[1]
    raise AssertionError(f"the program has not said where it serves: {said}")


def _wait_until_listening(port: int) -> None:
    """NiceGUI says its address before it listens there."""
    end = time.monotonic() + LIMIT_SECONDS
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), LIMIT_SECONDS).close()
        except ConnectionRefusedError:
            assert time.monotonic() < end
            time.sleep(0.05)  # nothing else tells when another process listens


def test_flask(models: Models, server: LLMServer, page: Page) -> None:
    """The answer appears as it comes; leaving the page closes the connection to the model."""
    pytest.importorskip("flask", reason="Flask is not installed")
    serving = importlib.import_module("werkzeug.serving")
    app = importlib.import_module("flask_app").make_app(models["first"])
    web = serving.make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    gate = Gate(1)
    server.enqueue(Reply("one two three", gate=gate), Reply(pieces=iter(lambda: "more ", ""), delay=0.005))
    page.goto(f"http://127.0.0.1:{web.port}/")
    page.fill("input", "Count")
    page.click("button")
    page.get_by_text("one", exact=True).wait_for()
    gate.open()
    page.get_by_text("one two three").wait_for()
    page.click("button")
    page.get_by_text("more more").wait_for()
    page.goto("about:blank")
    assert server.wait_for_request(2).closed.wait(LIMIT_SECONDS)
    web.shutdown()
    web.server_close()


def test_streamlit(server: LLMServer, page: Page) -> None:
    """A click elsewhere runs the script again in the middle of an answer; nothing is lost, nothing asked twice."""
    gate = Gate(1)
    server.enqueue(Reply("one two three", gate=gate), Reply("four five", gate=Gate(1)))
    model = "--", "-m", "openai:first", "--base-url", server.base_url()
    headless = "--server.headless=true", "--server.port=0", "--browser.gatherUsageStats=false"
    with program("streamlit", "-m", "streamlit", "run", "streamlit_app.py", *headless, *model) as address:
        page.goto(address)
        line = page.get_by_placeholder("Say something")
        line.fill("Count")
        line.press("Enter")
        page.get_by_text("one", exact=True).wait_for()
        page.get_by_role("slider").press("ArrowRight")
        page.get_by_text("1", exact=True).wait_for()
        page.get_by_text("one", exact=True).wait_for()
        gate.open()
        page.get_by_text("one two three").wait_for()
        assert len(server.requests) == 1
        line.fill("Go on")
        line.press("Enter")
        page.get_by_text("four", exact=True).wait_for()
        page.get_by_role("button", name="Stop", exact=True).click()
        assert server.wait_for_request(2).closed.wait(LIMIT_SECONDS)
        page.get_by_text("four", exact=True).wait_for()


@pytest.mark.parametrize(
    ("framework", "line", "stop"),
    [
        ("gradio", "textarea", "button[data-testid=stop-button], button.stop-button"),
        ("panel", "textarea", "button:has-text('Stop')"),
        ("nicegui", "input", "button:has-text('Stop')"),
    ],
)
def test_stop_and_go(framework: str, line: str, stop: str, server: LLMServer, page: Page) -> None:
    """An answer is stopped in the middle, which closes its connection; the next one comes whole."""
    server.enqueue(Reply("one two three", gate=Gate(1)), Reply("four five six"))
    quiet = {"BROWSER": "true", "GRADIO_ANALYTICS_ENABLED": "False", "PORT": str(free_port())}
    command = f"{framework}_app.py", "-m", "openai:first", "--base-url", server.base_url()
    with program(framework, *command, **quiet) as address:
        page.goto(address)
        page.locator(line).fill("Count")
        page.locator(line).press("Enter")
        page.get_by_text("one", exact=True).wait_for()
        page.locator(stop).click()
        assert server.wait_for_request().closed.wait(LIMIT_SECONDS)
        page.locator(line).fill("Go on")
        page.locator(line).press("Enter")
        page.get_by_text("four five six", exact=True).wait_for()
        assert server.wait_for_request(2).prompt == "Go on"


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
