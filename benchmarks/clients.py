"""What is measured: rxllm, and the hand-written floors beside it. The peers are in `peers`.

A client is given the server's address and a wire, and makes its connection pool or SDK client.
It imports what it needs as it is made, so that a process loads only what it measures.
"""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import socket
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any, ClassVar, TypeAlias
from urllib.parse import urlsplit

from .wires import WIRES

OnText: TypeAlias = Callable[[str], None]
ALL_MEASURES = frozenset({"cost", "import", "first", "pace", "cancel", "crowd"})


class Client(ABC):
    """One way to read a stream; `read` is called with the name of a model and blocks to the end of the answer."""

    name: ClassVar[str]
    imports: ClassVar[str]
    """A statement that says what it is made of."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Whose versions are told."""
    wires: ClassVar[tuple[str, ...]] = tuple(WIRES)
    measures: ClassVar[frozenset[str]] = ALL_MEASURES

    def __init__(self, base: str, wire: str) -> None:
        self.base = base
        self.wire = WIRES[wire]

    @abstractmethod
    def read(self, model: str, on_text: OnText) -> None:
        """Call `on_text` with each text delta, and return at the end. Raises what goes wrong."""

    @abstractmethod
    def cancel(self) -> None:
        """From another thread: stop the one `read` that goes on, by what the client offers for it."""

    def is_free(self, reader: threading.Thread) -> bool:
        """Whether the thread that read has nothing to do with the stream any more."""
        return not reader.is_alive()

    def crowd(self, model: str, listeners: list[OnText]) -> int:
        """Read a stream for each listener, all at once, to their ends; how many of them failed."""
        failed: list[OnText] = []

        def read(on_text: OnText) -> None:
            try:
                self.read(model, on_text)
            except Exception:
                failed.append(on_text)

        threads = [threading.Thread(target=read, args=(on_text,), daemon=True) for on_text in listeners]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(failed)


class Rxllm(Client):
    """The whole road: HTTP to typed events to an Observable to `ops.text()` to a subscriber."""

    name = "rxllm"
    imports = "from rxllm import create_streaming_model, operators"
    packages = ("rxllm", "reactivex", "requests", "urllib3", "msgspec")

    def __init__(self, base: str, wire: str) -> None:
        super().__init__(base, wire)
        rxllm = import_module("rxllm")
        self._text = import_module("rxllm.operators").text
        options = {"api_key": "k", "base_url": base + self.wire.base_path, "max_retries": 0}
        self._create = partial(rxllm.create_streaming_model, self.wire.provider, **options)
        self._models: dict[str, Any] = {}
        self._subscription: Any = None
        self._ended = threading.Event()

    def read(self, model: str, on_text: OnText) -> None:
        failure: list[Exception] = []
        self._ended = ended = threading.Event()

        def on_error(error: Exception) -> None:
            failure.append(error)
            ended.set()

        self._subscription = self._stream(model).subscribe(on_text, on_error, ended.set)
        ended.wait()
        if failure:
            raise failure[0]

    def cancel(self) -> None:
        self._subscription.dispose()
        self._ended.set()

    def is_free(self, reader: threading.Thread) -> bool:
        # An idle worker bears another name.
        return not any(thread.name.startswith(f"rxllm-{self.wire.provider}") for thread in threading.enumerate())

    def crowd(self, model: str, listeners: list[OnText]) -> int:
        failures: list[Exception] = []
        left = threading.Semaphore(0)

        def on_error(error: Exception) -> None:
            failures.append(error)
            left.release()

        for on_text in listeners:
            self._stream(model).subscribe(on_text, on_error, left.release)
        for _ in listeners:
            left.acquire()
        return len(failures)

    def _stream(self, model: str) -> Any:
        if model not in self._models:
            self._models[model] = self._create(model=model)
        return self._models[model].stream("?").pipe(self._text())


class RawSocket(Client):
    """The floor: a socket, a split at line feeds, json.loads. It trusts the server to frame an event a chunk."""

    name = "raw socket + json.loads"
    imports = "import socket, json"

    def __init__(self, base: str, wire: str) -> None:
        super().__init__(base, wire)
        self._address = urlsplit(base)
        self._idle: list[socket.socket] = []
        self._socket: socket.socket | None = None

    def read(self, model: str, on_text: OnText) -> None:
        sock = self._idle.pop() if self._idle else self._connect()
        self._socket = sock
        sock.sendall(self.request(model))
        lines, rest = Lines(self.wire.text, on_text), b""
        while block := sock.recv(65536):
            *whole, rest = (rest + block).split(b"\n")
            if lines.feed(whole):
                self._idle.append(sock)
                return
        sock.close()

    def request(self, model: str) -> bytes:
        """The bytes that ask for an answer."""
        head = f"POST {self.wire.path.format(model=model)} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        body = self.wire.body(model)
        return head.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)

    def cancel(self) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _connect(self) -> socket.socket:
        self._socket = sock = socket.socket()
        sock.connect((self._address.hostname, self._address.port))
        if self._address.scheme == "https":
            wrap = ssl.create_default_context().wrap_socket
            self._socket = tls = wrap(sock, do_handshake_on_connect=False, server_hostname=self._address.hostname)
            tls.do_handshake()
            return tls
        return sock


class Lines:
    """Finds the texts in the lines of an HTTP answer, chunked or not."""

    def __init__(self, text: Callable[[Any], str | None], on_text: OnText) -> None:
        self._text = text
        self._on_text = on_text

    def feed(self, lines: list[bytes]) -> bool:
        """Read whole lines; whether the last chunk was among them."""
        text, on_text = self._text, self._on_text
        for line in lines:
            if line.startswith(b"data: {"):
                line = line[6:]
            elif not line.startswith(b"{"):
                if line == b"0\r":
                    return True
                continue
            said = text(json.loads(line))
            if said:
                on_text(said)
        return False


class EpollLoop(RawSocket):
    """One thread and one selector for all streams, by hand: the floor of a crowd."""

    name = "one selector loop + json.loads"
    imports = "import socket, json, selectors"
    measures = frozenset({"crowd"})

    def crowd(self, model: str, listeners: list[OnText]) -> int:
        selector = selectors.DefaultSelector()
        request = self.request(model)
        for on_text in listeners:
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex((self._address.hostname, self._address.port))
            selector.register(sock, selectors.EVENT_WRITE, (sock, Lines(self.wire.text, on_text), [b""]))
        ended = 0
        while selector.get_map():
            for key, mask in selector.select():
                sock, lines, rest = key.data
                if mask & selectors.EVENT_WRITE:
                    sock.send(request)
                    selector.modify(sock, selectors.EVENT_READ, key.data)
                    continue
                block = sock.recv(65536)
                *whole, rest[0] = (rest[0] + block).split(b"\n")
                over = lines.feed(whole)
                ended += over
                if over or not block:
                    selector.unregister(sock)
                    sock.close()
        return len(listeners) - ended


class RequestsAndSSEClient(Client):
    """The naive road: requests, sseclient-py over its body (for NDJSON its own lines), json.loads."""

    name = "requests + sseclient-py + json.loads"
    imports = "import requests, sseclient"
    packages = ("requests", "sseclient-py")

    def __init__(self, base: str, wire: str) -> None:
        super().__init__(base, wire)
        self._session = import_module("requests").Session()
        self._session.mount("http://", import_module("requests.adapters").HTTPAdapter(pool_maxsize=1000))
        self._events = import_module("sseclient").SSEClient
        self._response: Any = None

    def read(self, model: str, on_text: OnText) -> None:
        url = self.base + self.wire.path.format(model=model)
        text = self.wire.text
        with self._session.post(url, data=self.wire.body(model), stream=True) as response:
            self._response = response
            response.raise_for_status()
            if self.wire.provider == "ollama":
                datas = response.iter_lines(None)
            else:
                datas = (event.data for event in self._events(response.iter_content(None)).events())
            for data in datas:
                if data and data != "[DONE]" and (said := text(json.loads(data))):
                    on_text(said)

    def cancel(self) -> None:
        (self._session if self._response is None else self._response).close()


class AsyncClient(Client):
    """A client of asyncio: an event loop of its own, cancelled by cancelling its task."""

    def __init__(self, base: str, wire: str) -> None:
        super().__init__(base, wire)
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._done = threading.Event()

    @abstractmethod
    def texts(self, model: str) -> AsyncIterator[str | None]:
        """The text deltas of an answer."""

    async def _read(self, model: str, on_text: OnText) -> None:
        async for text in self.texts(model):
            if text:
                on_text(text)

    def read(self, model: str, on_text: OnText) -> None:
        self._task = self._loop.create_task(self._read(model, on_text))
        self._task.add_done_callback(lambda task: self._done.set())
        cancelled = False
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            cancelled = True
        self._task = None  # its traceback would keep the connection
        if cancelled:
            self._loop.run_forever()  # what closes may need the loop a little longer

    def cancel(self) -> None:
        if self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)

    def is_free(self, reader: threading.Thread) -> bool:
        return self._done.is_set()

    def crowd(self, model: str, listeners: list[OnText]) -> int:
        async def all_at_once() -> int:
            reads = [self._read(model, on_text) for on_text in listeners]
            results = await asyncio.gather(*reads, return_exceptions=True)
            return sum(isinstance(result, BaseException) for result in results)

        return self._loop.run_until_complete(all_at_once())


OURS: tuple[type[Client], ...] = (Rxllm, RawSocket, RequestsAndSSEClient, EpollLoop)


def environment(root: str) -> dict[str, str]:
    """For a process that measures: straight to the loopback server, nothing fetched, nothing compiled twice."""
    unwanted = "_proxy", "pythondontwritebytecode"
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith(unwanted)}
    return kept | {"PYTHONPATH": root, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONWARNINGS": "ignore"}
