"""Failures of our own machinery (threads, selectors, descriptors, timers) end the streams concerned, and only those."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import reactivex as rx
from reactivex import operators as rx_ops
from reactivex.abc import SchedulerBase
from reactivex.scheduler import CurrentThreadScheduler, ImmediateScheduler, ThreadPoolScheduler, TrampolineScheduler

import rxllm
from rxllm import LLMError, StreamingModel, Timeout
from rxllm import operators as ops
from rxllm._runtime.admission import Admission
from rxllm._runtime.deadlines import Watchdog
from rxllm.testing import LLMServer, Reply

from ..raw_server import LIMIT, Connection, RawServer

ROOT = Path(__file__).resolve().parents[2]


class Ends:
    """Counts how streams end."""

    def __init__(self) -> None:
        self.completed = 0
        self.errors: list[Exception] = []
        self._ended = threading.Semaphore(0)

    def subscribe(self, stream: rx.Observable[Any]) -> None:
        stream.subscribe(on_error=self._failed, on_completed=self._completed)

    def wait(self, count: int) -> None:
        for _ in range(count):
            assert self._ended.acquire(timeout=LIMIT)

    def _failed(self, error: Exception) -> None:
        self.errors.append(error)
        self._ended.release()

    def _completed(self) -> None:
        self.completed += 1
        self._ended.release()


def model_at(server: LLMServer, **options: Any) -> StreamingModel:
    return rxllm.create_streaming_model("openai", model="m", api_key="k", base_url=server.base_url(), **options)


def failing(times: float, error: Exception, original: Callable[..., Any], only: str = "") -> Callable[..., Any]:
    """A function that raises `error` the first `times` times (on threads whose name contains `only`)."""
    count = 0

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        if only in getattr(args[0], "name", "") and count < times:
            count += 1
            raise error
        return original(*args, **kwargs)

    return call


@pytest.mark.parametrize("streams", [10, 100], ids=["few", "crowd"])
@pytest.mark.parametrize("times", [1, 5, float("inf")], ids=["once", "five times", "always"])
@pytest.mark.parametrize("thread", ["", "watchdog", "reactor", "rxllm-openai"])
def test_threads_that_cannot_be_started(
    thread: str, times: float, streams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stream ends once, complete or with a typed error; and the next one works."""
    with LLMServer(*[Reply("Hello")] * (streams + 1)) as server, model_at(server, max_retries=0) as model:
        ends = Ends()
        refused = RuntimeError("can't start new thread")
        with monkeypatch.context() as patched:
            original = threading.Thread.start
            server_threads = {id(each) for each in threading.enumerate()}

            def start(each: threading.Thread) -> None:
                ours = each.name.startswith("rxllm") and not each.name.startswith("rxllm-server")
                (fail if ours else original)(each)

            fail = failing(times, refused, original, thread)
            patched.setattr(threading.Thread, "start", start)
            for _ in range(streams):
                ends.subscribe(model.stream("Hi"))
            ends.wait(streams)
            assert server_threads
        assert all(isinstance(error, LLMError) for error in ends.errors)
        assert ends.completed + len(ends.errors) == streams
        assert model.chat("Hi").text == "Hello"


@pytest.mark.parametrize("times", [1, 5, float("inf")], ids=["once", "five times", "always"])
def test_a_crowd_without_descriptors_for_its_selector(times: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its streams keep their threads."""
    monkeypatch.setattr("rxllm._core.thread_choice.CROWD", 0)
    from rxllm._runtime.reactor import _Poll

    monkeypatch.setattr(_Poll, "__init__", failing(times, OSError(24, "Too many open files"), _Poll.__init__))
    with LLMServer(*[Reply("Hello")] * 20) as server, model_at(server) as model:
        ends = Ends()
        for _ in range(20):
            ends.subscribe(model.stream("Hi"))
        ends.wait(20)
    assert ends.completed == 20


DESCRIPTORS = """
import resource, sys, threading
import rxllm
from rxllm.testing import LLMServer, Reply
with LLMServer(*[Reply("Hello")] * 400) as server:
    model = rxllm.create_streaming_model("openai", model="m", api_key="k", base_url=sys.argv[1], max_retries=0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
    ended = threading.Semaphore(0)
    outcomes = []
    def end(error=None):
        outcomes.append(error)
        ended.release()
    for _ in range(100):
        model.stream("Hi").subscribe(on_error=end, on_completed=end)
    for _ in range(100):
        assert ended.acquire(timeout=30), f"{len(outcomes)} of 100 ended"
    assert all(error is None or isinstance(error, rxllm.LLMError) for error in outcomes)
    model.close()
    print(len(outcomes), model.chat("Hi").text)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no RLIMIT_NOFILE")
def test_descriptors_that_run_out_as_a_crowd_forms() -> None:
    """All 100 streams end, and the next one works."""
    with LLMServer(*[Reply("Hello")] * 400) as server:
        program = [sys.executable, "-c", DESCRIPTORS, server.base_url()]
        result = subprocess.run(program, capture_output=True, text=True, timeout=100, cwd=ROOT, check=False)
    assert result.stdout == "100 Hello\n", result.stderr[-2000:]


THREADS = """
import os, resource, sys, threading, time
import rxllm
model = rxllm.create_streaming_model("openai", model="m", api_key="k", base_url=sys.argv[1], max_retries=0)
assert model.chat("Hi").text == "Hello"  # imports what the other user may not be able to read
os.setuid(int(sys.argv[2]))
resource.setrlimit(resource.RLIMIT_NPROC, (8, 8))
gate = threading.Event()
ended = threading.Semaphore(0)
outcomes = []
refused = []
start = threading.Thread.start
def counted_start(thread):
    try:
        start(thread)
    except RuntimeError as error:
        refused.append(error)
        raise
threading.Thread.start = counted_start
def wait(_):
    gate.wait(5)  # holds its thread; if no stream needs another one, all of them go on afterwards
    gate.set()
def end(error=None):
    outcomes.append(error)
    ended.release()
    if error is not None:
        gate.set()
for _ in range(60):
    model.stream("Hi").subscribe(wait, end, end)
for _ in range(60):
    assert ended.acquire(timeout=30), f"{len(outcomes)} of 60 ended"
failed = [error for error in outcomes if error is not None]
assert all(isinstance(error, rxllm.APIConnectionError) for error in failed), failed
assert all(isinstance(error.__cause__, RuntimeError) for error in failed), failed  # can't start new thread
while threading.active_count() > 4:  # idle threads end soon
    time.sleep(0.01)
print(len(outcomes), len(refused) > 0, len(failed) < 60, model.chat("Hi").text)
"""


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0,
    reason="needs root on Linux: only another user, with few processes, can have a small RLIMIT_NPROC",
)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["address", "name"])
def test_threads_that_run_out_as_streams_start(host: str) -> None:
    """The system refuses threads, also for name look-ups: each stream ends all the same, and later ones work."""
    user = 61_000 + os.getpid() % 1000  # has no other process
    with LLMServer(*[Reply("Hello")] * 62) as server:
        url = server.base_url().replace("127.0.0.1", host)
        child = subprocess.run(
            [sys.executable, "-c", THREADS, url, str(user)], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
    assert child.stdout.strip() == "60 True True Hello", child.stderr[-2000:]


def test_a_retry_whose_delay_cannot_be_scheduled_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the error that was to be retried."""
    dog = Watchdog()
    monkeypatch.setattr(dog, "add", failing(float("inf"), RuntimeError("can't start new thread"), dog.add))
    monkeypatch.setattr("rxllm._core.scheduling.watchdog", dog)

    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.respond(b"", status="503 Service Unavailable")

    with RawServer(handle) as server:
        model = rxllm.create_streaming_model("openai", model="m", api_key="k", base_url=server.url)
        ends = Ends()
        ends.subscribe(model.stream("Hi"))
        ends.wait(1)
    assert isinstance(ends.errors[0], rxllm.ServerError)


class Refusing(ThreadPoolScheduler):
    """A scheduler that has been shut down."""

    def schedule(self, action: Any, state: Any = None) -> Any:
        raise RuntimeError("cannot schedule new futures after shutdown")


def test_a_scheduler_that_refuses_is_a_typed_error() -> None:
    """Not its own exception."""
    model = rxllm.create_streaming_model(
        "openai", model="m", api_key="k", base_url="http://127.0.0.1:9/v1", scheduler=Refusing(1), max_retries=0
    )
    ends = Ends()
    ends.subscribe(model.stream("Hi"))
    ends.wait(1)
    assert isinstance(ends.errors[0], rxllm.APIConnectionError)


def test_total_holds_while_a_stream_waits_for_its_thread() -> None:
    """It counts from subscribe()."""
    busy, pool = threading.Event(), ThreadPoolScheduler(1)
    pool.executor.submit(busy.wait, LIMIT)
    model = rxllm.create_streaming_model(
        "openai", model="m", api_key="k", base_url="http://127.0.0.1:9/v1", scheduler=pool, timeout=Timeout(total=0.2)
    )
    ends = Ends()
    ends.subscribe(model.stream("Hi"))
    ends.wait(1)
    busy.set()
    assert isinstance(ends.errors[0], rxllm.APITimeoutError)
    assert ends.errors[0].phase == "total"


def test_a_stream_whose_total_passes_before_it_starts_keeps_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor anything else, once its turn has come."""
    tasks: list[Callable[[], object]] = []
    busy = True
    admission = Admission(lambda: busy, lambda _, task: tasks.append(task), Mock())
    monkeypatch.setattr("rxllm._core.read_loop.admission", admission)
    model = rxllm.create_streaming_model(
        "openai", model="m", api_key="k", base_url="http://127.0.0.1:9/v1", timeout=Timeout(total=0.1)
    )
    ends = Ends()
    ends.subscribe(model.stream("Hi"))
    ends.wait(1)
    assert isinstance(ends.errors[0], rxllm.APITimeoutError)
    busy = False
    admission.admit()
    tasks[0]()
    assert not admission._starting


def test_an_interrupt_on_a_scheduler_of_the_users_is_raised() -> None:
    """It may be the main thread; the connection is closed."""

    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.respond(b"", "Transfer-Encoding: chunked")
        connection.wait_closed()

    with RawServer(handle) as server:
        model = rxllm.create_streaming_model(
            "openai", model="m", api_key="k", base_url=server.url, scheduler=ImmediateScheduler.singleton()
        )
        with pytest.MonkeyPatch.context() as patched:

            def interrupt(*_: object) -> bytes:
                raise KeyboardInterrupt

            patched.setattr("rxllm._transport.body.Body.read", interrupt)
            with pytest.raises(KeyboardInterrupt):
                model.stream("Hi").subscribe()
        assert server.connections[0].closed.wait(LIMIT)


@pytest.mark.parametrize("scheduler", [ImmediateScheduler(), CurrentThreadScheduler(), TrampolineScheduler()])
def test_an_operator_ends_a_stream_that_is_read_inside_subscribe(scheduler: SchedulerBase) -> None:
    """All observers are linked before the scheduler's inline work begins, so take(1) stops the request."""
    word = b'data: {"choices": [{"index": 0, "delta": {"content": "word "}}]}\n\n'

    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.respond(b"%x\r\n%b\r\n" % (len(word), word), "Transfer-Encoding: chunked")
        connection.wait_closed()

    with RawServer(handle) as server:
        model = rxllm.create_streaming_model("openai", model="m", api_key="k", base_url=server.url, scheduler=scheduler)
        seen: list[object] = []
        model.stream("Hi").pipe(ops.text(), rx_ops.take(1)).subscribe(seen.append, seen.append, lambda: seen.append(1))
        assert seen == ["word ", 1]
        assert server.connections[0].closed.wait(LIMIT)


def test_an_inline_stream_can_be_waited_for_inside_a_callback() -> None:
    """Work of this thread's trampoline runs there: the stream must not wait until that has ended."""
    with LLMServer(default=Reply("Hi")) as server:
        scheduler = ImmediateScheduler()
        model = rxllm.create_streaming_model(
            "openai", model="m", api_key="k", base_url=server.base_url(), scheduler=scheduler
        )
        ways: list[Callable[[], object]] = [
            lambda: model.chat("?").text,
            lambda: "".join(rxllm.iter_text(model.stream("?"))),
            lambda: model.stream("?").pipe(ops.text(), rx_ops.last()).run(),
        ]
        seen: list[object] = []
        rx.from_iterable(ways).pipe(rx_ops.map(lambda way: way())).subscribe(seen.append, seen.append)
        assert seen == ["Hi"] * 3


def test_total_ends_a_stream_whose_subscriber_is_slow() -> None:
    """After the event in hand, although more events wait."""
    release = threading.Event()
    words = b"".join(b'data: {"choices": [{"index": 0, "delta": {"content": "word "}}]}\n\n' for _ in range(10))

    def handle(connection: Connection) -> None:
        connection.read_request()
        connection.respond(b"%x\r\n%b\r\n" % (len(words), words), "Transfer-Encoding: chunked")
        connection.wait_closed()

    def slow(event: object) -> None:
        seen.append(event)
        release.wait(0.5)

    with RawServer(handle) as server:
        model = rxllm.create_streaming_model(
            "openai", model="m", api_key="k", base_url=server.url, timeout=Timeout(total=0.3)
        )
        ends, seen = Ends(), list[object]()
        ends.subscribe(model.stream("Hi").pipe(rx_ops.do_action(slow)))
        ends.wait(1)
    assert isinstance(ends.errors[0], rxllm.APITimeoutError)
    assert len(seen) < 5
