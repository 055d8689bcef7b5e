"""A forked process begins anew: it has its parent's memory, but none of its threads, and no right to its sockets."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import atexit, os, socket, threading
from unittest.mock import patch
import rxllm
from rxllm.testing import Hang, LLMServer, Reply, Stall

with LLMServer() as server:
    model = rxllm.create_streaming_model("openai", model="m", base_url=server.base_url("openai"), max_retries=0)
    server.enqueue(Reply("half of it", fault=Stall(1)), "before", Hang(), "in the child", "after")
    got, ended = threading.Event(), threading.Event()
    endings = []
    stalled = model.stream("Go on").subscribe(
        lambda event: got.set(), lambda error: (endings.append(error), ended.set()), ended.set
    )
    assert got.wait(60)
    assert model.chat("Hello").text == "before"

    child = os.fork()
    if child == 0:
        try:
            model.chat("Are you there?", timeout=0.2)
        except rxllm.APITimeoutError as error:
            assert error.phase == "first_token"
        assert model.chat("And now?").text == "in the child"
        stalled.dispose()
        atexit._run_exitfuncs()  # as at the end of a program; the server is the parent's
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, "the child's end"
    assert not ended.wait(0.1), endings
    with patch.object(socket.socket, "connect_ex", None):  # the idle connection is still good: no new one is made
        assert model.chat("Still there?").text == "after"
    stalled.dispose()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only POSIX forks")
def test_a_child_streams_and_leaves_its_parents_streams_alone() -> None:
    """Its limits hold, its requests go over connections of its own, and its end closes nobody else's."""
    # From 3.12 on, Python warns of every fork in a process that has threads.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


FORK_IN_ON_NEXT = """
import os, sys, threading
import rxllm, rxllm._core.thread_choice
from rxllm._runtime import platform
from rxllm.testing import LLMServer, Reply

rxllm._core.thread_choice.CROWD = int(sys.argv[1])
WORDS = [f"{number} " for number in range(50)]
parent, (reading, writing) = os.getpid(), os.pipe()
children, texts, ended = [], [], threading.Event()

def on_next(event):
    if os.getpid() != parent:
        os.write(writing, b"an event of the parent's stream")
    elif isinstance(event, rxllm.TextDelta):
        texts.append(event.text)
        if len(texts) == 5:
            children.append(os.fork())

with LLMServer(Reply(pieces=WORDS, delay=0.02)) as server:
    model = rxllm.create_streaming_model("openai", model="m", base_url=server.base_url("openai"), max_retries=0)
    model.stream("Go on").subscribe(on_next, lambda error: (print(error), ended.set()), ended.set)
    assert ended.wait(30)
assert texts == WORDS, texts
assert platform.has_forked
assert os.waitpid(children[0], 0)[1] == 0
os.close(writing)
assert os.read(reading, 100) == b""
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only POSIX forks")
@pytest.mark.parametrize("crowd", [0, 1000], ids=["crowd", "thread"])
def test_a_child_that_returns_from_on_next_reads_no_more(crowd: int) -> None:
    """The stream is its parent's alone, in which every event arrives."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK_IN_ON_NEXT, str(crowd)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


FORK_WITH_SHARED_STATE = """
import os, signal, threading
from contextlib import ExitStack
import rxllm
from rxllm import operators as ops
from rxllm.sinks import shared_stream
from rxllm.testing import ErrorReply, LLMServer, Reply, Stall

def first_event(stream):
    got = threading.Event()
    subscription = stream.subscribe(lambda event: got.set(), lambda error: print(error))
    assert got.wait(60)
    return subscription

def answer_of(stream):
    return stream.pipe(ops.response()).run().text

limit, rate, breaker = ops.MaxConcurrent(1), ops.RateLimit(1e6), ops.CircuitBreaker(1, 1, cooldown=0)
limits = lambda stream: stream.pipe(limit, rate, breaker)
half = Reply("half of it", fault=Stall(1))
with LLMServer(ErrorReply(500), half, half, "answer", "shared") as server:
    model = rxllm.create_streaming_model("openai", model="m", base_url=server.base_url("openai"), max_retries=0)
    failed = threading.Event()
    model.stream("Fail").pipe(breaker).subscribe(on_error=lambda error: failed.set())
    assert failed.wait(60)
    running = first_event(limits(model.stream("Go on")))  # the only place, and the only one on trial
    running_too = first_event(rxllm.shared_stream("key", lambda: model.stream("Go on")))

    locked, forked = threading.Event(), threading.Event()
    def hold():
        with ExitStack() as held:
            pool = model._settings.transport.pool
            for lock in (limit.lock, rate.lock, breaker._lock, shared_stream._lock, pool._lock):
                held.enter_context(lock)
            locked.set()
            forked.wait(60)
    threading.Thread(target=hold).start()
    assert locked.wait(60)
    child = os.fork()
    if child == 0:
        signal.alarm(50)
        assert answer_of(limits(model.stream("Hello"))) == "answer"
        assert answer_of(rxllm.shared_stream("key", lambda: model.stream("Hello"))) == "shared"
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    forked.set()
    running.dispose()
    running_too.dispose()
    rxllm.forget_shared_stream("key")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only POSIX forks")
def test_a_child_does_not_wait_for_streams_and_threads_of_its_parent() -> None:
    """Limits have all their places, a shared stream that ran in the parent is asked for anew, and no lock is held."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK_WITH_SHARED_STATE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
