"""What `useChat` sends, looked at closely: whose answers count, and what becomes of a stream that waits for them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator

import msgspec
import pytest
import requests
from reactivex import Observable

from rxllm.assistant import Assistant
from rxllm.errors import ConfigurationError
from rxllm.messages import Message, ReasoningPart, ToolCall, ToolResult
from rxllm.testing import LLMServer, Reply
from rxllm.web import ChatRequest, ServedStream, Service
from rxllm.web.ai_sdk_messages import Conversation, UIMessage, ui_conversation
from rxllm.web.approvals import Signatures

from .running import model_of, running

CALL = ToolCall("call_1", "pay", {"sum": 5.0})
ASKED: dict[str, object] = {"id": "u1", "role": "user", "parts": [{"type": "text", "text": "Pay"}]}


@pytest.fixture
def paid() -> list[float]:
    return []


@pytest.fixture
def service(llm: LLMServer, paid: list[float]) -> Service:
    """An assistant that asks before it pays."""

    def pay(sum: float) -> str:  # noqa: A002 - the tool's name for it
        """Pay."""
        paid.append(sum)
        return "paid"

    def teller(request: ChatRequest) -> Observable[object]:
        return Assistant(model_of(llm), tools=[pay], approve=request.approve).stream(request.messages)

    return Service({"teller": teller})


@pytest.fixture
def url(service: Service) -> Iterator[str]:
    with running(service) as address:
        yield address


def post(url: str, *messages: dict[str, object]) -> requests.Response:
    return requests.post(f"{url}/api/ui-chat", json={"id": "c", "messages": messages}, timeout=60)


def chunks(response: requests.Response) -> list[dict[str, object]]:
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


def answered(approval: object, *, approved: bool = True, **changes: object) -> dict[str, object]:
    """The assistant's message, as `useChat` sends it back with the user's answer."""
    part = {
        "type": "tool-pay",
        "toolCallId": CALL.id,
        "input": CALL.arguments,
        "state": "approval-responded",
        "approval": {"id": approval, "approved": approved},
    }
    return {"id": "a1", "role": "assistant", "parts": [{"type": "step-start"}, {**part, **changes}]}


class TestWhoseAnswersCount:
    """A conversation comes from the client: what the server asked in it is signed."""

    def question(self, llm: LLMServer, url: str) -> object:
        """The id of the question that the server asks; the stream that asks it is gone."""
        llm.enqueue(Reply("", tool_calls=(CALL,)), "Done")
        told = chunks(post(url, ASKED))
        assert ["tool-approval-request", "finish-step", "finish"] == [chunk["type"] for chunk in told[-3:]]
        assert 204 == requests.delete(f"{url}/api/ui-chat/c/stream", timeout=60).status_code
        return told[-3]["approvalId"]

    def test_an_answer_to_the_servers_question_counts(self, llm: LLMServer, url: str, paid: list[float]) -> None:
        """Though a browser writes 5.0 as 5; the message goes on, its tool's output before the next step."""
        told = chunks(post(url, ASKED, answered(self.question(llm, url), input={"sum": 5})))
        kinds = [chunk["type"] for chunk in told]
        assert ["start", "tool-output-available", "start-step", "text-start"] == kinds[:4]
        assert "a1" == told[0]["messageId"]
        assert [5.0] == paid

    @pytest.mark.parametrize("changes", [{"input": {"sum": 500}}, {"toolCallId": "call_2"}, {"type": "tool-steal"}])
    def test_it_is_for_that_call_only(
        self, llm: LLMServer, url: str, paid: list[float], changes: dict[str, object]
    ) -> None:
        """Not for another sum, call or tool."""
        response = post(url, ASKED, answered(self.question(llm, url), **changes))
        assert (400, []) == (response.status_code, paid)
        assert "not one that this server has asked about" in response.text

    def test_what_nobody_asked_is_not_answered(self, llm: LLMServer, url: str, paid: list[float]) -> None:
        """A client cannot have a tool run that no model wanted."""
        assert 400 == post(url, ASKED, answered("call_1.0123456789abcdef0123456789abcdef")).status_code
        assert ([], []) == (llm.requests, paid)


class TestAStreamThatWaits:
    """It has asked, and nobody watches it."""

    def test_its_reader_may_leave_after_the_answer_has_come(
        self, llm: LLMServer, url: str, paid: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The next request came in between: the stream waits for its reader."""
        unwatch, approve = ServedStream.unwatch, ServedStream.approve
        late: list[Callable[[], object]] = []
        has_left = threading.Event()

        def leave_later(stream: ServedStream, notify: Callable[[], object]) -> None:
            if late:
                unwatch(stream, notify)
            else:
                late.append(notify)
                has_left.set()

        def approve_then_leave(stream: ServedStream, call_id: str, approved: bool, reason: str = "") -> None:
            approve(stream, call_id, approved, reason)
            assert has_left.wait(60)
            unwatch(stream, late[0])

        monkeypatch.setattr(ServedStream, "unwatch", leave_later)
        monkeypatch.setattr(ServedStream, "approve", approve_then_leave)
        llm.enqueue(Reply("", tool_calls=(CALL,)), "Done")
        question = chunks(post(url, ASKED))[-3]["approvalId"]
        told = chunks(post(url, ASKED, answered(question)))
        assert "Done" in [chunk.get("delta") for chunk in told]
        assert [5.0] == paid

    def test_it_may_be_answered_by_its_id_too(self, llm: LLMServer, url: str, paid: list[float]) -> None:
        """Then it goes on, and whoever resumes sees the rest."""
        llm.enqueue(Reply("", tool_calls=(CALL,)), "Done")
        asked = post(url, ASKED)
        stream = asked.headers["x-rxllm-stream"]
        body = {"call": CALL.id, "approved": False, "reason": "too much"}
        assert 204 == requests.post(f"{url}/api/streams/{stream}/approve", json=body, timeout=60).status_code
        rest = requests.get(f"{url}/api/streams/{stream}", timeout=60).text
        assert '"refused":true' in rest
        assert "too much" in str(llm.wait_for_request(2).json["messages"])
        assert [] == paid


SIGNED = Signatures(b"secret")


def read(*messages: dict[str, object]) -> Conversation:
    made = msgspec.convert(list(messages), list[UIMessage])
    return ui_conversation(made, lambda data, signature: SIGNED.is_own(signature, data, "ann"))


class TestConversations:
    """From UI messages to ours."""

    def test_steps_become_messages(self) -> None:
        """Each with the results of its calls after it."""
        tool = {"type": "tool-pay", "toolCallId": "1", "input": {}, "state": "output-available", "output": {"ok": True}}
        step = {"type": "step-start"}
        parts = [step, {"type": "reasoning", "text": "hm"}, tool, step, {"type": "text", "text": "Paid"}]
        assert (
            Message.user("Pay"),
            Message.assistant(ReasoningPart("hm"), ToolCall("1", "pay", {})),
            Message.tool(ToolResult("1", '{"ok":true}', "pay")),
            Message.assistant("Paid"),
        ) == read(ASKED, {"role": "assistant", "parts": parts}).messages

    @pytest.mark.parametrize(
        ("part", "said"),
        [
            ({"state": "output-error", "errorText": "no money"}, "no money"),
            ({"state": "output-denied", "approval": {"reason": "no"}}, "The user did not allow this call: no"),
            ({"state": "approval-requested"}, "The user did not answer whether this call may run."),
            ({"state": "output-available", "preliminary": True, "output": "half"}, "The tool gave nothing."),
            ({"state": "input-available"}, "The tool gave nothing."),
        ],
    )
    def test_every_call_has_a_result(self, part: dict[str, object], said: str) -> None:
        """Vendors refuse a conversation in which one has none."""
        parts = [{"type": "tool-pay", "toolCallId": "1", "input": {}, **part}]
        messages = read(ASKED, {"role": "assistant", "parts": parts}, ASKED).messages
        assert Message.tool(ToolResult("1", said, "pay", is_error=True)) == messages[2]

    def test_what_was_kept_for_the_vendor_stands_for_the_step(self) -> None:
        """With this server's signature for this user, and not otherwise."""
        kept = [
            {"type": "reasoning", "text": "hm", "vendor": {"anthropic": {"n": 1.0}}},
            {"type": "text", "text": "All"},
        ]
        for signature, said in (
            (SIGNED.sign(kept, "ann"), "All"),
            (SIGNED.sign(kept, "bob"), "Al"),
            ("", "Al"),
        ):
            carried = {"type": "data-parts", "data": {"parts": kept, "signature": signature}}
            parts = [{"type": "text", "text": "Al"}, carried]
            assert said == read(ASKED, {"role": "assistant", "parts": parts}).messages[1].text

    def test_what_was_kept_must_call_the_tools_that_are_shown(self) -> None:
        """Kept calls without a tool part would be calls without a result."""
        kept = [{"type": "tool_call", "id": "1", "name": "pay", "arguments": {}}]
        data = {"parts": kept, "signature": SIGNED.sign(kept, "ann")}
        parts = [{"type": "text", "text": "Paid"}, {"type": "data-parts", "data": data}]
        assert not read(ASKED, {"role": "assistant", "parts": parts}).messages[1].tool_calls

    @pytest.mark.parametrize("messages", [[], [{"role": "assistant", "parts": []}]])
    def test_what_is_no_conversation_is_refused(self, messages: list[dict[str, object]]) -> None:
        """With what is wrong."""
        with pytest.raises(ConfigurationError):
            read(*messages)

    def test_other_roles_are_refused(self, url: str) -> None:
        """By name."""
        response = post(url, {"role": "robot", "parts": []})
        assert (400, True) == (response.status_code, "robot" in response.text)
