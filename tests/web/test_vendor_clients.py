"""The vendors' clients against our endpoints: the Responses API, the Messages API, and frameworks over them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path

import pytest
import requests

from rxllm.messages import ImagePart, ToolCall
from rxllm.testing import Drop, ErrorReply, LLMServer, Reply, ScriptedModel
from rxllm.web import Service

from .running import running

CALL = ToolCall("call_1", "weather", {"city": "Oslo"})
OTHER = ToolCall("call_2", "weather", {"city": "Rome"})
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


@pytest.fixture
def openai_client(url: str):
    openai = pytest.importorskip("openai", reason="the package openai is not installed")
    with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0, timeout=60) as made:
        yield made


@pytest.fixture
def anthropic_client(url: str):
    anthropic = pytest.importorskip("anthropic", reason="the package anthropic is not installed")
    with anthropic.Anthropic(base_url=url, api_key="unused", max_retries=0, timeout=60) as made:
        yield made


class TestResponses:
    """`openai.OpenAI(base_url=...).responses`."""

    def test_a_streamed_answer(self, llm: LLMServer, openai_client) -> None:
        """Reasoning and text, as two items, and what it cost."""
        llm.enqueue(Reply("Hello there", reasoning="hm"))
        with openai_client.responses.stream(model="m", input="Hi", instructions="Be kind") as events:
            text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
            whole = events.get_final_response()
        assert ("Hello there", "Hello there") == (text, whole.output_text)
        assert ["reasoning", "message"] == [item.type for item in whole.output]
        assert (whole.status, whole.usage.output_tokens > 0) == ("completed", True)
        assert ["system", "user"] == [message["role"] for message in llm.requests[0].json["messages"]]

    def test_a_whole_answer_with_options(self, llm: LLMServer, openai_client) -> None:
        """Without stream=True, too."""
        llm.enqueue("Hello there")
        whole = openai_client.responses.create(model="m", input="Hi", temperature=0.5, max_output_tokens=9)
        assert "Hello there" == whole.output_text
        assert (0.5, 9) == (llm.requests[0].json["temperature"], llm.requests[0].json["max_tokens"])

    @pytest.mark.parametrize("stream", [True, False])
    def test_tool_calls_and_their_results(self, llm: LLMServer, openai_client, stream: bool) -> None:
        """The round that a client with tools makes; two calls keep apart."""
        llm.enqueue(Reply("", tool_calls=(CALL, OTHER)), "Sun")
        tools = [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}]
        if stream:
            with openai_client.responses.stream(model="m", input="Hi", tools=tools) as events:
                output = events.get_final_response().output
        else:
            output = openai_client.responses.create(model="m", input="Hi", tools=tools).output
        assert [CALL, OTHER] == [ToolCall(item.call_id, item.name, json.loads(item.arguments)) for item in output]
        results = [{"type": "function_call_output", "call_id": item.call_id, "output": "sun"} for item in output]
        kept = [item.model_dump(include={"type", "call_id", "name", "arguments"}) for item in output]
        said = [{"role": "user", "content": "Hi"}, *kept, *results]
        assert "Sun" == openai_client.responses.create(model="m", input=said, tools=tools).output_text
        roles = [message["role"] for message in llm.requests[1].json["messages"]]
        assert ["user", "assistant", "tool", "tool"] == roles

    def test_structured_output(self, llm: LLMServer, openai_client) -> None:
        """`text.format` is the answer's schema."""
        llm.enqueue('{"city":"Oslo"}')
        form = {"format": {"type": "json_schema", "name": "place", "schema": SCHEMA, "strict": True}}
        openai_client.responses.create(model="m", input="Hi", text=form)
        assert "json_schema" == llm.requests[0].json["response_format"]["type"]

    def test_an_answer_that_is_cut_is_incomplete(self, llm: LLMServer, openai_client) -> None:
        """By the limit of tokens."""
        llm.enqueue(Reply("Hello", finish_reason="length"))
        whole = openai_client.responses.create(model="m", input="Hi")
        assert ("incomplete", "max_output_tokens") == (whole.status, whole.incomplete_details.reason)

    def test_a_break_in_the_middle(self, llm: LLMServer, openai_client) -> None:
        """Half an answer never looks whole."""
        llm.enqueue(Reply("one two three", fault=Drop(2)))
        events = list(openai_client.responses.create(model="m", input="Hi", stream=True))
        assert "response.failed" == events[-1].type

    @pytest.mark.parametrize(
        ("body", "named"),
        [
            ({"previous_response_id": "resp_1"}, "previous_response_id"),
            ({"input": [{"type": "item_reference", "id": "rs_1"}]}, "item_reference"),
            ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}, "input_image"),
            ({"reasoning": {"effort": "some"}}, "reasoning"),
            ({"tools": [{"type": "web_search"}]}, "web_search"),
            ({"api_base": "http://evil.example"}, "api_base"),
        ],
    )
    def test_what_is_not_supported_is_named(self, url: str, body: dict[str, object], named: str) -> None:
        """Never dropped in silence."""
        response = requests.post(f"{url}/v1/responses", json={"model": "m", "input": "Hi", **body}, timeout=60)
        assert (400, True) == (response.status_code, named in response.json()["error"]["message"])

    @pytest.mark.parametrize("image", ["data:image/png;base64,AAAA", {"url": "data:image/png;base64,AAAA"}])
    def test_images(self, image: object) -> None:
        """As data URLs, they come as bytes; also in the form of Chat Completions, which some clients send."""
        content = [
            {"type": "input_image", "image_url": image},
            {"type": "input_text", "text": "?"},
        ]
        model = ScriptedModel(default="ok")
        with running(Service({"m": model})) as address:
            body = {"input": [{"role": "user", "content": content}]}
            assert 200 == requests.post(f"{address}/v1/responses", json=body, timeout=60).status_code
        assert ImagePart(data=b"\0\0\0", media_type="image/png") == model.calls[0].messages[0].parts[0]


class TestMessages:
    """`anthropic.Anthropic(base_url=...).messages`."""

    def test_a_streamed_answer(self, llm: LLMServer, anthropic_client) -> None:
        """Thinking and text, as two blocks, and what it cost."""
        llm.enqueue(Reply("Hello there", reasoning="hm"))
        asked = [{"role": "user", "content": "Hi"}]
        with anthropic_client.messages.stream(model="m", max_tokens=9, system="Be kind", messages=asked) as stream:
            text = "".join(stream.text_stream)
            message = stream.get_final_message()
        assert ("Hello there", ["thinking", "text"]) == (text, [block.type for block in message.content])
        assert ("end_turn", True) == (message.stop_reason, message.usage.output_tokens > 0)
        assert ["system", "user"] == [said["role"] for said in llm.requests[0].json["messages"]]

    @pytest.mark.parametrize("stream", [True, False])
    def test_tool_calls_and_their_results(self, llm: LLMServer, anthropic_client, stream: bool) -> None:
        """Blocks in order, none within another."""
        llm.enqueue(Reply("Wait", tool_calls=(CALL, OTHER)), "Sun")
        asked: list[object] = [{"role": "user", "content": "Hi"}]
        options = {"model": "m", "max_tokens": 9, "tools": [{"name": "weather", "input_schema": SCHEMA}]}
        if stream:
            with anthropic_client.messages.stream(messages=asked, **options) as events:
                content = events.get_final_message().content
        else:
            content = anthropic_client.messages.create(messages=asked, **options).content
        calls = [ToolCall(block.id, block.name, block.input) for block in content[1:]]
        assert ("Wait", [CALL, OTHER]) == (content[0].text, calls)
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": "sun"} for call in calls]
        asked += [{"role": "assistant", "content": content}, {"role": "user", "content": results}]
        assert "Sun" == anthropic_client.messages.create(messages=asked, **options).content[0].text

    def test_errors_are_anthropics(self, llm: LLMServer, anthropic_client) -> None:
        """So that its client raises what it would of Anthropic."""
        anthropic = pytest.importorskip("anthropic")
        llm.enqueue(ErrorReply(429, "slow down"), Reply("one two", fault=Drop(1)))
        options = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
        with pytest.raises(anthropic.RateLimitError, match="slow down"):
            anthropic_client.messages.create(**options)
        with pytest.raises(anthropic.APIStatusError), anthropic_client.messages.stream(**options) as stream:
            stream.until_done()

    def test_models(self, anthropic_client) -> None:
        """In Anthropic's form."""
        assert ["m"] == [model.id for model in anthropic_client.models.list()]
        assert "m" == anthropic_client.models.retrieve("m").id


class TestModels:
    """`/v1/models/ID`."""

    @pytest.mark.parametrize("name", ["org/name:1", "a b?c#d%e", "ü"])
    def test_a_model_by_its_name(self, name: str) -> None:
        """Whatever characters are in it."""
        openai = pytest.importorskip("openai")
        with running(Service({name: ScriptedModel()})) as url:
            client = openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)
            assert name == client.models.retrieve(name).id
            with pytest.raises(openai.NotFoundError) as raised:
                client.models.retrieve("other")
        assert "model_not_found" == raised.value.code


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (ErrorReply(429, "slow down"), "rate_limit_exceeded"),
        (ErrorReply(400, "too long", kind="context_length_exceeded"), "context_length_exceeded"),
    ],
    ids=["rate limit", "context"],
)
def test_errors_have_the_codes_of_openai(reply: ErrorReply, code: str) -> None:
    """Programs look for them."""
    openai = pytest.importorskip("openai")
    with running(Service({"m": ScriptedModel(reply)})) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)
        with pytest.raises(openai.APIStatusError) as raised:
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])
    assert code == raised.value.code


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/chat/completions", "/v1/models"])
def test_errors_have_the_shape_of_openai(url: str, path: str) -> None:
    """For each path and method under /v1."""
    for method in ("GET", "PUT", "PROPFIND", "PATCH"):
        response = requests.request(method, url + path, timeout=60)
        if response.status_code != 200:
            assert {"message", "type", "param", "code"} == set(response.json()["error"])


def test_no_internal_host_is_told() -> None:
    """Where the provider cannot be reached."""
    from rxllm import create_streaming_model

    model = create_streaming_model("openai-compatible", model="m", base_url="http://127.0.0.1:9/v1", max_retries=0)
    with running(Service({"m": model})) as url:
        for path in ("/v1/chat/completions", "/api/chat"):
            text = requests.post(url + path, json={"messages": [{"role": "user", "content": "Hi"}]}, timeout=60).text
            assert "cannot reach" in text
            assert "127.0.0.1" not in text


def test_langchain(llm: LLMServer, url: str) -> None:
    """`ChatOpenAI`, streamed and with a tool."""
    langchain = pytest.importorskip("langchain_openai", reason="the package langchain-openai is not installed")
    llm.enqueue("Hello there", Reply("", tool_calls=(CALL,)))
    chat = langchain.ChatOpenAI(base_url=f"{url}/v1", api_key="unused", model="m", max_retries=0)
    assert "Hello there" == "".join(chunk.content for chunk in chat.stream("Hi"))
    tool = {"type": "function", "function": {"name": "weather", "description": "w", "parameters": SCHEMA}}
    (call,) = chat.bind_tools([tool]).invoke("Hi").tool_calls
    assert ("weather", {"city": "Oslo"}) == (call["name"], call["args"])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_litellm(llm: LLMServer, url: str, provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its OpenAI and its Anthropic client."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else its import downloads a list of prices
    litellm = pytest.importorskip("litellm", reason="the package litellm is not installed")
    llm.enqueue("Hello there")
    base = f"{url}/v1" if provider == "openai" else url
    said = [{"role": "user", "content": "Hi"}]
    with asyncio.Runner() as runner:
        runner.get_loop()  # litellm asks for this thread's loop, and leaves one that it makes open
        stream = litellm.completion(f"{provider}/m", said, api_base=base, api_key="unused", stream=True, num_retries=0)
        assert "Hello there" == "".join(chunk.choices[0].delta.content or "" for chunk in stream)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("api", ["OpenAIResponsesModel", "OpenAIChatCompletionsModel"])
def test_the_openai_agents_sdk(llm: LLMServer, url: str, api: str, streamed: bool) -> None:
    """An agent runs its tools and goes on with their results; then it gives a structured answer."""
    agents = pytest.importorskip("agents", reason="the package openai-agents is not installed")
    import openai

    agents.set_tracing_disabled(True)
    llm.enqueue(Reply("Let me see", reasoning="hm", tool_calls=(CALL, OTHER)), "Sunny", '{"city": "Oslo"}')

    def weather(city: str) -> str:
        """Say what the weather is like in a city."""
        return f"sun in {city}"

    async def ask() -> list[object]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as client:
            model = getattr(agents, api)(model="m", openai_client=client)
            agent = agents.Agent("a", instructions="Be kind", model=model, tools=[agents.function_tool(weather)])
            if streamed:
                run = agents.Runner.run_streamed(agent, "Hi")
                assert any([event.type == "raw_response_event" async for event in run.stream_events()])
            else:
                run = await agents.Runner.run(agent, "Hi")
            schema = agents.AgentOutputSchema(dict[str, str], strict_json_schema=False)
            typed = agents.Agent("b", model=model, output_type=schema)
            return [run.final_output, (await agents.Runner.run(typed, "Where?")).final_output]

    assert ["Sunny", {"city": "Oslo"}] == asyncio.run(ask())
    said = llm.requests[1].json["messages"]
    assert ["system", "user", "assistant", "tool", "tool"] == [message["role"] for message in said]
    assert ["sun in Oslo", "sun in Rome"] == [message["content"] for message in said[3:]]


def test_httpx_sse(llm: LLMServer, url: str) -> None:
    """A plain reader of server-sent events."""
    httpx_sse = pytest.importorskip("httpx_sse", reason="the package httpx-sse is not installed")
    import httpx

    llm.enqueue("Hello there")
    asked = {"prompt": "Hi"}
    with (
        httpx.Client(timeout=60) as client,
        httpx_sse.connect_sse(client, "POST", f"{url}/api/chat", json=asked) as source,
    ):
        events = list(source.iter_sse())
    assert "Hello there" == "".join(event.json().get("text", "") for event in events if '"text_delta"' in event.data)
    assert ("end", 1000) == (events[-1].event, events[0].retry)


def test_the_npm_clients(llm: LLMServer, url: str, node: Path) -> None:
    """`@ai-sdk/openai`, whose default is the Responses API, and `openai`, under Node."""
    llm.enqueue(
        Reply("Hello there", reasoning="hm"), Reply("", tool_calls=(CALL,)), "Hello chat", "Hello js", "Hello js"
    )
    command = ["node", "clients.mjs", url]
    env = {**os.environ, "NO_PROXY": "*"}
    run = subprocess.run(command, cwd=node, capture_output=True, text=True, timeout=100, env=env, check=False)
    assert 0 == run.returncode, run.stderr
    assert {
        "responses": "Hello there",
        "tools": [{"name": "weather", "input": {"city": "Oslo"}}],
        "chat": "Hello chat",
        "js": "Hello js",
        "jsResponses": "Hello js",
    } == json.loads(run.stdout)
