"""What is asked over Chat Completions: exact bodies and headers, dialect by dialect."""

from __future__ import annotations

import json

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
from rxllm.providers.openai_chat import OpenAIChat
from rxllm.providers.openai_chat.dialect import GATEWAY, Dialect
from rxllm.providers.vendors import vendor_named
from tests.providers.asking import HELLO, WEATHER, Asker, headers_of
from tests.providers.openai_chat.streams import DONE, body, chunk, tool
from tests.providers.recordings import Payload, play

AZURE, CEREBRAS, DEEPSEEK, FIREWORKS, GROQ, LLAMACPP, LMSTUDIO, MISTRAL, OPENAI, OPENROUTER, PERPLEXITY = (
    vendor_named(name).dialect
    for name in (
        *("azure", "cerebras", "deepseek", "fireworks", "groq", "llamacpp"),
        *("lmstudio", "mistral", "openai", "openrouter", "perplexity"),
    )
)


def wire(
    dialect: Dialect = GATEWAY, url: str = "https://a.example/v1", key: str | None = "k", **headers: str
) -> OpenAIChat:
    return OpenAIChat(provider="acme", base_url=url, api_key=key, headers=headers_of(**headers), dialect=dialect)


def asked(*messages: Message, dialect: Dialect = GATEWAY, **options: object) -> Payload:
    """The body, without what every request has."""
    return Asker(wire(dialect), "m", ("model", "stream", "stream_options"), "messages").asked(*messages, **options)


def said(*messages: Message, dialect: Dialect = GATEWAY, **options: object) -> object:
    """The messages field."""
    return asked(*messages, dialect=dialect, **options)["messages"]


def part(content: Part, dialect: Dialect = GATEWAY) -> object:
    """The wire's form of a user message's part."""
    messages = said(Message.user("Look", content), dialect=dialect)
    assert isinstance(messages, list)
    return messages[0]["content"][1]


class TestEnvelope:
    """Address, headers, and the fields of every request."""

    def test_the_plain_request(self) -> None:
        """A prompt and nothing else."""
        request = wire().request(HELLO, "m-1", Options())
        assert (request.url, request.framing) == ("https://a.example/v1/chat/completions", "sse")
        assert request.headers == {
            "Authorization": "Bearer k",
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
        }
        assert json.loads(request.body) == {
            "model": "m-1",
            "messages": [{"role": "user", "content": "Hi"}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    @pytest.mark.parametrize(
        "url", ["https://a.example/v1", "https://a.example/v1/", "https://a.example/v1/chat/completions"]
    )
    def test_addresses(self, url: str) -> None:
        """A base URL may end with a slash, or be the whole address."""
        assert wire(url=url).request(HELLO, "m", Options()).url == "https://a.example/v1/chat/completions"

    def test_a_query_stays_behind_the_path(self) -> None:
        """Azure's api-version, for one."""
        url = wire(url="https://a.example/x?api-version=1").request(HELLO, "m", Options()).url
        assert url == "https://a.example/x/chat/completions?api-version=1"

    def test_azure_has_a_header_of_its_own(self) -> None:
        """The key stands alone in it."""
        headers = wire(AZURE).request(HELLO, "m", Options()).headers
        assert (headers["api-key"], "Authorization" in headers) == ("k", False)

    def test_no_key_no_header(self) -> None:
        """Servers on this machine want none."""
        assert "Authorization" not in wire(key=None).request(HELLO, "m", Options()).headers

    def test_the_callers_headers_win(self) -> None:
        """In any case of letters, and without being sent twice."""
        headers = wire(authorization="Token t", X_Team="core").request(HELLO, "m", Options()).headers
        assert (headers["authorization"], headers["X-Team"], "Authorization" in headers) == ("Token t", "core", False)

    def test_usage_is_asked_for_only_where_that_is_allowed(self) -> None:
        """Mistral refuses the field, and tells usage anyway."""
        assert "stream_options" not in json.loads(wire(MISTRAL).request(HELLO, "m", Options()).body)

    def test_no_key_in_any_repr(self) -> None:
        """Neither the wire's nor the request's."""
        made = wire(key="s3cret")
        assert "s3cret" not in repr(made) + repr(made.request(HELLO, "m", Options()))


CLOSED = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


class TestOptions:
    """Each option by its name on the wire, or refused by name."""

    def test_sampling(self) -> None:
        """Names are the wire's own; zero is a value."""
        options = {"temperature": 0.0, "top_p": 0.5, "top_k": 3, "frequency_penalty": 1.0, "presence_penalty": -1.0}
        assert asked(**options) == options

    def test_stop_seed_and_length(self) -> None:
        """The names that dialects change."""
        options = {"stop": ("a", "b"), "seed": 7, "max_tokens": 9}
        assert asked(**options) == {"stop": ["a", "b"], "seed": 7, "max_tokens": 9}
        assert asked(dialect=OPENAI, **options) == {"stop": ["a", "b"], "seed": 7, "max_completion_tokens": 9}
        assert asked(dialect=MISTRAL, **options) == {"stop": ["a", "b"], "random_seed": 7, "max_tokens": 9}

    @pytest.mark.parametrize(
        ("dialect", "reasoning", "fields"),
        [
            (OPENAI, "low", {"reasoning_effort": "low"}),
            (OPENROUTER, "high", {"reasoning": {"effort": "high"}}),
            (OPENROUTER, 2000, {"reasoning": {"max_tokens": 2000}}),
            (FIREWORKS, 2000, {"reasoning_effort": 2000}),
            (LLAMACPP, 2000, {"thinking_budget_tokens": 2000}),
            (MISTRAL, "high", {"reasoning_effort": "high"}),
        ],
    )
    def test_reasoning(self, dialect: Dialect, reasoning: object, fields: object) -> None:
        """An effort or a budget, each in the vendor's field."""
        assert asked(dialect=dialect, reasoning=reasoning) == fields

    def test_tools(self) -> None:
        """What is not said of a tool is not sent."""
        bare = Tool("now", strict=True)
        assert asked(tools=(WEATHER, bare), tool_choice="auto") == {
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "weather", "description": "Tells it.", "parameters": WEATHER.parameters},
                },
                {
                    "type": "function",
                    "function": {"name": "now", "parameters": CLOSED, "strict": True},
                },
            ],
            "tool_choice": "auto",
        }

    @pytest.mark.parametrize(
        ("dialect", "choice", "sent"),
        [
            (GATEWAY, "none", "none"),
            (GATEWAY, "required", "required"),
            (MISTRAL, "required", "any"),
            (GATEWAY, "weather", {"type": "function", "function": {"name": "weather"}}),
        ],
    )
    def test_tool_choice(self, dialect: Dialect, choice: str, sent: object) -> None:
        """A word, or one tool."""
        assert asked(dialect=dialect, tools=(WEATHER,), tool_choice=choice)["tool_choice"] == sent

    def test_json(self) -> None:
        """Any JSON; as a schema that allows all objects where only schemas are known."""
        assert asked(response_format=JsonFormat()) == {"response_format": {"type": "json_object"}}
        anything = {"name": "answer", "schema": {"type": "object"}}
        assert asked(dialect=LMSTUDIO, response_format=JsonFormat()) == {
            "response_format": {"type": "json_schema", "json_schema": anything}
        }

    @pytest.mark.parametrize(("further", "strict"), [(False, True), (None, True), (True, False)])
    def test_a_schema(self, further: bool | None, strict: bool) -> None:
        """Strict where the schema allows that: OpenAI refuses strict with any other."""
        schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
        schema |= {} if further is None else {"additionalProperties": further}
        described = {"name": "city", "schema": {**schema, "additionalProperties": False}, "strict": True}
        assert asked(response_format=JsonFormat(schema, "city")) == {
            "response_format": {
                "type": "json_schema",
                "json_schema": described if strict else {"name": "city", "schema": schema},
            }
        }

    def test_extra_body_comes_last(self) -> None:
        """It adds what is not modelled and overrules what is."""
        extra = {"temperature": 2, "logprobs": True}
        assert asked(temperature=1.0, extra_body=extra) == extra

    @pytest.mark.parametrize(
        ("dialect", "name", "value"),
        [
            (OPENAI, "top_k", 5),
            (GROQ, "top_k", 0),
            (CEREBRAS, "presence_penalty", 1.0),
            (DEEPSEEK, "seed", 1),
            (DEEPSEEK, "response_format", JsonFormat({"type": "object"})),
            (PERPLEXITY, "tools", (WEATHER,)),
            (PERPLEXITY, "stop", ("x",)),
            (OPENAI, "reasoning", 1000),
            (MISTRAL, "reasoning", "low"),
            (GATEWAY, "tool_choice", "no_such_tool"),
        ],
    )
    def test_what_cannot_be_honoured_is_refused(self, dialect: Dialect, name: str, value: object) -> None:
        """At once, naming the option; nothing is dropped in silence."""
        with pytest.raises(ConfigurationError, match=name):
            asked(dialect=dialect, **{name: value})


class TestMessages:
    """Who said what, in which parts."""

    def test_a_conversation(self) -> None:
        """System, user and assistant take turns; texts of one message are one text."""
        spoken = (
            Message.system("Be brief."),
            Message.user("One ", "two"),
            Message.assistant("Three."),
            Message.user("Go on"),
        )
        assert said(*spoken) == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "One two"},
            {"role": "assistant", "content": "Three."},
            {"role": "user", "content": "Go on"},
        ]

    def test_images(self) -> None:
        """By URL, or in place."""
        url = {"url": "https://a.example/i.png", "detail": "low"}
        assert part(ImagePart(url=url["url"], detail="low")) == {"type": "image_url", "image_url": url}
        assert part(ImagePart(data=b"\x89PNG", media_type="image/png")) == {
            "type": "image_url",
            "image_url": {"url": "data:image/png;base64,iVBORw=="},
        }

    def test_documents(self) -> None:
        """Each dialect has its own part for them."""
        pdf = DocumentPart(data=b"%PDF", media_type="application/pdf", name="a.pdf")
        here, inside = "https://a.example/a.pdf", "data:application/pdf;base64,JVBERg=="
        assert part(pdf) == {"type": "file", "file": {"filename": "a.pdf", "file_data": inside}}
        assert part(DocumentPart(url=here), OPENROUTER) == {
            "type": "file",
            "file": {"filename": "document", "file_data": here},
        }
        assert part(pdf, MISTRAL) == {"type": "document_url", "document_url": inside, "document_name": "a.pdf"}
        assert part(DocumentPart(url=here), PERPLEXITY) == {"type": "file_url", "file_url": {"url": here}}

    @pytest.mark.parametrize(
        ("media_type", "kind"), [("audio/wav", "wav"), ("audio/x-wav", "wav"), ("audio/mpeg", "mp3")]
    )
    def test_sound(self, media_type: str, kind: str) -> None:
        """The format is a word of its own."""
        sound = AudioPart(data=b"RIFF", media_type=media_type)
        assert part(sound) == {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": kind}}
        assert part(sound, MISTRAL) == {"type": "input_audio", "input_audio": "UklGRg=="}

    @pytest.mark.parametrize(
        ("content", "dialect"),
        [
            (DocumentPart(url="https://a.example/a.pdf"), OPENAI),
            (DocumentPart(data=b"%PDF", media_type="application/pdf"), GROQ),
            (AudioPart(url="https://a.example/a.mp3"), OPENAI),
            (AudioPart(data=b"RIFF", media_type="audio/wav"), DEEPSEEK),
            (ToolCall("t", "f", {}), GATEWAY),
        ],
    )
    def test_parts_that_cannot_be_said_are_refused(self, content: Part, dialect: Dialect) -> None:
        """Naming the part and the provider."""
        with pytest.raises(ConfigurationError, match=rf"acme.*{type(content).__name__}"):
            part(content, dialect)

    @pytest.mark.parametrize("role", ["system", "assistant"])
    def test_only_the_user_shows_pictures(self, role: str) -> None:
        """Neither instructions nor answers hold images on this wire."""
        picture = Message(role, (ImagePart(url="https://a.example/i.png"),))  # type: ignore[arg-type]  # a role
        with pytest.raises(ConfigurationError, match="ImagePart"):
            said(picture)

    def test_tool_calls_and_their_results(self) -> None:
        """Each result is a message of its own, before anything said with it."""
        asking = Message.assistant("Wait.", ToolCall("a", "f", {"n": 1}), ToolCall("b", "g", {}))
        results = Message.tool(ToolResult("a", "1"), ToolResult("b", "2", is_error=True))
        assert said(Message.user("Go"), asking, results)[1:] == [  # type: ignore[index]  # a list
            {
                "role": "assistant",
                "content": "Wait.",
                "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"n":1}'}},
                    {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
                ],
            },
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            {"role": "tool", "tool_call_id": "b", "content": "2"},
        ]

    def test_what_another_wire_keeps_is_left_out(self) -> None:
        """A conversation can change vendors."""
        elsewhere = Message.assistant(
            ReasoningPart("Hm", {"anthropic": {"signature": "s"}}), VendorPart("anthropic", {"x": 1}), TextPart("Yes")
        )
        assert said(elsewhere, dialect=DEEPSEEK, tools=(WEATHER,)) == [{"role": "assistant", "content": "Yes"}]


class TestThereAndBack:
    """An answer read from a stream goes back as its vendor wants it."""

    @staticmethod
    def again(*payloads: str, dialect: Dialect) -> object:
        response = play(wire(dialect).decoder(), [body(*payloads, DONE)]).response
        answers = [Message.tool(ToolResult(call.id, "ok")) for call in response.tool_calls]
        return said(response.message, *answers, dialect=dialect)

    @pytest.mark.parametrize(("dialect", "kept"), [(DEEPSEEK, True), (GATEWAY, True), (OPENAI, False), (GROQ, False)])
    def test_reasoning_in_a_tool_turn(self, dialect: Dialect, kept: bool) -> None:
        """DeepSeek answers 400 to a tool turn without it, others to one with it."""
        spoken = self.again(
            chunk({"reasoning_content": "H"}), chunk({"reasoning_content": "m"}),
            tool(id="t", name="f", arguments='{"a": 1}'), chunk(finish="tool_calls"), dialect=dialect,
        )  # fmt: skip
        call = {"id": "t", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
        thought = {"reasoning_content": "Hm"} if kept else {}
        assert spoken == [
            {"role": "assistant", "content": dialect.empty_content, "tool_calls": [call], **thought},
            {"role": "tool", "tool_call_id": "t", "content": "ok"},
        ]

    def test_reasoning_without_tools(self) -> None:
        """Nobody wants it then."""
        spoken = self.again(chunk({"reasoning_content": "Hm"}), chunk({"content": "Yes"}, "stop"), dialect=DEEPSEEK)
        assert spoken == [{"role": "assistant", "content": "Yes"}]

    def test_reasoning_details(self) -> None:
        """OpenRouter takes them back joined, in order, ciphers included, and not the text a second time."""
        pieces = [{"type": "reasoning.text", "index": 0, "text": word} for word in ("H", "m")]
        cipher = {"type": "reasoning.encrypted", "index": 1, "data": "xx"}
        stream = (
            *(chunk({"reasoning": piece["text"], "reasoning_details": [piece]}) for piece in pieces),
            tool(id="t", name="f", arguments="{}"),
            chunk({"reasoning_details": [cipher]}, "tool_calls"),
        )
        spoken = self.again(*stream, dialect=OPENROUTER)
        assert isinstance(spoken, list)
        assert spoken[0]["reasoning_details"] == [{"type": "reasoning.text", "index": 0, "text": "Hm"}, cipher]
        assert "reasoning" not in spoken[0]
        elsewhere = self.again(*stream, dialect=OPENAI)
        assert isinstance(elsewhere, list)
        assert "reasoning_details" not in elsewhere[0]

    def test_thoughts_that_are_signed_each(self) -> None:
        """Each signature goes back with its own words, also where nothing numbers them."""
        pieces = [("H", ""), ("m", ""), ("", "s"), ("So", "t"), ("", "u")]
        entries = [{"type": "thinking", "thinking": words, "signature": sign} for words, sign in pieces]
        stream = (chunk({"thinking_blocks": [entry]}) for entry in entries)
        spoken = self.again(*stream, tool(id="t", name="f", arguments="{}"), dialect=GATEWAY)
        assert isinstance(spoken, list)
        assert [(entry["thinking"], entry["signature"]) for entry in spoken[0]["thinking_blocks"]] == [
            *(("Hm", "s"), ("So", "t"), ("", "u"))
        ]

    def test_thoughts_that_are_parts_of_the_content(self) -> None:
        """Mistral's, with the "signature to replay some reasoning blocks across turns"."""
        pieces: list[dict[str, object]] = [
            {"thinking": [{"type": "text", "text": "H"}]},
            {"thinking": [{"type": "text", "text": "m"}], "closed": True, "signature": "s"},
            {"type": "text", "text": "So"},
            {"thinking": [], "signature": "t"},
        ]
        stream = (chunk({"content": [{"type": "thinking", **piece}]}) for piece in pieces)
        spoken = self.again(*stream, tool(id="t", name="f", arguments="{}"), dialect=MISTRAL)
        assert isinstance(spoken, list)
        assert spoken[0]["content"] == [
            {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}], "signature": "s"},
            {"type": "thinking", "thinking": [], "signature": "t"},
            {"type": "text", "text": "So"},
        ]

    def test_a_refusal(self) -> None:
        """As what the assistant said: the field it came in is refused by some servers."""
        spoken = self.again(chunk({"refusal": "I can't."}), chunk(finish="stop"), dialect=OPENAI)
        assert spoken == [{"role": "assistant", "content": "I can't."}]

    def test_a_signature_beside_a_call(self) -> None:
        """Gemini's OpenAI surface answers 400 to a call without it."""
        extra = {"google": {"thought_signature": "s"}}
        beside = (tool(id="t", name="f", arguments="{}", extra_content=extra),)
        behind = (tool(id="t", name="f", arguments='{"a":'), tool(arguments="1}"), tool(extra_content=extra))
        for stream in (beside, behind):
            spoken = self.again(*stream, dialect=GATEWAY)
            assert isinstance(spoken, list)
            assert spoken[0]["tool_calls"][0]["extra_content"] == extra

    def test_a_call_without_an_id(self) -> None:
        """It was given one, and its result names it."""
        spoken = self.again(tool(None, name="f", arguments="{}"), chunk(finish="tool_calls"), dialect=GATEWAY)
        assert isinstance(spoken, list)
        assert (spoken[0]["tool_calls"][0]["id"], spoken[1]["tool_call_id"]) == ("call_0", "call_0")


def test_what_is_no_json_is_refused() -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match="JSON"):
        asked(extra_body={"x": object()})


def test_half_a_character_is_replaced() -> None:
    """A tool's result may end in half an emoji; refused, it would stop the conversation for good."""
    call = Message.assistant(ToolCall("a", "f", {"n": "\ud83d"}))
    sent = said(Message.user("Go"), call, Message.tool(ToolResult("a", "x\ud83d")))
    assert isinstance(sent, list)
    assert sent[2]["content"] == "x\ufffd"
    assert json.loads(sent[1]["tool_calls"][0]["function"]["arguments"]) == {"n": "\ufffd"}
