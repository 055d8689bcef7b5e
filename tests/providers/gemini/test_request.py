"""The Gemini generateContent wire: what is asked on it."""

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
from rxllm.providers.gemini import Gemini, GeminiDecoder
from tests.providers.asking import Asker
from tests.providers.gemini.test_decoder import RECORDINGS, Payload, answer, chunk
from tests.providers.recordings import Recording, play
from tests.shared import needs_shared

ROOT = "https://generativelanguage.googleapis.com"
ASKER = Asker(Gemini(provider="gemini", base_url=ROOT, api_key="k", headers={}), "gemini-x")
asked, request = ASKER.asked, ASKER.request
HI: Payload = {"role": "user", "parts": [{"text": "Hi"}]}


class TestRequest:
    """Conversations and options to requests."""

    def test_the_plainest_request(self) -> None:
        """Nothing is said that was not asked for; the key is in a header, never in the address."""
        sent = request(Message.user("Hi"), model="gemini-x")
        assert sent.url == f"{ROOT}/v1beta/models/gemini-x:streamGenerateContent?alt=sse"
        assert sent.headers == {
            "x-goog-api-key": "k",
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
        }
        assert sent.framing == "sse"
        assert json.loads(sent.body) == {"contents": [HI]}

    @pytest.mark.parametrize(
        ("base_url", "model", "path"),
        [
            ("http://localhost:8080", "m", "/v1beta/models/m"),
            ("http://localhost:8080/v1beta/", "m", "/v1beta/models/m"),
            ("http://localhost:8080/v1", "models/m", "/v1/models/m"),
            ("http://localhost:8080/x", "tunedModels/a b", "/x/v1beta/tunedModels/a%20b"),
        ],
    )
    def test_addresses(self, base_url: str, model: str, path: str) -> None:
        """A version in the base URL stays; a model may name its collection."""
        wire = Gemini(provider="g", base_url=base_url, api_key=None, headers={"X-Team": "a"})
        sent = wire.request([Message.user("Hi")], model, Options())
        assert sent.url == f"http://localhost:8080{path}:streamGenerateContent?alt=sse"
        assert set(sent.headers) == {"Content-Type", "Accept", "X-Team"}

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
            response_format=JsonFormat({"type": "object"}),
            tools=(tool, Tool("now")),
            tool_choice="required",
            extra_body={"generationConfig": {"candidateCount": 1}, "cachedContent": "c"},
        )
        assert sent == {
            "contents": [HI],
            "generationConfig": {
                "temperature": 0.5,
                "maxOutputTokens": 100,
                "topP": 0.9,
                "topK": 40,
                "frequencyPenalty": 0.1,
                "presencePenalty": 0.2,
                "stopSequences": ["END"],
                "seed": 7,
                "thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": True},
                "responseMimeType": "application/json",
                "responseJsonSchema": {"type": "object"},
                "candidateCount": 1,
            },
            "tools": [
                {
                    "functionDeclarations": [
                        {
                            "name": "look_up",
                            "description": "Look a word up.",
                            "parametersJsonSchema": tool.parameters,
                        },
                        {"name": "now"},
                    ]
                }
            ],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
            "cachedContent": "c",
        }

    def test_json_without_a_schema(self) -> None:
        """The media type alone asks for JSON."""
        assert asked(response_format=JsonFormat())["generationConfig"] == {"responseMimeType": "application/json"}

    @pytest.mark.parametrize(
        ("choice", "strict", "sent"),
        [
            (None, None, None),
            (None, True, {"mode": "VALIDATED"}),
            ("auto", None, {"mode": "AUTO"}),
            ("auto", True, {"mode": "VALIDATED"}),
            ("none", True, {"mode": "NONE"}),
            ("required", True, {"mode": "ANY"}),
            ("look_up", None, {"mode": "ANY", "allowedFunctionNames": ["look_up"]}),
        ],
    )
    def test_tool_choices(self, choice: str | None, strict: bool | None, sent: Payload | None) -> None:
        """The three modes, or the one tool to call; strict tools are kept to their schemas."""
        body = asked(tools=(Tool("look_up", strict=strict),), tool_choice=choice)
        assert body.get("toolConfig") == (sent and {"functionCallingConfig": sent})

    @pytest.mark.parametrize(
        ("model", "reasoning", "sent"),
        [
            ("gemini-3-pro", "high", {"thinkingLevel": "HIGH", "includeThoughts": True}),
            ("gemini-2.5-flash", "low", {"thinkingBudget": 1024, "includeThoughts": True}),
            ("gemini-2.5-flash", 500, {"thinkingBudget": 500, "includeThoughts": True}),
            ("gemini-2.5-flash", -1, {"thinkingBudget": -1, "includeThoughts": True}),
            ("gemini-2.5-flash", 0, {"thinkingBudget": 0}),
        ],
    )
    def test_reasoning(self, model: str, reasoning: object, sent: Payload) -> None:
        """A budget is a budget; an effort is a level where the model knows levels."""
        assert asked(model=model, reasoning=reasoning)["generationConfig"] == {"thinkingConfig": sent}

    def test_system_messages_stand_beside_the_conversation(self) -> None:
        """Wherever they stood, in their order."""
        sent = asked(Message.system("Be brief."), Message.user("Hi"), Message.system(""), Message.system("Be kind."))
        assert sent == {
            "contents": [HI],
            "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "Be kind."}]},
        }

    def test_roles_alternate_and_results_name_their_function(self) -> None:
        """Results of one step are one turn; a result's name is that of the call it answers."""
        own = {"gemini": {"functionCall": {"id": "fc-1"}}}
        conversation = [
            Message.user("Hi"),
            Message.user("Look up rx."),
            Message.assistant(
                ToolCall("fc-1", "look_up", {"word": "rx"}, own),
                ToolCall("call_2", "now", {}),
            ),
            Message.tool(ToolResult("fc-1", "found")),
            Message.tool(ToolResult("call_2", "no clock", is_error=True), ToolResult("x", "5", name="count")),
        ]
        assert asked(*conversation, model="gemini-2.5-pro")["contents"] == [
            {"role": "user", "parts": [{"text": "Hi"}, {"text": "Look up rx."}]},
            {
                "role": "model",
                "parts": [
                    {"functionCall": {"name": "look_up", "args": {"word": "rx"}, "id": "fc-1"}},
                    {"functionCall": {"name": "now", "args": {}}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"id": "fc-1", "name": "look_up", "response": {"output": "found"}}},
                    {"functionResponse": {"name": "now", "response": {"error": "no clock"}}},
                    {"functionResponse": {"name": "count", "response": {"output": "5"}}},
                ],
            },
        ]

    def test_a_result_of_an_unknown_call_needs_a_name(self) -> None:
        """The API matches results by function name."""
        with pytest.raises(errors.ConfigurationError, match=r"ToolResult.*call_9.*name="):
            asked(Message.tool(ToolResult("call_9", "5")))

    def test_a_decoded_answer_is_sent_back_as_it_came(self) -> None:
        """Signatures, server-side parts and ids: nothing is lost, nothing is made up."""
        parts: list[Payload] = [
            {"text": "Hm.", "thought": True, "thoughtSignature": "s0"},
            {"executableCode": {"language": "PYTHON", "code": "print(1)"}, "thoughtSignature": "s1"},
            {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1\n"}},
            {"text": "One."},
            {"functionCall": {"name": "look_up", "args": {"a": [1, None]}, "id": "fc-1"}, "thoughtSignature": "s2"},
            {"functionCall": {"name": "look_up", "args": {}}},
            {"text": "", "thoughtSignature": "s3"},
        ]
        said = answer(chunk(*parts, finish="STOP")).message
        restored = messages_from_json(messages_to_json([said]))[0]
        assert asked(Message.user("Hi"), restored)["contents"][1] == {"role": "model", "parts": parts}

    def test_calls_of_another_model_pass_gemini_3(self) -> None:
        """It refuses a step whose first call has no signature, unless told not to check."""
        said = Message.assistant(ToolCall("call_1", "now", {}), ToolCall("call_2", "now", {}))
        call = {"functionCall": {"name": "now", "args": {}}}
        unchecked = {**call, "thoughtSignature": "skip_thought_signature_validator"}
        for model, first in (("gemini-3-pro", unchecked), ("gemini-2.5-pro", call)):
            assert asked(Message.user("Hi"), said, model=model)["contents"][1]["parts"] == [first, call]

    def test_what_other_vendors_carry_is_left_out(self) -> None:
        """Thoughts without our signature and other wires' items mean nothing here."""
        said = Message(
            "assistant",
            (
                ReasoningPart("Hm.", {"anthropic": {"signature": "x"}}),
                VendorPart("anthropic", {"type": "redacted_thinking"}),
                TextPart("Hello", {"anthropic": {"citations": []}}),
            ),
        )
        assert asked(Message.user("Hi"), said)["contents"][1] == {"role": "model", "parts": [{"text": "Hello"}]}

    @pytest.mark.parametrize(
        ("part", "sent"),
        [
            (
                ImagePart(data=b"\x89PNG", media_type="image/png"),
                {"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}},
            ),
            (
                ImagePart(url="data:image/png;base64,iVBORw=="),
                {"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}},
            ),
            (
                ImagePart(url="https://example.com/cat.PNG?size=2"),
                {"fileData": {"mimeType": "image/png", "fileUri": "https://example.com/cat.PNG?size=2"}},
            ),
            (
                ImagePart(url="https://example.com/cat", media_type="image/avif"),
                {"fileData": {"mimeType": "image/avif", "fileUri": "https://example.com/cat"}},
            ),
            (
                DocumentPart(url="https://example.com/v1/files/abc", name="A"),
                {"fileData": {"fileUri": "https://example.com/v1/files/abc", "displayName": "A"}},
            ),
            (
                AudioPart(data=b"RIFF", media_type="audio/wav"),
                {"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}},
            ),
        ],
    )
    def test_images_documents_and_sound(self, part: Part, sent: Payload) -> None:
        """In the request as bytes, or by address with the media type that its ending tells."""
        assert asked(Message.user(part))["contents"][0]["parts"] == [sent]

    def test_parts_that_the_api_does_not_take_are_refused(self) -> None:
        """The error names the part and says what to do."""
        with pytest.raises(errors.ConfigurationError, match=r"ImagePart.*detail"):
            asked(Message.user(ImagePart(data=b"x", media_type="image/png", detail="high")))
        with pytest.raises(errors.ConfigurationError, match=r"AudioPart.*system"):
            asked(Message("system", (AudioPart(data=b"x", media_type="audio/wav"),)), Message.user("Hi"))

    def test_a_conversation_needs_something_said(self) -> None:
        """Instructions alone are refused by the API, so they are refused here."""
        with pytest.raises(errors.ConfigurationError, match="at least one message"):
            asked(Message.system("Be brief."))

    @needs_shared
    @pytest.mark.parametrize("recording", RECORDINGS, ids=str)
    def test_every_recorded_answer_can_be_sent_back(self, recording: Recording) -> None:
        """A conversation goes on after any answer: every signature and server-side part goes back as it came."""
        response = play(GeminiDecoder("gemini"), [recording.body]).response
        restored = messages_from_json(messages_to_json([response.message]))[0]
        sent = asked(Message.user("go on"), restored, model="gemini-2.5-pro")["contents"]
        back = sent[1]["parts"] if len(sent) > 1 else []
        assert sorted(_signatures(recording.body)) == sorted(
            part["thoughtSignature"] for part in back if "thoughtSignature" in part
        )


def _signatures(body: bytes) -> list[str]:
    """The signatures in a recorded body, whatever its framing."""
    found: list[str] = []
    text = body.decode().replace("\r\n", "\n").replace("\r", "\n").replace("\ndata: ", "\ndata:")
    for event in text.split("\n\n"):
        data = "\n".join(line[5:] for line in event.split("\n") if line.startswith("data:"))
        payload = json.loads(data) if data else {}
        for candidate in payload.get("candidates", []):
            parts = candidate.get("content", {}).get("parts", [])
            found += [part["thoughtSignature"] for part in parts if "thoughtSignature" in part]
    return found
