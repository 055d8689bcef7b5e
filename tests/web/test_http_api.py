"""The service over real HTTP: SSE, NDJSON, resuming, stopping, and clients that leave."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import pytest
import reactivex
import requests
from reactivex import operators

from rxllm.errors import ConfigurationError
from rxllm.events import StreamEnd, TextDelta, event_from_json
from rxllm.testing import Drop, ErrorReply, Gate, LLMServer, Reply, ScriptedModel
from rxllm.web import Service

from .running import running

HELLO = {"prompt": "Hi", "model": "m"}


def blocks(response: requests.Response) -> Iterator[dict[str, str]]:
    """The events of an SSE body, by their fields, as they come."""
    block: dict[str, str] = {}
    for line in response.iter_lines(chunk_size=1, decode_unicode=True):
        if line:
            name, _, value = line.partition(": ")
            block[name] = value
        elif block:
            yield block
            block = {}


def events(response: requests.Response) -> list[dict[str, object]]:
    """The lines of JSON in an SSE body."""
    return [json.loads(block["data"]) for block in blocks(response) if "data" in block]


def text_of(lines: list[dict[str, object]]) -> str:
    return "".join(str(line["text"]) for line in lines if line["type"] == "text_delta")


class TestServerSentEvents:
    """`POST /api/chat`."""

    def test_an_answer_comes_as_events_that_are_read_back(self, llm: LLMServer, url: str) -> None:
        """Each line is an event's own JSON."""
        llm.enqueue("Hello there")
        response = requests.post(f"{url}/api/chat", json=HELLO, stream=True, timeout=60)
        found = list(blocks(response))
        read = [event_from_json(block["data"]) for block in found if "id" in block and "event" not in block]
        assert "Hello there" == "".join(event.text for event in read if isinstance(event, TextDelta))
        assert isinstance(read[-1], StreamEnd)
        assert {"type": "end"} == json.loads(found[-1]["data"])
        assert "end" == found[-1]["event"]
        assert response.headers["content-type"].startswith("text/event-stream")

    def test_ids_count_up_and_a_browser_is_told_when_to_try_again(self, llm: LLMServer, url: str) -> None:
        """So that it may go on where it was cut off."""
        llm.enqueue("one two three")
        found = list(blocks(requests.post(f"{url}/api/chat", json=HELLO, stream=True, timeout=60)))
        ids = [int(block["id"]) for block in found if "id" in block]
        assert sorted(set(ids)) == ids
        assert ("1000", True) == (found[0]["retry"], "data" in found[0])

    def test_a_reader_goes_on_after_the_last_id_it_saw(self, llm: LLMServer, url: str) -> None:
        """Whole, once, and in order: while the answer is under way and after its end."""
        gate = Gate(1)
        llm.enqueue(Reply("one two three", gate=gate))
        first = requests.post(f"{url}/api/chat", json=HELLO, stream=True, timeout=60)
        seen = []
        for block in blocks(first):
            seen.append(block)
            if '"text":"one"' in block.get("data", ""):
                break
        first.close()
        address = f"{url}/api/streams/{first.headers['x-rxllm-stream']}"
        gate.open()
        rest = requests.get(address, headers={"last-event-id": seen[-1]["id"]}, stream=True, timeout=60)
        assert " two three" == text_of(events(rest))
        again = requests.get(address, stream=True, timeout=60)
        assert "one two three" == text_of(events(again))
        assert 1 == len(llm.requests)

    def test_who_has_seen_the_end_is_told_to_ask_no_more(self, llm: LLMServer, url: str) -> None:
        """An `EventSource` would otherwise ask for ever."""
        response = requests.post(f"{url}/api/chat", json=HELLO, stream=True, timeout=60)
        last = list(blocks(response))[-1]["id"]
        address = f"{url}/api/streams/{response.headers['x-rxllm-stream']}"
        assert 204 == requests.get(address, headers={"last-event-id": last}, timeout=60).status_code
        before = str(int(last) - 1)
        (end,) = events(requests.get(address, headers={"last-event-id": before}, stream=True, timeout=60))
        assert {"type": "end"} == end

    def test_a_silence_is_filled_with_comments(self, llm: LLMServer, service: Service, url: str) -> None:
        """Proxies cut connections that say nothing."""
        service.keep_alive = 0.05
        gate = Gate(1)
        llm.enqueue(Reply("one two", gate=gate))
        response = requests.post(f"{url}/api/chat", json=HELLO, stream=True, timeout=60)
        lines = response.iter_lines(chunk_size=1, decode_unicode=True)
        assert any(line == ": keep-alive" for line in lines)
        gate.open()
        assert any('"type":"end"' in line for line in lines)

    def test_a_silence_counts_from_the_last_data(self) -> None:
        """Not from the last look: here a keep-alive after 5 seconds comes before the end after 7."""
        word = reactivex.timer(1.0).pipe(operators.map(lambda _: TextDelta("a")))
        stream = reactivex.concat(word, reactivex.timer(6.0).pipe(operators.ignore_elements()))
        service = Service({"m": lambda _: stream}, keep_alive=4.0)
        with running(service) as url:
            assert ": keep-alive" in requests.post(f"{url}/api/chat", json=HELLO, timeout=60).text

    @pytest.mark.parametrize("seconds", [0, -1.0, math.nan])
    def test_the_time_before_a_keep_alive_is_above_zero(self, seconds: float) -> None:
        with pytest.raises(ConfigurationError, match="above 0 seconds"):
            Service({"m": lambda _: reactivex.empty()}, keep_alive=seconds)


class TestEndings:
    """However a stream ends, its reader is told."""

    def test_lines_for_who_reads_line_by_line(self, llm: LLMServer, url: str) -> None:
        """NDJSON, where that is what is accepted."""
        llm.enqueue("Hello there")
        response = requests.post(f"{url}/api/chat", json=HELLO, headers={"accept": "application/x-ndjson"}, timeout=60)
        lines = [json.loads(line) for line in response.text.splitlines() if line]
        assert ("Hello there", "end") == (text_of(lines), lines[-1]["type"])

    def test_an_error_is_told_with_its_kind_and_without_a_key(self, llm: LLMServer, url: str) -> None:
        """What the provider says of the key stays here."""
        llm.enqueue(ErrorReply(401, "Incorrect API key provided: sk-proj-abcdefgh12345678"))
        response = requests.post(f"{url}/api/chat", json=HELLO, stream=True, timeout=60)
        error = events(response)[-1]["error"]
        assert isinstance(error, dict)
        assert "AuthenticationError" == error["kind"]
        assert "sk-proj" not in json.dumps(error)

    def test_a_cut_answer_never_looks_whole(self, llm: LLMServer, url: str) -> None:
        """The pieces that came, then the error."""
        llm.enqueue(Reply("one two three", fault=Drop(2)))
        found = events(requests.post(f"{url}/api/chat", json=HELLO, stream=True, timeout=60))
        assert ("one two", "error") == (text_of(found), found[-1]["type"])

    def test_stopping_closes_the_connection_to_the_provider(self, llm: LLMServer, url: str) -> None:
        """And all who read are told."""
        gate = Gate(1)
        llm.enqueue(Reply("one two three", gate=gate))
        response = requests.post(f"{url}/api/chat", json=HELLO, stream=True, timeout=60)
        gate.wait_until_reached()
        assert 204 == requests.delete(f"{url}/api/streams/{response.headers['x-rxllm-stream']}", timeout=60).status_code
        assert llm.wait_for_request().closed.wait(60)
        assert "stopped" == events(response)[-1]["type"]

    def test_a_client_that_leaves_ends_a_stream_that_need_not_wait(self, llm: LLMServer, url: str) -> None:
        """Without linger, leaving is stopping."""
        gate = Gate(1)
        llm.enqueue(Reply("one two three", gate=gate))
        response = requests.post(f"{url}/api/chat", json={**HELLO, "linger": 0}, stream=True, timeout=60)
        gate.wait_until_reached()
        response.close()
        assert llm.wait_for_request().closed.wait(60)

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            (b"not json", 400),
            (b"[]", 400),
            (b'{"prompt": ""}', 200),
            (b'{"messages": []}', 400),
            (b'{"messages": [{"role": "wizard"}]}', 400),
            (b'{"prompt": "Hi", "temperature": "hot"}', 400),
            (b'{"prompt": "Hi", "linger": "long"}', 400),
            (b'{"prompt": "Hi", "model": "other"}', 404),
        ],
    )
    def test_a_request_that_cannot_be_asked_is_refused_at_once(self, url: str, body: bytes, status: int) -> None:
        """With the status and the words that say why."""
        assert status == requests.post(f"{url}/api/chat", data=body, timeout=60).status_code

    def test_what_is_not_there(self, url: str) -> None:
        """Streams that never were, methods and paths that are none."""
        assert 404 == requests.get(f"{url}/api/streams/none", timeout=60).status_code
        assert 404 == requests.delete(f"{url}/api/streams/none", timeout=60).status_code
        assert 405 == requests.get(f"{url}/api/chat", timeout=60).status_code
        assert 404 == requests.get(f"{url}/page/../model_service.py", timeout=60).status_code
        assert {"models": ["m"]} == requests.get(f"{url}/api/models", timeout=60).json()


class TestOddRequests:
    """Refused with 400 and words, never a failure of the server."""

    DEEP = '{"a":' * 900 + "1" + "}" * 900

    @pytest.mark.parametrize(
        "path", ["/api/chat", "/api/ui-chat", "/v1/chat/completions", "/v1/responses", "/v1/messages"]
    )
    @pytest.mark.parametrize(
        "body",
        [
            "null",
            "[]",
            "{",
            '{"messages": 5, "input": 5}',
            '{"messages": [null], "input": [null]}',
            '{"messages": [{"role": "user", "content": [[[]]], "parts": [[]]}], "input": [[]]}',
            '{"messages": [], "input": []}',
            '{"messages": [{"role": "user", "parts": [{"type": "file", "mediaType": "image/png"}]}]}',
            '{"model": 5, "messages": [{"role": "user", "content": "x"}], "input": "x", "max_tokens": 1}',
            '{"messages": [{"role": "user", "content": "\\ud800"}]}',
            f'{{"messages": {DEEP}, "input": {DEEP}}}',
            f'{{"input": "x", "tools": [{DEEP}], "max_tokens": 1, "messages": {"[" * 3000}{"]" * 3000}}}',
        ],
    )
    def test_of_any_shape(self, llm: LLMServer, url: str, path: str, body: str) -> None:
        """The model is not asked."""
        response = requests.post(url + path, data=body, timeout=60)
        assert (400, []) == (response.status_code, llm.requests), response.text

    @pytest.mark.parametrize("link", ["file:///etc/passwd", "ftp://a.example/x", "/etc/passwd", None])
    def test_links_go_to_the_web(self, llm: LLMServer, url: str, link: str | None) -> None:
        """And nowhere else."""
        content = [{"type": "image_url", "image_url": {"url": link}}]
        body = {"messages": [{"role": "user", "content": content}]}
        assert 400 == requests.post(f"{url}/v1/chat/completions", json=body, timeout=60).status_code


@pytest.mark.parametrize(
    ("path", "field", "item"),
    [
        ("/api/chat", "messages", {"role": "user", "content": ""}),
        ("/api/ui-chat", "messages", {"id": "u", "role": "user", "parts": []}),
        ("/v1/chat/completions", "messages", {"role": "user", "content": ""}),
        ("/v1/responses", "input", {"role": "user", "content": ""}),
        ("/v1/messages", "messages", {"role": "user", "content": ""}),
    ],
)
def test_a_conversation_of_too_many_pieces_is_refused_before_it_is_read(
    llm: LLMServer, url: str, path: str, field: str, item: dict[str, object]
) -> None:
    """Reading it would take seconds. Messages count, and their parts do."""
    parts = {**item, "parts" if "parts" in item else "content": [{"type": "text", "text": ""}] * 20_000}
    for pieces in ([item] * 20_001, [parts]):
        response = requests.post(url + path, json={field: pieces, "max_tokens": 9}, timeout=60)
        assert 400 == response.status_code
        assert "messages and parts" in response.text
    assert [] == llm.requests


ODD_LINE_ENDS = "a\x85b\u2028c\u2029d"


@pytest.mark.parametrize(
    ("path", "accept", "body"),
    [
        ("/api/chat", "text/event-stream", HELLO),
        ("/api/chat", "application/x-ndjson", HELLO),
        ("/api/ui-chat", "", {"messages": [{"role": "user", "parts": [{"type": "text", "text": "Hi"}]}]}),
        ("/v1/chat/completions", "", {"messages": [{"role": "user", "content": "Hi"}]}),
        ("/v1/responses", "", {"input": "Hi"}),
        ("/v1/messages", "", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9}),
    ],
)
def test_each_line_is_one_for_every_reader(path: str, accept: str, body: dict[str, object]) -> None:
    """Many programs end lines as `str.splitlines` does: httpx's `iter_lines` among others."""
    body = {**body, "model": "m"} | ({"stream": True} if path.startswith("/v1") else {})
    with running(Service({"m": ScriptedModel(ODD_LINE_ENDS)})) as url:
        response = requests.post(url + path, json=body, headers={"accept": accept}, timeout=60)
    lines = [line.removeprefix("data: ") for line in response.content.decode().splitlines()]
    names = ("id: ", "event: ", "retry: ", "[DONE]")
    values = [json.loads(line) for line in lines if line and not line.startswith(names)]
    assert any(json.dumps(ODD_LINE_ENDS) in json.dumps(value) for value in values)


def test_head_of_a_stream_does_not_wait_for_it(llm: LLMServer, url: str) -> None:
    """A proxy that uses the connection again would wait as long."""
    gate = Gate(1)
    llm.enqueue(Reply("one two", gate=gate))
    with requests.Session() as session, requests.post(f"{url}/api/chat", json=HELLO, stream=True, timeout=60) as asked:
        address = f"{url}/api/streams/{asked.headers['x-rxllm-stream']}"
        head = session.head(address, timeout=60)
        assert (200, "") == (head.status_code, head.text)
        assert head.headers["content-type"].startswith("text/event-stream")
        assert ["m"] == session.get(f"{url}/api/models", timeout=60).json()["models"]
        gate.open()
        assert "one two" == text_of(events(asked))
