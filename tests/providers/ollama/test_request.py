"""The Ollama /api/chat wire: what is asked on it."""

from __future__ import annotations

import json

import pytest

from rxllm import errors
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
    messages_from_json,
    messages_to_json,
)
from rxllm.options import JsonFormat, Options, Tool
from rxllm.providers.ollama import Ollama
from tests.providers.asking import Asker
from tests.providers.ollama.test_decoder import DONE, Payload, answer, line

ASKER = Asker(Ollama(provider="ollama", base_url="http://localhost:11434", api_key=None, headers={}), "llama-x")
asked, request = ASKER.asked, ASKER.request
HI: Payload = {"role": "user", "content": "Hi"}


class TestRequest:
    """Conversations and options to requests."""

    def test_the_plainest_request(self) -> None:
        """Nothing is said that was not asked for, and no key is sent where there is none."""
        sent = request(Message.user("Hi"))
        assert sent.url == "http://localhost:11434/api/chat"
        assert sent.headers == {"Content-Type": "application/json", "Accept": "application/x-ndjson"}
        assert sent.framing == "ndjson"
        assert json.loads(sent.body) == {"model": "llama-x", "messages": [HI], "stream": True}

    def test_a_key_is_a_bearer_token(self) -> None:
        """As ollama.com and proxies want it; /api in the base URL is not doubled."""
        wire = Ollama(provider="ollama", base_url="https://ollama.com/api", api_key="k", headers={"X-Team": "a"})
        sent = wire.request([Message.user("Hi")], "m", Options())
        assert sent.url == "https://ollama.com/api/chat"
        assert (sent.headers["Authorization"], sent.headers["X-Team"]) == ("Bearer k", "a")

    def test_every_option(self) -> None:
        """Each option under the name that the API has for it; extra_body is merged into objects."""
        tool = Tool("look_up", "Look a word up.", {"type": "object", "properties": {"word": {"type": "string"}}})
        sent = asked(
            temperature=0.5,
            max_tokens=100,
            top_p=0.9,
            top_k=40,
            frequency_penalty=0.1,
            presence_penalty=0.2,
            stop=("END",),
            seed=7,
            reasoning="low",
            tools=(tool,),
            tool_choice="auto",
            extra_body={"options": {"num_ctx": 8192}, "keep_alive": "10m"},
        )
        assert sent == {
            "model": "llama-x",
            "messages": [HI],
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "look_up",
                        "description": "Look a word up.",
                        "parameters": tool.parameters,
                    },
                }
            ],
            "think": "low",
            "options": {
                "temperature": 0.5,
                "num_predict": 100,
                "top_p": 0.9,
                "top_k": 40,
                "frequency_penalty": 0.1,
                "presence_penalty": 0.2,
                "stop": ["END"],
                "seed": 7,
                "num_ctx": 8192,
            },
            "stream": True,
            "keep_alive": "10m",
        }

    def test_a_format(self) -> None:
        """JSON, or a schema; beside tools it is refused, as no tool would be called: the words for that are no JSON."""
        assert "json" == asked(response_format=JsonFormat())["format"]
        assert {"type": "object"} == asked(response_format=JsonFormat({"type": "object"}))["format"]
        with pytest.raises(errors.ConfigurationError, match="calls no tools beside it"):
            asked(response_format=JsonFormat(), tools=(Tool("now"),))

    def test_json_without_a_schema_no_thinking_and_no_tools(self) -> None:
        """Plain JSON mode; 0 turns thinking off; the choice "none" offers no tools."""
        sent = asked(response_format=JsonFormat(), reasoning=0, tools=(Tool("now"),), tool_choice="none")
        assert sent == {"model": "llama-x", "messages": [HI], "format": "json", "think": False, "stream": True}

    @pytest.mark.parametrize(
        ("option", "options"),
        [
            ("reasoning", {"reasoning": 2000}),
            ("tool_choice", {"tools": (Tool("now"),), "tool_choice": "required"}),
            ("tool_choice", {"tools": (Tool("now"),), "tool_choice": "now"}),
            ("strict", {"tools": (Tool("now", strict=True),)}),
        ],
    )
    def test_options_that_the_api_does_not_have_are_refused(self, option: str, options: dict[str, object]) -> None:
        """The error names the option and the provider; nothing is dropped in silence."""
        with pytest.raises(errors.ConfigurationError, match=f"{option}.*'ollama'"):
            asked(**options)

    def test_a_conversation_with_tools(self) -> None:
        """Each result is a message that names its function; empty messages are left out."""
        conversation = [
            Message.system("Be brief."),
            Message.user("Look up rx."),
            Message.assistant(""),
            Message.assistant("One ", "moment.", ToolCall("call_1", "look_up", {"word": "rx"})),
            Message.tool(ToolResult("call_1", "found"), ToolResult("x", "no clock", name="now", is_error=True)),
        ]
        assert asked(*conversation)["messages"] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Look up rx."},
            {
                "role": "assistant",
                "content": "One moment.",
                "tool_calls": [{"id": "call_1", "function": {"name": "look_up", "arguments": {"word": "rx"}}}],
            },
            {"role": "tool", "content": "found", "tool_name": "look_up", "tool_call_id": "call_1"},
            {"role": "tool", "content": "Error: no clock", "tool_name": "now", "tool_call_id": "x"},
        ]

    def test_a_decoded_answer_is_sent_back_as_it_came(self) -> None:
        """Thoughts, text, and calls with what else was said of them."""
        tool_calls = [
            {"id": "call_1", "function": {"index": 0, "name": "look_up", "arguments": {"word": "rx"}}},
            {"id": "call_2", "function": {"index": 1, "name": "now", "arguments": {}}},
        ]
        said = answer(line(thinking="Hm."), line("Hi"), line(tool_calls=tool_calls), DONE).message
        restored = messages_from_json(messages_to_json([said]))[0]
        assert asked(Message.user("Hi"), restored)["messages"][1] == {
            "role": "assistant",
            "content": "Hi",
            "thinking": "Hm.",
            "tool_calls": tool_calls,
        }

    def test_what_other_vendors_carry_is_left_out(self) -> None:
        """Thoughts that bear another wire's signature, and other wires' items."""
        said = Message(
            "assistant",
            (
                ReasoningPart("Hm.", {"anthropic": {"signature": "x"}}),
                VendorPart("anthropic", {"type": "redacted_thinking"}),
                TextPart("Hello"),
            ),
        )
        assert asked(Message.user("Hi"), said)["messages"][1] == {"role": "assistant", "content": "Hello"}

    def test_images_stand_beside_the_text(self) -> None:
        """As bytes or in a data: URL; a user's texts are lines of one."""
        message = Message.user(
            "What is this?",
            ImagePart(data=b"\x89PNG", media_type="image/png"),
            ImagePart(url="data:image/png;base64,iVBORw=="),
            "Be brief.",
        )
        assert asked(message)["messages"] == [
            {"role": "user", "content": "What is this?\nBe brief.", "images": ["iVBORw==", "iVBORw=="]}
        ]

    @pytest.mark.parametrize(
        ("part", "named"),
        [
            (ImagePart(url="https://example.com/cat.png"), r"ImagePart.*data="),
            (ImagePart(data=b"x", media_type="image/png", detail="low"), r"ImagePart.*detail"),
            (DocumentPart(data=b"%PDF", media_type="application/pdf"), "DocumentPart"),
            (AudioPart(data=b"RIFF", media_type="audio/wav"), "AudioPart"),
        ],
    )
    def test_parts_that_the_api_does_not_take_are_refused(self, part: Part, named: str) -> None:
        """The error names the part and says what to do."""
        with pytest.raises(errors.ConfigurationError, match=named):
            asked(Message.user(part))
