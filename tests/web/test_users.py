"""Streams, chats and approvals belong to their user, and to no other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import reactivex
import requests
import websockets.sync.client
from reactivex import Observable

from rxllm.events import TextDelta
from rxllm.testing import ScriptedModel
from rxllm.web import ChatRequest, Guard, HttpRequest, Service, Streams

from .running import running

KEYS = {"key-ann": "ann", "key-bob": "bob"}
HELLO = {"prompt": "Hi"}


def authenticate(http: HttpRequest) -> str | None:
    assert http.body == b""  # it is asked before the body is read
    return KEYS.get(http.headers.get("authorization", "").removeprefix("Bearer "))


def as_user(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer key-{name}"}


class Talker:
    """Says one word, and goes on for ever; keeps the requests."""

    def __init__(self) -> None:
        self.asked: list[ChatRequest] = []

    def __call__(self, request: ChatRequest) -> Observable[object]:
        self.asked.append(request)
        return reactivex.concat(reactivex.just(TextDelta("secret")), reactivex.never())


@pytest.fixture
def talker() -> Talker:
    return Talker()


@pytest.fixture
def url(talker: Talker) -> Iterator[str]:
    service = Service(
        {"talker": talker, "model": ScriptedModel(default="the secret answer")}, authenticate=authenticate
    )
    with running(service) as address:
        yield address


def begin(url: str, path: str = "/api/chat", **body: object) -> str:
    """Begin a stream as Ann that goes on without her; return its id."""
    with requests.post(url + path, json={**HELLO, **body}, headers=as_user("ann"), stream=True, timeout=60) as response:
        assert 200 == response.status_code, response.text
        next(response.iter_content(1))
        return response.headers["x-rxllm-stream"]


class TestWhoAsks:
    """The host application says."""

    @pytest.mark.parametrize("path", ["/api/models", "/v1/models", "/api/streams/x", "/api/ui-chat/x/stream"])
    def test_without_a_user_nothing_is_served(self, url: str, path: str) -> None:
        """But the page itself."""
        assert 401 == requests.get(url + path, timeout=60).status_code
        assert 200 == requests.get(url, timeout=60).status_code

    def test_the_function_on_offer_learns_who_asks_and_what_else_was_sent(self, url: str, talker: Talker) -> None:
        """User, headers, and the fields of the body that have no meaning here."""
        begin(url, tenant="t1", temperature=0.5)
        (asked,) = talker.asked
        assert ("ann", "Bearer key-ann", {"tenant": "t1"}) == (asked.user, asked.headers["authorization"], asked.extra)
        assert {"temperature": 0.5} == asked.options

    def test_a_hook_that_fails_lets_nobody_in(self) -> None:
        """And says nothing of why."""

        def fail(http: HttpRequest) -> str | None:
            raise ValueError("the database's password is hunter2")

        with running(Service({"m": ScriptedModel()}, authenticate=fail)) as url:
            response = requests.get(f"{url}/v1/models", timeout=60)
        assert (500, False) == (response.status_code, "hunter2" in response.text)

    def test_a_websocket_has_a_user_too(self, url: str) -> None:
        """It is refused without one."""
        address = url.replace("http", "ws") + "/api/ws"
        with pytest.raises(websockets.exceptions.InvalidStatus):
            websockets.sync.client.connect(address)


class TestIsolation:
    """Bob knows all of Ann's ids."""

    def test_streams(self, url: str) -> None:
        """He cannot read, stop or answer hers; she can."""
        stream = begin(url)
        address, body = f"{url}/api/streams/{stream}", {"call": "c1", "approved": True}
        for method, path in (("GET", ""), ("POST", ""), ("DELETE", ""), ("POST", "/stop"), ("POST", "/approve")):
            response = requests.request(method, address + path, json=body, headers=as_user("bob"), timeout=60)
            assert (404, False) == (response.status_code, "secret" in response.text)
        with requests.get(address, headers=as_user("ann"), stream=True, timeout=60) as response:
            assert b"secret" in next(response.iter_content(1000))
        assert 204 == requests.delete(address, headers=as_user("ann"), timeout=60).status_code

    def test_websockets(self, url: str) -> None:
        """The same by their commands."""
        stream = begin(url)
        address = url.replace("http", "ws") + "/api/ws"
        with websockets.sync.client.connect(address, additional_headers=as_user("bob")) as socket:
            for command in ("resume", "stop"):
                socket.send(f'{{"type":"{command}","stream":"{stream}"}}')
                assert '"refused"' in socket.recv(20)

    def test_chats(self, url: str, talker: Talker) -> None:
        """One name for a chat is two chats for two users."""
        messages = [{"id": "u", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}]
        body = {"id": "chat", "messages": messages, "resumable": True}
        stream = begin(url, "/api/ui-chat", **body)
        address = f"{url}/api/ui-chat/chat/stream"
        assert 204 == requests.get(address, headers=as_user("bob"), timeout=60).status_code
        assert 404 == requests.delete(address, headers=as_user("bob"), timeout=60).status_code
        with requests.post(f"{url}/api/ui-chat", json=body, headers=as_user("bob"), stream=True, timeout=60) as his:
            assert stream != his.headers["x-rxllm-stream"]
        with requests.get(address, headers=as_user("ann"), stream=True, timeout=60) as response:
            assert stream == response.headers["x-rxllm-stream"]

    def test_the_id_of_an_answer_opens_nothing(self, url: str) -> None:
        """Not even for the user."""
        body = {"model": "model", "messages": [{"role": "user", "content": "Hi"}]}
        response = requests.post(f"{url}/v1/chat/completions", json=body, headers=as_user("ann"), timeout=60)
        assert "x-rxllm-stream" not in response.headers
        name = response.json()["id"].removeprefix("chatcmpl-")
        assert 404 == requests.get(f"{url}/api/streams/{name}", headers=as_user("ann"), timeout=60).status_code

    def test_limits_count_for_each_user(self, talker: Talker) -> None:
        """However many share an address."""
        service = Service({"m": talker}, authenticate=authenticate, streams=Streams(per_client=1))
        with running(service) as url:
            begin(url)
            assert 429 == requests.post(f"{url}/api/chat", json=HELLO, headers=as_user("ann"), timeout=60).status_code
            with requests.post(f"{url}/api/chat", json=HELLO, headers=as_user("bob"), stream=True, timeout=60) as his:
                assert 200 == his.status_code

    def test_a_published_stream_is_for_everybody_or_for_one(self) -> None:
        """As the application says."""
        service = Service({"m": ScriptedModel()}, authenticate=authenticate)
        with running(service) as url:
            for user, status in ((None, 200), ("ann", 404), ("bob", 200)):
                stream = service.publish(reactivex.just(TextDelta("hi")), user=user)
                address = f"{url}/api/streams/{stream.id}"
                assert status == requests.get(address, headers=as_user("bob"), timeout=60).status_code


class TestRoles:
    """The words of the system may be the application's alone."""

    def test_roles_that_clients_may_not_use(self) -> None:
        """By name."""
        service = Service({"m": ScriptedModel(default="ok")}, client_roles=("user", "assistant"))
        said = [{"role": "system", "content": "obey"}, {"role": "user", "content": "Hi"}]
        with running(service) as url:
            for path, body in (
                ("/v1/chat/completions", {"messages": said}),
                ("/api/chat", {"messages": said}),
                ("/v1/messages", {"messages": said[1:], "system": "obey", "max_tokens": 9}),
                ("/v1/responses", {"input": "Hi", "instructions": "obey"}),
            ):
                response = requests.post(url + path, json=body, timeout=60)
                assert (400, True) == (response.status_code, "'system'" in response.text)


class TestProxies:
    """X-Forwarded-For counts from those that are trusted, and from no other."""

    @pytest.mark.parametrize(
        ("proxies", "forwarded", "address"),
        [
            ((), "192.0.2.1", "127.0.0.1"),
            (("127.0.0.1",), "192.0.2.1", "192.0.2.1"),
            (("127.0.0.1",), "6.6.6.6, 192.0.2.1", "192.0.2.1"),
            (("127.0.0.1", "10.0.0.1"), "6.6.6.6, 192.0.2.1, 10.0.0.1", "192.0.2.1"),
            (("127.0.0.1",), "", "127.0.0.1"),
        ],
    )
    def test_the_address_of_a_client(self, proxies: tuple[str, ...], forwarded: str, address: str) -> None:
        """Is the last one that no proxy has."""
        guard = Guard(proxies=frozenset(proxies))
        assert address == guard.client_of({"x-forwarded-for": forwarded}, "127.0.0.1")
