"""`useChat` of the real npm package `@ai-sdk/react`, in a React page in a real browser, against our back end."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from reactivex import Observable
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route

from rxllm import create_streaming_model
from rxllm.assistant import Assistant
from rxllm.messages import ToolCall
from rxllm.testing import Drop, ErrorReply, Gate, LLMServer, Reply
from rxllm.web import ChatRequest, Service
from rxllm.web.asgi import asgi_app

from .running import model_of, running

sync_api = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
expect = sync_api.expect

LIMIT = 60_000
CALL = ToolCall("call_1", "weather", {"city": "Oslo"})
OTHER = ToolCall("call_2", "weather", {"city": "Nowhere"})


@pytest.fixture(scope="session")
def bundle(node: Path) -> str:
    """The page, its modules joined into one script."""
    command = ["npx", "--no-install", "esbuild", "page.jsx", "--bundle", "--jsx=automatic", "--minify"]
    command.append('--define:process.env.NODE_ENV="production"')
    built = subprocess.run(command, cwd=node, capture_output=True, text=True, timeout=100, check=False)
    assert 0 == built.returncode, built.stderr
    return built.stdout


class Weather:
    """A tool, and how often it ran."""

    def __init__(self) -> None:
        self.cities: list[str] = []

    def weather(self, city: str) -> str:
        """Say what the weather is like in a city."""
        self.cities.append(city)
        if city == "Nowhere":
            raise ValueError("no such city")
        return "sun"


@pytest.fixture
def tool() -> Weather:
    return Weather()


@pytest.fixture
def service(llm: LLMServer, tool: Weather) -> Service:
    """A model, an assistant with a tool, and one that asks before it runs it."""
    model = model_of(llm)

    def free(request: ChatRequest) -> Observable[object]:
        return Assistant(model, tools=[tool.weather]).stream(request.messages)

    def careful(request: ChatRequest) -> Observable[object]:
        return Assistant(model, tools=[tool.weather], approve=request.approve).stream(request.messages)

    claude = create_streaming_model("anthropic", model="m", api_key="k", base_url=llm.base_url("anthropic"))

    def signing(request: ChatRequest) -> Observable[object]:
        return Assistant(claude, tools=[tool.weather], approve=request.approve).stream(request.messages)

    return Service({"model": model, "free": free, "careful": careful, "signing": signing})


@pytest.fixture
def url(service: Service, bundle: str) -> Iterator[str]:
    """The address of the page; the API is beside it."""

    async def html(_: Request) -> Response:
        return HTMLResponse('<!doctype html><title>t</title><div id="root"></div><script src="/react.js"></script>')

    async def script(_: Request) -> Response:
        return Response(bundle, media_type="text/javascript")

    routes = [Route("/react", html), Route("/react.js", script), Mount("/", asgi_app(service))]
    with running(service, app=Starlette(routes=routes)) as address:
        yield address


@pytest.fixture
def page(browser, url: str) -> Iterator[object]:
    """A tab; at its end, no script has failed."""
    context = browser.new_context()
    made = context.new_page()
    made.set_default_timeout(LIMIT)
    failures: list[str] = []
    made.on("pageerror", lambda error: failures.append(str(error)))
    yield made
    context.close()
    assert [] == failures


def ask(page, url: str, text: str = "Hi", query: str = "") -> None:
    page.goto(f"{url}/react?{query}")
    say(page, text)


def say(page, text: str) -> None:
    page.get_by_label("Message").fill(text)
    page.keyboard.press("Enter")


def is_ready(page) -> None:
    expect(page.locator("#status")).to_have_text("ready", timeout=LIMIT)


class TestAnswers:
    """What comes, and how it ends."""

    def test_text_and_reasoning_appear_as_they_come(self, llm: LLMServer, url: str, page) -> None:
        """Each as a part, done at its end."""
        gate = Gate(4)
        llm.enqueue(Reply("one two three", reasoning="let me see", gate=gate))
        ask(page, url)
        expect(page.locator(".reasoning")).to_have_text("let me see", timeout=LIMIT)
        expect(page.locator(".text[data-state=streaming]")).to_be_visible(timeout=LIMIT)
        expect(page.locator("#status")).to_have_text("streaming")
        gate.open()
        is_ready(page)
        expect(page.locator(".assistant .text[data-state=done]")).to_have_text("one two three")
        expect(page.locator(".assistant .reasoning[data-state=done]")).to_have_text("let me see")

    def test_tool_input_output_and_failure(self, llm: LLMServer, url: str, page) -> None:
        """Of two calls of one step, and the answer after them in the same message."""
        llm.enqueue(Reply("", tool_calls=(CALL, OTHER)), "Sunny in Oslo")
        ask(page, url, query="model=free")
        is_ready(page)
        expect(page.locator(".tool[data-state=output-available]")).to_have_text('tool-weather {"city":"Oslo"} "sun"')
        expect(page.locator(".tool[data-state=output-error]")).to_contain_text("no such city")
        expect(page.locator("article.assistant")).to_have_count(1)
        expect(page.locator(".assistant .text")).to_have_text("Sunny in Oslo")

    def test_the_conversation_goes_on(self, llm: LLMServer, url: str, page) -> None:
        """The next request brings the answer, the calls and the results back."""
        llm.enqueue(Reply("", tool_calls=(CALL,), reasoning="hm"), "Sunny in Oslo", "You are welcome")
        ask(page, url, query="model=free")
        expect(page.locator(".assistant .text")).to_have_text("Sunny in Oslo", timeout=LIMIT)
        is_ready(page)
        say(page, "Thanks")
        expect(page.locator(".assistant .text").last).to_have_text("You are welcome", timeout=LIMIT)
        assert ["user", "assistant", "tool", "assistant", "user"] == roles(llm)
        assert "sun" == llm.requests[-1].json["messages"][2]["content"]

    @pytest.mark.parametrize(
        ("reply", "said", "text"),
        [(ErrorReply(400, "too odd"), "too odd", 0), (Reply("one two three", fault=Drop(2)), "closed", 1)],
    )
    def test_an_error_is_the_hooks_error(self, llm: LLMServer, url: str, page, reply, said: str, text: int) -> None:
        """What had come before it stays."""
        llm.enqueue(reply)
        ask(page, url)
        expect(page.locator("#error")).to_contain_text(said, timeout=LIMIT)
        expect(page.locator("#status")).to_have_text("error")
        expect(page.locator(".assistant .text")).to_have_count(text)


class TestStopAndResume:
    """Each alone, and both together."""

    def test_stop_closes_the_connection_to_the_provider(self, llm: LLMServer, url: str, page) -> None:
        """And keeps what had come."""
        llm.enqueue(Reply("one two three", gate=Gate(1)))
        ask(page, url)
        expect(page.locator(".assistant .text")).to_have_text("one", timeout=LIMIT)
        page.get_by_role("button", name="Stop").click()
        assert llm.wait_for_request().closed.wait(60)
        is_ready(page)
        expect(page.locator(".assistant .text")).to_have_text("one")

    def test_a_page_that_is_loaded_anew_sees_the_rest(self, llm: LLMServer, url: str, page) -> None:
        """`resume: true`: once, whole, of one request."""
        gate = Gate(1)
        llm.enqueue(Reply("one two three", gate=gate))
        ask(page, url, query="resume=1")
        expect(page.locator(".assistant .text")).to_have_text("one", timeout=LIMIT)
        page.reload()
        expect(page.locator("#status")).to_have_text("streaming", timeout=LIMIT)
        expect(page.locator(".assistant .text")).to_have_text("one")
        gate.open()
        is_ready(page)
        expect(page.locator(".assistant .text")).to_have_text("one two three")
        assert 1 == len(llm.requests)

    def test_what_is_resumed_can_be_stopped(self, llm: LLMServer, url: str, page) -> None:
        """Leaving is not stopping, and stopping is: what the SDK's own documentation says excludes each other."""
        llm.enqueue(Reply("one two three", gate=Gate(1)))
        ask(page, url, query="resume=1")
        expect(page.locator(".assistant .text")).to_have_text("one", timeout=LIMIT)
        page.reload()
        expect(page.locator("#status")).to_have_text("streaming", timeout=LIMIT)
        assert not llm.wait_for_request().closed.is_set()
        page.get_by_role("button", name="Stop").click()
        assert llm.wait_for_request().closed.wait(60)
        is_ready(page)
        expect(page.locator(".assistant .text")).to_have_text("one")
        page.reload()
        is_ready(page)
        assert 1 == len(llm.requests)


class TestApproval:
    """`addToolApprovalResponse`, which sends the conversation again when all is answered."""

    def ask(self, llm: LLMServer, url: str, page, *calls: ToolCall, query: str = "model=careful") -> None:
        """Up to the question, at which the response ends."""
        llm.enqueue(Reply("Let me look. ", tool_calls=calls), "Done")
        ask(page, url, query=query)
        expect(page.locator(".tool[data-state=approval-requested]")).to_have_count(len(calls), timeout=LIMIT)
        is_ready(page)

    def is_answered(self, llm: LLMServer, page, results: list[str]) -> None:
        """One message with all of it, from two requests to the provider, the second with the results."""
        expect(page.locator(".assistant .text").last).to_have_text("Done", timeout=LIMIT)
        is_ready(page)
        expect(page.locator("article.assistant")).to_have_count(1)
        expect(page.locator(".assistant .text")).to_have_text(["Let me look. ", "Done"])
        assert 2 == len(llm.requests)
        told = llm.requests[1].json["messages"]
        assert results == [message["content"] for message in told if message["role"] == "tool"]
        assert ["user", "assistant"] == [message["role"] for message in told[:2]]

    @pytest.mark.parametrize("query", ["model=careful", "model=careful&resume=1"])
    def test_an_allowed_call_runs(self, llm: LLMServer, url: str, page, tool: Weather, query: str) -> None:
        """Once; the stream that asked goes on."""
        self.ask(llm, url, page, CALL, query=query)
        assert [] == tool.cities
        page.get_by_role("button", name="Allow call_1").click()
        self.is_answered(llm, page, ["sun"])
        expect(page.locator(".tool")).to_have_attribute("data-state", "output-available")
        assert ["Oslo"] == tool.cities

    def test_a_denied_call_does_not(self, llm: LLMServer, url: str, page, tool: Weather) -> None:
        """The model is told why, then and in what follows."""
        self.ask(llm, url, page, CALL)
        page.get_by_role("button", name="Deny call_1").click()
        self.is_answered(llm, page, ["The user did not allow this call: too early"])
        expect(page.locator(".tool")).to_have_attribute("data-state", "output-denied")
        llm.enqueue("As you wish")
        say(page, "Leave it")
        expect(page.locator(".assistant .text").last).to_have_text("As you wish", timeout=LIMIT)
        assert "too early" in str(llm.requests[2].json["messages"])
        assert [] == tool.cities

    @pytest.mark.parametrize("answers", [("Allow call_1", "Deny call_2"), ("Deny call_2", "Allow call_1")])
    def test_of_several_calls_each_has_its_answer(
        self, llm: LLMServer, url: str, page, tool: Weather, answers: tuple[str, str]
    ) -> None:
        """The conversation is sent when the last is there."""
        self.ask(llm, url, page, CALL, OTHER)
        for name in answers:
            page.get_by_role("button", name=name).click()
        self.is_answered(llm, page, ["sun", "The user did not allow this call: too early"])
        assert ["Oslo"] == tool.cities

    @pytest.mark.parametrize(
        ("answer", "state", "result"),
        [
            ("Allow call_1", "output-available", "sun"),
            ("Deny call_1", "output-denied", "The user did not allow this call: too early"),
        ],
    )
    def test_the_conversation_is_enough(
        self, llm: LLMServer, url: str, page, answer: str, state: str, result: str
    ) -> None:
        """Where the stream that asked is no more: the turn goes on from the messages."""
        self.ask(llm, url, page, CALL)
        assert 204 == requests.delete(f"{url}/api/ui-chat/chat/stream", timeout=60).status_code
        page.get_by_role("button", name=answer).click()
        self.is_answered(llm, page, [result])
        expect(page.locator(".tool")).to_have_attribute("data-state", state)

    def test_what_a_vendor_wants_back_comes_back(self, llm: LLMServer, url: str, page) -> None:
        """Signatures of reasoning, by way of the browser: a vendor refuses the tools' results without."""
        llm.enqueue(Reply("", reasoning="let me see", tool_calls=(CALL,)), "Done")
        ask(page, url, query="model=signing")
        is_ready(page)
        assert 204 == requests.delete(f"{url}/api/ui-chat/chat/stream", timeout=60).status_code
        page.get_by_role("button", name="Allow call_1").click()
        expect(page.locator(".assistant .text").last).to_have_text("Done", timeout=LIMIT)
        thinking, call = llm.requests[1].json["messages"][1]["content"]
        assert ("thinking", "let me see", "tool_use") == (thinking["type"], thinking["thinking"], call["type"])
        assert thinking["signature"]

    def test_an_answer_after_a_reload(self, llm: LLMServer, url: str, page, tool: Weather) -> None:
        """The question is still there, and so is the stream."""
        self.ask(llm, url, page, CALL, query="model=careful&resume=1")
        page.reload()
        page.get_by_role("button", name="Allow call_1").click()
        self.is_answered(llm, page, ["sun"])
        assert ["Oslo"] == tool.cities

    def test_a_new_message_instead_of_an_answer(self, llm: LLMServer, url: str, page, tool: Weather) -> None:
        """The call does not run, the stream that waited is stopped, and the model knows."""
        self.ask(llm, url, page, CALL)
        say(page, "Never mind")
        expect(page.locator(".assistant .text").last).to_have_text("Done", timeout=LIMIT)
        is_ready(page)
        assert ["user", "assistant", "tool", "user"] == roles(llm)
        assert "did not answer" in llm.requests[1].json["messages"][2]["content"]
        assert [] == tool.cities


def roles(llm: LLMServer) -> list[str]:
    return [message["role"] for message in llm.requests[-1].json["messages"]]
