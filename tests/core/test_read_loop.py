"""The one subscribe(): threads, endings, disposal, limits and the subscriber's pace."""

from __future__ import annotations

import contextvars
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec
import pytest
import reactivex as rx
from reactivex import Observable
from reactivex import operators as rx_ops
from reactivex.scheduler import EventLoopScheduler, ThreadPoolScheduler

from rxllm._core.read_loop import Source, token_stream
from rxllm._core.time_limits import TimeLimits
from rxllm._protocol import Frame, WireRequest
from rxllm._transport.http import Transport
from rxllm.errors import APIConnectionError, APITimeoutError, ProtocolError, RateLimitError, StreamInterruptedError
from rxllm.events import Response, StreamEnd, TextDelta, TokenEvent, VendorEvent
from rxllm.options import Timeout
from rxllm.providers._answer_builder import AnswerBuilder
from rxllm.providers._endpoint import Endpoint
from rxllm.providers._frame_reader import interrupted_before

from ..raw_server import LIMIT, Connection, Handler, RawServer

CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture(autouse=True, params=["own thread", "crowd"])
def crowd(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it holds for a stream that has a thread of its own, and for one that is read by the reactor."""
    if request.param == "crowd":
        monkeypatch.setattr("rxllm._core.thread_choice.CROWD", 0)


class WordDecoder:
    """Each frame is a word of the answer, "." is its end, "?" says nothing, "!" breaks the decoder."""

    def __init__(self) -> None:
        self.finished = False
        self._reply = AnswerBuilder(Endpoint("words", "words"))

    def feed(self, frame: Frame, /) -> Sequence[TokenEvent]:
        match frame.data:
            case b".":
                self.finished = True
                return (self._reply.finish("stop", "."),)
            case b"?":
                return ()
            case b"!":
                raise KeyError("a bug")
            case word:
                return (self._reply.text(word.decode()),)

    def close(self) -> Sequence[TokenEvent]:
        raise interrupted_before("the full stop")

    def partial(self) -> Response:
        return self._reply.response()


def words(server: RawServer, **changes: object) -> Observable[TokenEvent]:
    request = WireRequest(server.url, {}, b"{}")
    source = Source("words", "m", lambda: request, WordDecoder, Transport(), Timeout())
    return token_stream(msgspec.structs.replace(source, **changes))


def frame(*payloads: str) -> bytes:
    body = b"".join(b"data: %b\n\n" % payload.encode() for payload in payloads)
    return b"%x\r\n%b\r\n" % (len(body), body)


END = b"0\r\n\r\n"


def sending(*payloads: str, then: Callable[[Connection], object] = lambda connection: connection.send(END)) -> Handler:
    """A handler that sends the payloads, then does `then`."""

    def handle(connection: Connection) -> None:
        while True:
            connection.read_request()
            connection.respond(frame(*payloads) if payloads else b"", CHUNKED)
            then(connection)

    return handle


def staying(connection: Connection) -> None:
    """Say nothing more until the client closes."""
    connection.wait_closed()


class Probe:
    """A subscriber that remembers what it was told, and by which thread."""

    def __init__(self) -> None:
        self.events: list[TokenEvent] = []
        self.errors: list[Exception] = []
        self.completions = 0
        self.threads: set[str] = set()
        self.got_one = threading.Event()
        self.ended = threading.Event()

    def on_next(self, event: TokenEvent) -> None:
        self.events.append(event)
        self.threads.add(threading.current_thread().name)
        self.got_one.set()

    def on_error(self, error: Exception) -> None:
        self.errors.append(error)
        self.ended.set()

    def on_completed(self) -> None:
        self.completions += 1
        self.ended.set()

    def watch(self, stream: Observable[TokenEvent]) -> Probe:
        """Subscribe, and wait for the end."""
        stream.subscribe(self)
        assert self.ended.wait(LIMIT)
        return self

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, TextDelta))


def no_workers() -> bool:
    """Whether all worker threads are gone, or go soon."""
    for thread in threading.enumerate():
        if thread.name.startswith("rxllm-words"):
            thread.join(LIMIT)
            if thread.is_alive():
                return False
    return True


def test_a_whole_answer_ends_with_stream_end_and_completion() -> None:
    """The response comes once, last, with its timing; then on_completed, once."""
    with RawServer(sending("one ", "two", ".")) as server:
        probe = Probe().watch(words(server))
    assert (probe.text, probe.completions, probe.errors) == ("one two", 1, [])
    end = probe.events[-1]
    assert isinstance(end, StreamEnd)
    assert end.response.text == "one two"
    timing = end.response.timing
    assert timing is not None
    assert timing.first_token is not None
    assert 0 < timing.first_token <= timing.total


def test_a_stream_is_cold() -> None:
    """No subscription, no request; two subscriptions, two requests."""
    with RawServer(sending("a", ".")) as server:
        stream = words(server)
        assert server.connections == []
        assert [Probe().watch(stream).text for _ in range(2)] == ["a", "a"]


def test_events_come_from_one_worker_thread() -> None:
    """Not from the caller's, and not from the scheduler given to subscribe(), which may be a UI's."""
    with RawServer(sending("a", "b", ".")) as server:
        probe = Probe()
        ui = EventLoopScheduler()
        words(server).subscribe(probe, scheduler=ui)
        assert probe.ended.wait(LIMIT)
        ui.dispose()
    assert len(probe.threads) == 1
    assert probe.threads.pop().startswith(("rxllm-words-", "rxllm-reactor-"))


def test_the_producing_scheduler_can_be_chosen() -> None:
    """A scheduler of the model's own runs the worker."""
    pool = ThreadPoolScheduler(1)
    with RawServer(sending("a", ".")) as server:
        probe = Probe().watch(words(server, scheduler=pool))
    pool.executor.shutdown()
    assert "ThreadPool" in probe.threads.pop()


def test_the_worker_runs_in_the_callers_context() -> None:
    """Tracing parents and other context variables are there."""
    variable = contextvars.ContextVar("variable", default="none")
    seen: list[str] = []
    with RawServer(sending("a", ".")) as server:
        variable.set("mine")
        Probe().watch(words(server).pipe(rx_ops.do_action(lambda event: seen.append(variable.get()))))
    assert set(seen) == {"mine"}


def test_a_cut_answer_is_an_error_with_what_had_arrived() -> None:
    """An answer without its terminal event is never taken for whole."""
    with RawServer(sending("one ", "two")) as server:
        probe = Probe().watch(words(server))
    (error,) = probe.errors
    assert isinstance(error, StreamInterruptedError)
    assert error.partial is not None
    assert (error.partial.text, error.provider, error.model, probe.completions) == ("one two", "words", "m", 0)


def test_a_bug_in_a_decoder_is_a_typed_error() -> None:
    """No foreign exception reaches on_error."""
    with RawServer(sending("one", "!")) as server:
        probe = Probe().watch(words(server))
    assert [type(error) for error in probe.errors] == [ProtocolError]


@pytest.mark.parametrize(("named", "expected"), [(None, 7.0), (3.0, 3.0)])
def test_a_rate_limit_inside_a_stream(named: float | None, expected: float) -> None:
    """The wait that the body does not name is in the headers: https://github.com/earendil-works/pi/issues/7983."""

    class Limited(WordDecoder):
        def close(self) -> Sequence[TokenEvent]:
            raise RateLimitError("too fast", retry_after=named)

    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.respond(frame("one") + END, CHUNKED, "Retry-After: 7")

    with RawServer(handle) as server:
        probe = Probe().watch(words(server, decoder=Limited))
    (error,) = probe.errors
    assert isinstance(error, RateLimitError)
    assert (error.retry_after, probe.text) == (expected, "one")


def test_a_decoder_that_cannot_say_what_had_arrived_ends_its_stream() -> None:
    """With the error, which says why it has no partial answer."""

    class Broken(WordDecoder):
        def partial(self) -> Response:
            raise MemoryError

    with RawServer(sending("one ", "two")) as server:
        probe = Probe().watch(words(server, decoder=Broken))
    (error,) = probe.errors
    assert isinstance(error, StreamInterruptedError)
    assert error.partial is None
    assert error.__notes__ == ["the answer so far could not be read: MemoryError()"]


def test_a_function_that_exits_while_the_request_is_made_is_a_typed_error() -> None:
    """SystemExit ends only the thread that raises it: the subscriber would wait for ever."""

    def exits() -> WireRequest:
        sys.exit("no key")

    with RawServer(sending()) as server:
        probe = Probe().watch(words(server, request=exits))
    (error,) = probe.errors
    assert isinstance(error, APIConnectionError)
    assert isinstance(error.__cause__, SystemExit)


def test_a_server_that_is_not_there_is_a_typed_error() -> None:
    """Subscribing does not raise: the error goes to on_error."""
    with RawServer(sending()) as server:
        pass
    probe = Probe().watch(words(server))
    assert [type(error) for error in probe.errors] == [APIConnectionError]


class TestDispose:
    """Dispose means stop: the server sees the close, nothing more is delivered, no thread stays."""

    @pytest.mark.parametrize("payloads", [(), ("one",)], ids=["before the first token", "stalled"])
    def test_from_another_thread(self, payloads: tuple[str, ...]) -> None:
        """A blocked read wakes."""
        waiting = threading.Event()

        def then(connection: Connection) -> None:
            waiting.set()
            connection.wait_closed()

        with RawServer(sending(*payloads, then=then)) as server:
            probe = Probe()
            subscription = words(server).subscribe(probe)
            assert waiting.wait(LIMIT)
            subscription.dispose()
            subscription.dispose()
            assert server.connections[0].closed.wait(LIMIT)
            assert no_workers()
        assert (probe.errors, probe.completions) == ([], 0)

    def test_inside_on_next(self) -> None:
        """What is already read is not delivered either."""
        with RawServer(sending("a", "b", "c", then=staying)) as server:
            probe = Probe()
            words(server).pipe(rx_ops.take(1)).subscribe(probe)
            assert probe.ended.wait(LIMIT)
            assert server.connections[0].closed.wait(LIMIT)
            assert no_workers()
        assert probe.text == "a"

    @pytest.mark.parametrize(
        "operator",
        [
            rx_ops.take(1),
            rx_ops.first(),
            rx_ops.take_until(rx.timer(0.2)),
            rx_ops.compose(rx_ops.timeout(0.2), rx_ops.catch(rx.empty())),
        ],
        ids=["take", "first", "take_until", "timeout"],
    )
    def test_through_operators(self, operator: Callable[[Observable[TokenEvent]], Observable[TokenEvent]]) -> None:
        """Whatever ends the subscription closes the connection."""
        with RawServer(sending("a", then=staying)) as server:
            probe = Probe().watch(words(server).pipe(operator))
            assert probe.errors == []
            assert server.connections[0].closed.wait(LIMIT)

    def test_with_the_last_subscriber_of_a_shared_stream(self) -> None:
        """share() counts its subscribers; the last one out closes the door."""
        with RawServer(sending("a", then=staying)) as server:
            shared = words(server).pipe(rx_ops.share())
            first, second = Probe(), Probe()
            subscriptions = [shared.subscribe(first), shared.subscribe(second)]
            assert first.got_one.wait(LIMIT)
            subscriptions[0].dispose()
            assert not server.connections[0].closed.is_set()
            subscriptions[1].dispose()
            assert server.connections[0].closed.wait(LIMIT)

    def test_when_the_stream_has_ended_keeps_the_connection(self) -> None:
        """Disposing at the terminal event does not throw the connection away."""

        def handle(connection: Connection) -> None:
            while True:
                connection.read_request()
                connection.respond(frame("a", ".") + END, CHUNKED)

        with RawServer(handle) as server:
            stream = words(server)
            for _ in range(2):
                Probe().watch(
                    stream.pipe(rx_ops.take_while(lambda event: not isinstance(event, StreamEnd), inclusive=True))
                )
                assert no_workers()
            assert len(server.connections) == 1

    def test_before_the_worker_began(self) -> None:
        """A stream queued for a busy thread never begins."""
        busy, pool = threading.Event(), ThreadPoolScheduler(1)
        pool.executor.submit(busy.wait, LIMIT)
        with RawServer(sending("a", ".")) as server:
            words(server, scheduler=pool).subscribe(Probe()).dispose()
            busy.set()
            pool.executor.shutdown(wait=True)
            assert server.connections == []


class TestLimits:
    """Each limit that passes is an `APITimeoutError` with its phase; the connection closes."""

    @pytest.mark.parametrize(
        ("payloads", "timeout", "phase", "text"),
        [
            ((), Timeout(first_token=0.2), "first_token", ""),
            (("?",), Timeout(first_token=1.0), "first_token", ""),
            (("one",), Timeout(idle=1.0), "idle", "one"),
            (("one",), Timeout(total=2.0), "total", "one"),
            ((), Timeout(total=0.3), "total", ""),
        ],
        ids=["no token", "only noise", "stall", "total in a stall", "total before a token"],
    )
    def test_a_silent_server(self, payloads: tuple[str, ...], timeout: Timeout, phase: str, text: str) -> None:
        """Silence, in every phase, and noise that is no content."""
        with RawServer(sending(*payloads, then=staying)) as server:
            probe = Probe().watch(words(server, timeout=timeout))
            assert server.connections[0].closed.wait(LIMIT)
        (error,) = probe.errors
        assert isinstance(error, APITimeoutError)
        assert error.partial is not None
        assert (error.phase, error.partial.text) == (phase, text)

    @pytest.mark.parametrize("noise", [frame("?"), b"9\r\n: ping..\n\r\n1\r\n\n\r\n"], ids=["empty events", "comments"])
    def test_keep_alives_do_not_satisfy_the_idle_limit(self, noise: bytes) -> None:
        """A server that only pings is a stalled server; a watcher sees that it pings."""

        def pinging(connection: Connection) -> None:
            with suppress(OSError):
                while not connection.closed.wait(0.05):
                    connection.send(noise)

        with RawServer(sending("one", then=pinging)) as server:
            probe = Probe().watch(words(server, timeout=Timeout(idle=1.0)))
        assert [getattr(error, "phase", None) for error in probe.errors] == ["idle"]
        assert (VendorEvent("keep_alive", {}) in probe.events) == (b": ping" in noise)

    def test_a_slow_subscriber_is_not_a_silent_server(self) -> None:
        """The idle limit is about the wire: the time that on_next takes does not count."""
        proceed, sent = threading.Event(), threading.Event()

        def silent(connection: Connection) -> None:
            proceed.wait(LIMIT)
            connection.send(frame(".") + END)
            sent.set()

        with RawServer(sending("one", then=silent)) as server:

            def slow(event: TokenEvent) -> None:
                if isinstance(event, TextDelta) and not proceed.is_set():
                    assert not sent.wait(0.6)
                    proceed.set()
                    assert sent.wait(LIMIT)

            probe = Probe().watch(words(server, timeout=Timeout(idle=0.2)).pipe(rx_ops.do_action(slow)))
        assert (probe.errors, probe.completions) == ([], 1)

    def test_total_passes_while_the_whole_answer_is_delivered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """No stream completes without StreamEnd: the watchdog may have begun when the last byte arrives."""
        passed, delivering, expired = threading.Event(), threading.Event(), threading.Event()
        expire: Callable[..., None] = TimeLimits._expire

        def late(limits: TimeLimits, on_expired: Callable[[], None]) -> None:
            passed.set()
            assert delivering.wait(LIMIT)
            expire(limits, on_expired)
            expired.set()

        monkeypatch.setattr(TimeLimits, "_expire", late)

        def handle(connection: Connection) -> None:
            connection.read_request()
            assert passed.wait(LIMIT)
            connection.respond(frame("a", ".") + END, CHUNKED)
            connection.wait_closed()

        def slow(event: TokenEvent) -> None:
            delivering.set()
            assert expired.wait(LIMIT)

        with RawServer(handle) as server:
            probe = Probe().watch(words(server, timeout=Timeout(total=0.3)).pipe(rx_ops.do_action(slow)))
        assert [getattr(error, "phase", None) for error in probe.errors] == ["total"]
        assert (probe.text, probe.completions) == ("a", 0)


def test_a_slow_subscriber_slows_the_socket() -> None:
    """Reading follows on_next: what is not taken stays with the server, not in memory here."""
    sent = 0
    full = threading.Event()

    def flood(connection: Connection) -> None:
        nonlocal sent
        connection._sock.settimeout(0.5)
        block = frame(*["word"] * 1000)
        try:
            while True:
                connection.send(block)
                sent += len(block)
        except TimeoutError:
            full.set()
        connection.wait_closed()

    release = threading.Event()
    with RawServer(sending(then=flood)) as server:
        subscription = words(server).subscribe(lambda event: release.wait(LIMIT))
        assert full.wait(2 * LIMIT)
        assert sent < 64 * 1024 * 1024
        subscription.dispose()
        release.set()
        assert no_workers()


class TestSubscriberErrors:
    """A subscriber's exception is its own: the connection closes and the exception surfaces, unchanged."""

    @pytest.mark.parametrize("bug", [RuntimeError("a bug in the subscriber"), SystemExit(1)], ids=["bug", "exit"])
    def test_in_on_next(self, bug: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
        """It goes to threading.excepthook, and not to on_error as if the wire had failed; other streams go on."""
        surfaced: list[BaseException | None] = []
        done = threading.Event()

        def hook(args: threading.ExceptHookArgs) -> None:
            surfaced.append(args.exc_value)
            done.set()

        monkeypatch.setattr(threading, "excepthook", hook)
        errors: list[Exception] = []

        def on_next(event: TokenEvent) -> None:
            raise bug

        with RawServer(sending("a", then=staying)) as server:
            words(server).subscribe(on_next, errors.append)
            assert done.wait(LIMIT)
            assert server.connections[0].closed.wait(LIMIT)
        assert (surfaced, errors) == ([bug], [])
        with RawServer(sending("b", ".")) as server:
            assert Probe().watch(words(server)).text == "b"

    def test_no_on_error_is_logged_once(self, caplog: pytest.LogCaptureFixture) -> None:
        """An error that nobody handles is not swallowed, and not raised in a thread nobody watches."""
        with caplog.at_level(logging.ERROR, "rxllm"), RawServer(sending("a")) as server:
            logged = threading.Event()

            def note(_: logging.LogRecord) -> bool:
                logged.set()
                return True

            caplog.handler.addFilter(note)
            words(server).subscribe(lambda event: None)
            assert logged.wait(LIMIT)
            caplog.handler.removeFilter(note)
            assert no_workers()
        assert [record.name for record in caplog.records] == ["rxllm"]
        assert "ended before the full stop" in caplog.text


def test_the_interpreter_ends_while_a_stream_is_stalled() -> None:
    """Live streams are aborted at exit: no hang, no output, and the server sees the close."""
    script = """
import sys, threading
from rxllm._core.read_loop import Source, token_stream
from rxllm._core.time_limits import TimeLimits
from tests.core.test_read_loop import WordDecoder
from rxllm._transport.http import Transport
from rxllm._protocol import WireRequest
from rxllm.options import Timeout
got = threading.Event()
source = Source("words", "m", lambda: WireRequest(sys.argv[1], {}, b"{}"), WordDecoder, Transport(), Timeout())
token_stream(source).subscribe(lambda event: got.set())
assert got.wait(60)
"""
    with RawServer(sending("a", then=staying)) as server:
        done = subprocess.run(
            [sys.executable, "-c", script, server.url], capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert server.connections[0].closed.wait(LIMIT)
