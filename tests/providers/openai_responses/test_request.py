"""What is asked over the Responses wire: exact bodies and headers."""

from __future__ import annotations

import json

import msgspec
import pytest

from rxllm.errors import ConfigurationError
from rxllm.messages import (
    AudioPart,
    DocumentPart,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    TextPart,
    ToolCall,
    ToolResult,
    VendorPart,
)
from rxllm.options import JsonFormat, Options, Tool
from rxllm.providers.openai_responses import OpenAIResponses
from tests.providers.asking import HELLO, WEATHER, Asker, headers_of
from tests.providers.openai_responses.streams import Event, added, completed, delta, done, message, played


def wire(url: str = "https://a.example/v1", key: str | None = "k", **headers: str) -> OpenAIResponses:
    return OpenAIResponses(provider="acme", base_url=url, api_key=key, headers=headers_of(**headers))


asked = Asker(wire(), "m", ("model", "stream", "store"), "input").asked


def items(*messages: Message) -> object:
    """The `input` field."""
    return asked(*messages)["input"]


class TestRequest:
    """Where it goes, and what every request says."""

    def test_the_least(self) -> None:
        """Nothing that was not said, but that nothing is to be stored."""
        request = wire().request(HELLO, "m", Options())
        assert request.url == "https://a.example/v1/responses"
        assert request.headers == {
            "Authorization": "Bearer k",
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
        }
        said = {"model": "m", "input": [{"role": "user", "content": "Hi"}], "stream": True, "store": False}
        assert json.loads(request.body) == said
        assert request.framing == "sse"

    def test_a_base_url_with_a_query(self) -> None:
        """The query stays at the end."""
        url = wire("https://a.example/openai/v1/?api-version=preview").request(HELLO, "m", Options()).url
        assert url == "https://a.example/openai/v1/responses?api-version=preview"

    def test_headers_of_the_caller(self) -> None:
        """They overrule ours whatever their case; without a key there is no header for it."""
        headers = wire(key=None, x_tenant="7", ACCEPT="*/*").request(HELLO, "m", Options()).headers
        assert headers == {"Content-Type": "application/json", "x-tenant": "7", "ACCEPT": "*/*"}


class TestOptions:
    """Each option in the words of this wire, or refused."""

    def test_limits_and_sampling(self) -> None:
        """The limit counts reasoning too."""
        said = {"temperature": 0.0, "top_p": 0.5, "max_output_tokens": 9}
        assert asked(temperature=0.0, top_p=0.5, max_tokens=9) == said

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("top_k", 0),
            ("stop", ("x",)),
            ("seed", 0),
            ("frequency_penalty", 0.5),
            ("presence_penalty", 0.5),
            ("reasoning", 1024),
        ],
    )
    def test_what_it_cannot_say(self, name: str, value: object) -> None:
        """An error that names the option and the provider."""
        with pytest.raises(ConfigurationError, match=name) as caught:
            wire().request(HELLO, "m", msgspec.structs.replace(Options(), **{name: value}))
        assert caught.value.provider == "acme"
        assert "'acme'" in str(caught.value)

    def test_no_stop_texts_are_none(self) -> None:
        """An empty list asks for nothing."""
        assert asked(stop=()) == {}

    def test_reasoning(self) -> None:
        """Its cipher is asked for, so that it can go back."""
        said = {"reasoning": {"effort": "low"}, "include": ["reasoning.encrypted_content"]}
        assert asked(reasoning="low") == said

    @pytest.mark.parametrize(
        ("model", "thinks"),
        [
            *((name, True) for name in ("o1", "o4-mini", "gpt-5", "gpt-5.6-sol", "openai/gpt-10", "codex-mini-latest")),
            *((name, False) for name in ("gpt-4o", "gpt-4.1-mini", "gpt-35-turbo", "gpt-5-chat-latest", "gpt-oss-20b")),
            *((name, False) for name in ("grok-4", "olmo-3", "qwen3", "path/to.gguf")),
        ],
    )
    def test_models_that_reason_unasked(self, model: str, thinks: bool) -> None:
        """They are asked for the cipher; others would refuse the question."""
        assert ("include" in asked(model=model)) == thinks

    def test_json(self) -> None:
        """Any JSON, or JSON of a schema: strictly where the schema keeps the rules of that."""
        assert asked(response_format=JsonFormat()) == {"text": {"format": {"type": "json_object"}}}
        loose: Event = {"type": "object", "properties": {"a": {"type": "integer"}}}
        strict = {**loose, "required": ["a"], "additionalProperties": False}
        described: Event = {"type": "json_schema", "name": "My_answer_", "schema": loose}
        assert asked(response_format=JsonFormat(loose, "My answer!")) == {"text": {"format": described}}
        described = {"type": "json_schema", "name": "answer", "schema": strict, "strict": True}
        assert asked(response_format=JsonFormat(strict)) == {"text": {"format": described}}

    def test_tools(self) -> None:
        """Functions lie flat, in other than the form of Chat Completions."""
        weather: Event = {
            "type": "function",
            "name": "weather",
            "description": "Tells it.",
            "parameters": WEATHER.parameters,
            "strict": False,
        }
        bare = Tool("f", strict=True)
        closed = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
        plain = {"type": "function", "name": "f", "parameters": closed, "strict": True}
        assert asked(tools=(WEATHER, bare)) == {"tools": [weather, plain]}

    @pytest.mark.parametrize("choice", ["auto", "none", "required"])
    def test_tool_choice(self, choice: str) -> None:
        """Its words are the wire's own."""
        assert asked(tool_choice=choice) == {"tool_choice": choice}

    def test_one_tool(self) -> None:
        """By its name, which has to be there."""
        said = asked(tools=(WEATHER,), tool_choice="weather")["tool_choice"]
        assert said == {"type": "function", "name": "weather"}
        with pytest.raises(ConfigurationError, match="wetter"):
            asked(tools=(WEATHER,), tool_choice="wetter")

    def test_extra_body(self) -> None:
        """It has the last word, and adds to what is there."""
        extra = {"include": [], "reasoning": {"summary": "auto"}, "seed": 1}
        said = {"include": [], "reasoning": {"effort": "high", "summary": "auto"}, "seed": 1}
        assert asked(reasoning="high", extra_body=extra) == said
        body = wire().request(HELLO, "m", Options(extra_body={"store": True})).body
        assert json.loads(body)["store"] is True


class TestMessages:
    """A conversation as items."""

    def test_system_messages(self) -> None:
        """Those at the begin are the instructions; others keep their place."""
        talk = (Message.system("Be brief."), Message.system("Be kind."), *HELLO, Message.system("Now in French."))
        later = [{"role": "user", "content": "Hi"}, {"role": "system", "content": "Now in French."}]
        assert asked(*talk) == {"instructions": "Be brief.\n\nBe kind.", "input": later}

    def test_nothing_but_a_system_message(self) -> None:
        """It is the input then: there has to be one."""
        assert asked(Message.system("Go.")) == {"input": [{"role": "system", "content": "Go."}]}

    def test_images(self) -> None:
        """By address or in the request itself."""
        parts = (
            TextPart("Look:"),
            ImagePart(url="https://a.example/c.png", detail="original"),
            ImagePart(data=b"\x00", media_type="image/png"),
        )
        assert items(Message("user", parts)) == [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "Look:"},
                    {"type": "input_image", "image_url": "https://a.example/c.png", "detail": "original"},
                    {"type": "input_image", "image_url": "data:image/png;base64,AA=="},
                ],
            }
        ]

    def test_documents(self) -> None:
        """A document in the request has a name, if only a made-up one."""
        parts = (
            DocumentPart(url="https://a.example/d.pdf", name="d.pdf"),
            DocumentPart(data=b"\x00", media_type="application/pdf", name="d.pdf"),
            DocumentPart(data=b"\x00", media_type="application/pdf"),
            DocumentPart(url="data:text/plain,%00"),
        )
        assert items(Message("user", parts)) == [
            {
                "role": "user",
                "content": [
                    {"type": "input_file", "file_url": "https://a.example/d.pdf"},
                    {"type": "input_file", "filename": "d.pdf", "file_data": "data:application/pdf;base64,AA=="},
                    {"type": "input_file", "filename": "document.pdf", "file_data": "data:application/pdf;base64,AA=="},
                    {"type": "input_file", "filename": "document.txt", "file_data": "data:text/plain;base64,AA=="},
                ],
            }
        ]

    @pytest.mark.parametrize(
        "talk",
        [
            Message.user(AudioPart(url="https://a.example/a.wav")),
            Message.assistant(ImagePart(url="https://a.example/c.png")),
        ],
    )
    def test_parts_that_it_cannot_say(self, talk: Message) -> None:
        """An error that names the part and the provider."""
        with pytest.raises(ConfigurationError, match=r"'acme' takes no such (AudioPart|ImagePart)"):
            asked(talk)

    def test_several_turns_with_tools(self) -> None:
        """Calls and results are items of their own, in the order in which they came."""
        talk = (
            Message.user("Weather?"),
            Message.assistant(
                "Let me see.", ToolCall("c1", "weather", {"city": "Rome"}), ToolCall("c2", "weather", {})
            ),
            Message.tool(ToolResult("c1", "sunny", "weather"), ToolResult("c2", "no such city", is_error=True)),
            Message.assistant("Sunny."),
        )
        assert items(*talk) == [
            {"role": "user", "content": "Weather?"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me see."}]},
            {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city":"Rome"}'},
            {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
            {"type": "function_call_output", "call_id": "c2", "output": "no such city"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Sunny."}]},
        ]

    def test_what_only_other_wires_understand_stays_out(self) -> None:
        """Thoughts of another vendor, its items, its marks on a text."""
        foreign: Part = TextPart("x", {"anthropic": {"citations": []}})
        parts = (
            ReasoningPart("Hm."),
            ReasoningPart("Hm.", {"anthropic": {"signature": "s"}}),
            VendorPart("gemini", {}),
            foreign,
        )
        said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]}
        assert items(Message("assistant", parts)) == [said]

    def test_arguments_that_are_no_json(self) -> None:
        """They are refused before anything is sent."""
        with pytest.raises(ConfigurationError, match="JSON"):
            asked(Message.assistant(ToolCall("c1", "f", {"a": object()})))


class TestBack:
    """What an answer brought goes back with it."""

    def back(self, *events: Event) -> object:
        response = played(*events, completed()).response
        results = [ToolResult(call.id, "r") for call in response.tool_calls]
        return items(response.message, *([Message.tool(*results)] if results else []))

    def test_an_encrypted_thought(self) -> None:
        """In its place, without the id under which a server would look for it."""
        thought: Event = {"summary": [], "content": None, "encrypted_content": "cipher", "status": "completed"}
        call: Event = {"call_id": "c1", "name": "f", "arguments": "{}"}
        sent = self.back(added(0, "reasoning"), done(0, "reasoning", **thought), done(1, "function_call", **call))
        assert sent == [
            {"type": "reasoning", "summary": [], "encrypted_content": "cipher"},
            {"type": "function_call", **call},
            {"type": "function_call_output", "call_id": "c1", "output": "r"},
        ]

    def test_a_thought_in_the_open(self) -> None:
        """Where the vendor tells it whole, it goes back as it came; what was cut off stays out."""
        thought = {"summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}
        sent = self.back(
            added(0, "reasoning"), done(0, "reasoning", **thought), added(1, "reasoning", encrypted_content="half")
        )
        assert sent == [{"type": "reasoning", "id": "item_0", **thought}]

    def test_a_summary_of_a_thought(self) -> None:
        """Alone it is worth nothing to the model, and is refused by some servers."""
        thought = {"summary": [{"type": "summary_text", "text": "Hm."}]}
        sent = self.back(added(0, "reasoning"), done(0, "reasoning", **thought), delta("x", 1))
        assert sent == [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]}]

    def test_an_image_that_the_model_made(self) -> None:
        """The API takes nothing of it but this; one that failed has nothing to send."""
        made = {"status": "generating", "result": "cG5n"}
        told = {**made, "action": "generate", "size": "1024x1024", "revised_prompt": "A cat."}
        failed = done(1, "image_generation_call", status="failed", result=None)
        sent = self.back(done(0, "image_generation_call", **told), failed, delta("x", 2))
        assert sent == [
            {"type": "image_generation_call", **made},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]},
        ]

    def test_phases(self) -> None:
        """Each message keeps its own, and an empty one is not sent."""
        sent = self.back(
            added(0, "message", phase="commentary"),
            delta("a"),
            added(1, "message", phase="final_answer"),
            delta("b", 1),
            added(2, "message", phase="final_answer"),
            done(2, "message", phase="final_answer", content=message("")),
        )
        texts = [[{"type": "output_text", "text": text}] for text in ("a", "b")]
        assert sent == [
            {"type": "message", "role": "assistant", "phase": "commentary", "content": texts[0]},
            {"type": "message", "role": "assistant", "phase": "final_answer", "content": texts[1]},
        ]

    def test_a_call_made_by_a_program(self) -> None:
        """The program goes back, and call and result say that it is theirs."""
        caller = {"type": "program", "caller_id": "c0"}
        call: Event = {"call_id": "c1", "name": "f", "arguments": "{}", "caller": caller}
        program: Event = {"call_id": "c0", "code": "f()"}
        assert self.back(added(0, "program", **program), done(1, "function_call", **call)) == [
            {"type": "program", **program},
            {"type": "function_call", **call},
            {"type": "function_call_output", "call_id": "c1", "output": "r", "caller": caller},
        ]

    def test_a_refusal(self) -> None:
        """As what it is."""
        refusal = {"type": "refusal", "refusal": "No."}
        sent = self.back(added(0, "message"), done(0, "message", content=[refusal]))
        assert sent == [{"type": "message", "role": "assistant", "content": [refusal]}]
