"""The Anthropic Messages wire: what is asked on it."""

from __future__ import annotations

import json

import pytest

from rxllm import errors
from rxllm.messages import (
    AudioPart,
    DocumentPart,
    ImagePart,
    Message,
    ReasoningPart,
    TextPart,
    ToolCall,
    ToolResult,
    VendorPart,
    messages_from_json,
    messages_to_json,
)
from rxllm.options import JsonFormat, Options, Tool
from rxllm.providers.anthropic import Anthropic, AnthropicDecoder
from rxllm.providers.anthropic.request import MAX_TOKENS, MAX_TOKENS_THINKING
from tests.providers.anthropic.test_decoder import RECORDINGS, Payload, answer, message_start
from tests.providers.asking import Asker
from tests.providers.recordings import Recording, play
from tests.shared import needs_shared

ASKER = Asker(
    Anthropic(provider="anthropic", base_url="https://api.anthropic.com", api_key="k", headers={}), "claude-x"
)
asked, request = ASKER.asked, ASKER.request
HI: Payload = {"role": "user", "content": [{"type": "text", "text": "Hi"}]}


class TestRequest:
    """Conversations and options to requests."""

    def test_the_plainest_request(self) -> None:
        """max_tokens is demanded, so it has a default; nothing else is said that was not asked for."""
        sent = request(Message.user("Hi"))
        assert sent.url == "https://api.anthropic.com/v1/messages"
        assert sent.headers == {
            "x-api-key": "k",
            "anthropic-version": "2023-06-01",
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
        }
        assert sent.framing == "sse"
        assert json.loads(sent.body) == {
            "model": "claude-x",
            "max_tokens": MAX_TOKENS,
            "messages": [HI],
            "stream": True,
        }

    @pytest.mark.parametrize(
        "base_url", ["http://localhost:8080", "http://localhost:8080/v1", "http://localhost:8080/v1/"]
    )
    def test_the_version_in_a_base_url_is_not_doubled(self, base_url: str) -> None:
        """Without a key none is sent; the caller's headers overrule ours whatever their case."""
        wire = Anthropic(provider="a", base_url=base_url, api_key=None, headers={"Anthropic-Version": "2024-01-01"})
        sent = wire.request([Message.user("Hi")], "m", Options())
        assert sent.url == "http://localhost:8080/v1/messages"
        assert {"Content-Type", "Accept", "Anthropic-Version"} == set(sent.headers)

    def test_every_option(self) -> None:
        """Each option under the name that the API has for it."""
        tool = Tool("look_up", "Look a word up.", {"type": "object", "properties": {"word": {"type": "string"}}})
        sent = asked(
            temperature=0.5,
            max_tokens=100,
            top_p=0.9,
            top_k=40,
            stop=("END",),
            tools=(tool,),
            tool_choice="required",
            response_format=JsonFormat({"type": "object", "properties": {"a": {"type": "string"}}}),
            reasoning="low",
            extra_body={"metadata": {"user_id": "u"}, "output_config": {"effort": "max"}},
        )
        closed = {"type": "object", "additionalProperties": False}
        assert {
            "model": "claude-x",
            "max_tokens": 100,
            "messages": [HI],
            "thinking": {"type": "adaptive", "display": "summarized"},
            "output_config": {
                "effort": "max",
                "format": {"type": "json_schema", "schema": {**closed, "properties": {"a": {"type": "string"}}}},
            },
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 40,
            "stop_sequences": ["END"],
            "tools": [{"name": "look_up", "description": "Look a word up.", "input_schema": tool.parameters}],
            "tool_choice": {"type": "any"},
            "stream": True,
            "metadata": {"user_id": "u"},
        } == sent

    @pytest.mark.parametrize(
        ("choice", "sent"),
        [
            ("auto", {"type": "auto"}),
            ("none", {"type": "none"}),
            ("required", {"type": "any"}),
            ("look_up", {"type": "tool", "name": "look_up"}),
        ],
    )
    def test_tool_choices(self, choice: str, sent: Payload) -> None:
        """The three modes, or the one tool to call."""
        assert sent == asked(tools=(Tool("look_up"),), tool_choice=choice)["tool_choice"]

    def test_a_strict_tool_has_closed_objects(self) -> None:
        """Strict schemas must say that nothing else may be in their objects; data in them is left alone."""
        parameters = {
            "type": "object",
            "properties": {
                "enum": {"type": "object", "properties": {}},
                "b": {"anyOf": [{"type": "object", "properties": {}}, {"const": {"type": "object"}}]},
            },
        }
        closed = {"type": "object", "properties": {}, "additionalProperties": False}
        assert {
            **closed,
            "properties": {"enum": closed, "b": {"anyOf": [closed, {"const": {"type": "object"}}]}},
        } == asked(tools=(Tool("t", "", parameters, strict=True),))["tools"][0]["input_schema"]

    @pytest.mark.parametrize(
        ("model", "reasoning", "max_tokens", "sent"),
        [
            ("claude-opus-5", "high", None, (MAX_TOKENS_THINKING, "adaptive", None, "high")),
            ("claude-opus-4-6", "low", 500, (500, "adaptive", None, "low")),
            ("claude-sonnet-4-5-20250929", "high", None, (24_576 + MAX_TOKENS, "enabled", 24_576, None)),
            ("anthropic/claude-haiku-4.5", "medium", None, (8192 + MAX_TOKENS, "enabled", 8192, None)),
            ("claude-3-7-sonnet-latest", "high", 10_000, (10_000, "enabled", 5000, None)),
            ("claude-sonnet-4-6", 3000, None, (3000 + MAX_TOKENS, "enabled", 3000, None)),
            ("claude-x", 3000, 4000, (4000, "enabled", 3000, None)),
            ("claude-opus-5", 0, None, (MAX_TOKENS, "disabled", None, None)),
        ],
    )
    def test_reasoning(
        self, model: str, reasoning: object, max_tokens: int | None, sent: tuple[int, str, int | None, str | None]
    ) -> None:
        """A budget is a budget and leaves room for the answer; an effort is one where the model knows efforts."""
        body = asked(model=model, reasoning=reasoning, max_tokens=max_tokens)
        effort = body.get("output_config", {}).get("effort")
        thinking = body["thinking"]
        assert sent == (body["max_tokens"], thinking["type"], thinking.get("budget_tokens"), effort)

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("seed", 1),
            ("frequency_penalty", 0.1),
            ("presence_penalty", 0.1),
            ("response_format", JsonFormat()),
        ],
    )
    def test_options_that_the_api_does_not_have_are_refused(self, option: str, value: object) -> None:
        """The error names the option and the provider; nothing is dropped in silence."""
        with pytest.raises(errors.ConfigurationError, match=f"{option}= .*'anthropic'"):
            asked(**{option: value})

    def test_system_messages_stand_beside_the_conversation(self) -> None:
        """One piece is plain text; several, or one with fields of its own, are blocks."""
        cached = TextPart("Be kind.", {"anthropic": {"cache_control": {"type": "ephemeral"}}})
        assert asked(Message.system("Be brief."), Message.user("Hi"))["system"] == "Be brief."
        assert asked(Message.system("Be brief."), Message.user("Hi"), Message("system", (cached,)))["system"] == [
            {"type": "text", "text": "Be brief."},
            {"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}},
        ]

    def test_roles_alternate(self) -> None:
        """Tool results are said by the user, and neighbours of one role are one turn; empty text is left out."""
        call = ToolCall("toolu_1", "look_up", {"word": "rx"})
        conversation = [
            Message.user("Hi"),
            Message.user("Look up rx."),
            Message.assistant("", call),
            Message.tool(ToolResult("toolu_1", "not found", "look_up", is_error=True)),
            Message.user("And now?"),
        ]
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "not found", "is_error": True}
        assert [
            {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "Look up rx."}]},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"word": "rx"}}],
            },
            {"role": "user", "content": [result, {"type": "text", "text": "And now?"}]},
        ] == asked(*conversation)["messages"]

    def test_a_decoded_answer_is_sent_back_as_it_came(self) -> None:
        """Thoughts with their signature, server tools, citations, calls with their caller: nothing is lost."""
        cited = {"type": "char_location", "cited_text": "rx"}
        blocks: list[Payload] = [
            {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "opaque"},
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "rx"}},
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
            {"type": "text", "text": "Found.", "citations": [cited]},
            {"type": "thinking", "thinking": "", "signature": "b21pdHRlZA=="},
            {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {}, "caller": {"type": "direct"}},
        ]
        said = answer(message_start(content=blocks, stop_reason="tool_use"), {"type": "message_stop"}).message
        restored = messages_from_json(messages_to_json([said]))[0]
        assert {"role": "assistant", "content": blocks} == asked(Message.user("Hi"), restored)["messages"][1]

    def test_what_other_vendors_carry_is_left_out(self) -> None:
        """Unsigned thoughts and other wires' items mean nothing here."""
        said = Message(
            "assistant",
            (
                ReasoningPart("Hm.", {"gemini": {"thoughtSignature": "x"}}),
                VendorPart("openai-responses", {"type": "reasoning"}),
                TextPart("Hello", {"gemini": {"thoughtSignature": "x"}}),
            ),
        )
        assert asked(Message.user("Hi"), said)["messages"][1] == {
            "role": "assistant",
            "content": [{"type": "text", "text": "Hello"}],
        }

    @pytest.mark.parametrize(
        ("part", "block"),
        [
            (
                ImagePart(url="https://example.com/cat.png"),
                {"type": "image", "source": {"type": "url", "url": "https://example.com/cat.png"}},
            ),
            (
                ImagePart(data=b"\x89PNG", media_type="image/png"),
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}},
            ),
            (
                ImagePart(url="data:image/png;base64,iVBORw=="),
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}},
            ),
            (
                DocumentPart(url="https://example.com/a.pdf", name="A"),
                {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}, "title": "A"},
            ),
            (
                DocumentPart(data=b"%PDF", media_type="application/pdf"),
                {
                    "type": "document",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
                },
            ),
            (
                DocumentPart(data="é".encode(), media_type="text/markdown"),
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "é"}},
            ),
            (
                DocumentPart(url="data:,a%20b"),
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a b"}},
            ),
        ],
    )
    def test_images_and_documents(self, part: ImagePart | DocumentPart, block: Payload) -> None:
        """By address, as bytes, or in a data: URL."""
        assert [block] == asked(Message.user(part))["messages"][0]["content"]

    @pytest.mark.parametrize(
        ("part", "named"),
        [
            (AudioPart(data=b"RIFF", media_type="audio/wav"), "AudioPart"),
            (DocumentPart(data=b"PK", media_type="application/zip"), "DocumentPart.*application/zip"),
            (ImagePart(url="https://example.com/cat.png", detail="low"), "ImagePart.*detail"),
            (ImagePart(url="data:image/png;base64,%%%"), "ImagePart.*base64"),
            (ImagePart(url="data:image/png"), "ImagePart.*comma"),
        ],
    )
    def test_parts_that_the_api_does_not_take_are_refused(
        self, part: AudioPart | DocumentPart | ImagePart, named: str
    ) -> None:
        """The error names the part and says what to do."""
        with pytest.raises(errors.ConfigurationError, match=named):
            asked(Message.user(part))

    def test_a_system_message_is_text(self) -> None:
        """Anything else in it is refused."""
        with pytest.raises(errors.ConfigurationError, match=r"ImagePart.*system"):
            asked(Message("system", (ImagePart(url="https://example.com/cat.png"),)), Message.user("Hi"))

    def test_a_conversation_needs_something_said(self) -> None:
        """Instructions alone are refused by the API, so they are refused here."""
        with pytest.raises(errors.ConfigurationError, match="at least one message"):
            asked(Message.system("Be brief."))

    @needs_shared
    @pytest.mark.parametrize("recording", RECORDINGS, ids=str)
    def test_every_recorded_answer_can_be_sent_back(self, recording: Recording) -> None:
        """A conversation goes on after any answer, and saving it as JSON in between loses nothing."""
        said = play(AnthropicDecoder("anthropic"), [recording.body]).response.message
        conversation = messages_from_json(messages_to_json([Message.user("go on"), said]))
        body = asked(*conversation)
        assert conversation == (Message.user("go on"), said)
        assert {"user"} | ({"assistant"} if len(body["messages"]) > 1 else set()) == {
            turn["role"] for turn in body["messages"]
        }


class TestThoughtsOfEarlierTurns:
    """From Claude 5.1 on, a thought is refused if anything before it has changed: the API is to drop it instead."""

    KEY = "anthropic@api.anthropic.com/v1/messages"
    HISTORY = (
        Message.user("Hi"),
        Message.assistant(ReasoningPart("Hm.", {KEY: {"signature": "s"}}), "Hello."),
        Message.user("And?"),
    )

    @pytest.mark.parametrize(
        "model",
        ["claude-fable-5-1", "claude-opus-5-5-20261001", "claude-haiku-5-5", "claude-sonnet-6", "claude-opus-5"],
    )
    def test_all_go_back_also_to_another_model(self, model: str) -> None:
        """The API drops without an error what the model cannot read, says its documentation."""
        sent = request(*self.HISTORY, model=model)
        body = json.loads(sent.body)
        thought = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
        assert thought == body["messages"][1]["content"][0]
        wanted = None if model == "claude-opus-5" else {"prefix_mismatch_behavior": "drop_block"}
        assert wanted == body.get("thinking", {}).get("block_binding")
        assert (wanted is not None) == ("anthropic-beta" in sent.headers)

    @pytest.mark.parametrize("reasoning", ["low", None])
    def test_the_configuration_of_thinking_stays(self, reasoning: str | None) -> None:
        """Only a field is added; one that the caller gives wins, and so do the betas of the caller's header."""
        headers = {"Anthropic-Beta": "files-api-2025-04-14"}
        wire = Anthropic(provider="anthropic", base_url="https://api.anthropic.com", api_key="k", headers=headers)
        extra = {"thinking": {"block_binding": {"prefix_mismatch_behavior": "error"}}}
        sent = wire.request(self.HISTORY, "claude-opus-5-5", Options(reasoning=reasoning, extra_body=extra))
        thinking = json.loads(sent.body)["thinking"]
        assert {"type": "adaptive", "display": "summarized", **extra["thinking"]} == thinking
        assert sent.headers["Anthropic-Beta"] == "files-api-2025-04-14,thinking-binding-controls-2026-08-01"

    def test_nothing_is_added_elsewhere(self) -> None:
        """Not for another address, which may know no such field; not without thoughts; not while thinking is off."""
        gateway = Anthropic(provider="anthropic", base_url="https://gateway.example", api_key="k", headers={})
        history = (Message.user("Hi"), Message.assistant(ReasoningPart("Hm.", {"anthropic": {"signature": "s"}}), "A"))
        for sent in (
            gateway.request((*history, Message.user("?")), "claude-opus-5-5", Options()),
            request(model="claude-opus-5-5"),
            request(*self.HISTORY, model="claude-haiku-5-5", reasoning=0),
        ):
            assert b"block_binding" not in sent.body
            assert "anthropic-beta" not in sent.headers
