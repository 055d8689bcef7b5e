"""The AI SDK's own reader, under Node, against our UI message stream."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import reactivex
import requests
from reactivex import Observable

from rxllm.assistant.events import ApprovalRequest, StepEnd, StepStart, ToolEnd, ToolProgress, ToolStart
from rxllm.events import Response, StreamEnd, TextDelta, ToolCallEnd, ToolCallStart, VendorEvent
from rxllm.messages import ToolCall, ToolResult
from rxllm.testing import Drop, ErrorReply, Gate, LLMServer, Reply
from rxllm.web import ChatRequest, Service

from .running import running

CALL = ToolCall("call_1", "weather", {"city": "Oslo"})


def start(
    node: Path, url: str, *, chat: str = "c1", body: object = None, resume: bool = False
) -> subprocess.Popen[str]:
    """Begin to read an answer."""
    words = ["node", "read.mjs", f"{url}/api/ui-chat", chat, json.dumps(body or {}), *(["resume"] if resume else [])]
    env = {**os.environ, "NO_PROXY": "*"}
    return subprocess.Popen(words, cwd=node, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def read(node: Path, url: str, **options: object) -> dict[str, object]:
    """What the reader made of an answer."""
    return finish(start(node, url, **options))  # type: ignore[arg-type]  # passed on


def finish(reading: subprocess.Popen[str]) -> dict[str, object]:
    out, err = reading.communicate(timeout=60)
    assert 0 == reading.returncode, err
    told = json.loads(out)
    assert isinstance(told, dict)
    return told


def parts(told: dict[str, object]) -> list[dict[str, object]]:
    message = told["message"]
    assert isinstance(message, dict)
    return [part for part in message["parts"] if part["type"] != "step-start"]


class TestTheRealReader:
    """`DefaultChatTransport` and `readUIMessageStream` of the npm package `ai`."""

    def test_text_and_reasoning(self, llm: LLMServer, url: str, node: Path) -> None:
        """As two parts, both done, and what it cost in the metadata."""
        llm.enqueue(Reply("Hello there", reasoning="let me see"))
        told = read(node, url)
        assert [("reasoning", "let me see", "done"), ("text", "Hello there", "done")] == [
            (part["type"], part["text"], part["state"]) for part in parts(told)
        ]
        assert told["message"]["metadata"]["usage"]["output_tokens"] > 0
        assert (None, "Hi") == (told["error"], llm.requests[0].prompt)

    def test_tool_calls(self, llm: LLMServer, url: str, node: Path) -> None:
        """Their input as it streams, and whole."""
        llm.enqueue(Reply("", tool_calls=(CALL,)))
        (part,) = parts(read(node, url))
        assert ("tool-weather", "call_1", "input-available", {"city": "Oslo"}) == (
            part["type"],
            part["toolCallId"],
            part["state"],
            part["input"],
        )

    def test_an_error_before_and_in_the_answer(self, llm: LLMServer, url: str, node: Path) -> None:
        """Told as an error, what came before kept."""
        llm.enqueue(ErrorReply(400, "too odd"), Reply("one two three", fault=Drop(2)))
        assert "too odd" in str(read(node, url)["error"])
        told = read(node, url)
        assert told["error"]
        assert "one two" == parts(told)[0]["text"]

    def test_an_assistant_with_tools(self, node: Path) -> None:
        """Steps, approval, progress, output and the failure of a tool."""

        def turn(request: ChatRequest) -> Observable[object]:
            bad = ToolCall("call_2", "weather", {"city": "Nowhere"})
            events: list[object] = [StepStart(0)]
            for index, call in enumerate((CALL, bad)):
                events += [ToolCallStart(index, call.id, call.name), ToolCallEnd(index, call)]
            events += [VendorEvent("citation", {"n": 1}), StepEnd(0, Response()), ApprovalRequest(CALL)]
            events += [ToolStart(CALL), ToolProgress(CALL.id, CALL.name, "half")]
            events += [ToolEnd(CALL, ToolResult(CALL.id, "sun", CALL.name), 0.1)]
            events += [ToolEnd(bad, ToolResult(bad.id, "no such city", bad.name, is_error=True), 0.1)]
            events += [StepStart(1), TextDelta("Sunny"), StepEnd(1, Response()), StreamEnd(Response("Sunny"))]
            return reactivex.from_iterable(events)

        with running(Service({"assistant": turn})) as url:
            told = read(node, url)
        found = {str(part.get("toolCallId", part["type"])): part for part in parts(told)}
        assert ("output-available", "sun") == (found["call_1"]["state"], found["call_1"]["output"])
        assert ("output-error", "no such city") == (found["call_2"]["state"], found["call_2"]["errorText"])
        assert "Sunny" == found["text"]["text"]
        assert {"name": "citation", "data": {"n": 1}} == found["data-vendor"]["data"]
        assert "tool-approval-request" in [chunk["type"] for chunk in told["chunks"]]

    def test_resuming_after_a_reload_and_stopping(self, llm: LLMServer, url: str, node: Path) -> None:
        """Both, on one stream: leaving is not stopping, and stopping is."""
        gate = Gate(1)
        llm.enqueue(Reply("one two three", gate=gate))
        first = start(node, url, chat="c2", body={"resumable": True})
        assert first.stderr is not None
        assert first.stderr.readline()
        gate.wait_until_reached()
        first.kill()
        first.communicate()
        second = start(node, url, chat="c2", resume=True)
        assert second.stderr is not None
        assert second.stderr.readline()
        assert 204 == requests.delete(f"{url}/api/ui-chat/c2/stream", timeout=60).status_code
        assert llm.wait_for_request().closed.wait(60)
        told = finish(second)
        assert "one" == parts(told)[0]["text"]
        assert "abort" == told["chunks"][-1]["type"]
        assert read(node, url, chat="c2", resume=True)["resumed"] is False

    def test_a_reader_that_leaves_ends_the_stream(self, llm: LLMServer, url: str, node: Path) -> None:
        """As the stop button of `useChat` does."""
        gate = Gate(1)
        llm.enqueue(Reply("one two three", gate=gate))
        reading = start(node, url)
        gate.wait_until_reached()
        reading.kill()
        reading.communicate()
        assert llm.wait_for_request().closed.wait(60)
