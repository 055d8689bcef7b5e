"""One stream, several processes: late readers, readers that come back, stops, deaths, and a Redis that restarts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
import redis

from rxllm.testing import Gate, LLMServer, Reply, Stall

from ..operators.threads import LIMIT
from .processes import Process, Reader, RedisServer, assert_whole, needs_redis, program, text_of

pytestmark = needs_redis

PIECES = [f"{n} " for n in range(400)]
TEXT = "".join(PIECES)


class Stage:
    """Starts the processes of a test, and ends what is left of them."""

    def __init__(self, llm_server: LLMServer) -> None:
        self._base_url = llm_server.base_url()
        self._started: list[Process] = []

    def produce(self, server: RedisServer, stream: str, *, lease: float = 10.0, take_over: bool = False) -> Process:
        """A producer that has published, or was refused."""
        over = "yes" if take_over else "no"
        producer = program("produce", server.url, stream, self._base_url, str(lease), over)
        self._started.append(producer)
        return producer

    def read(self, server: RedisServer, stream: str, *, after: int = 0, visits: int = 0) -> Reader:
        """A reader."""
        reader = Reader(server.url, stream, after=after, visits=visits)
        self._started.append(reader.process)
        return reader

    def close(self) -> None:
        """Kill what is left."""
        for process in self._started:
            process.kill()


@pytest.fixture
def stage(llm_server: LLMServer) -> Iterator[Stage]:
    """The processes of a test."""
    stage = Stage(llm_server)
    yield stage
    stage.close()


def test_late_readers_get_everything(redis_server: RedisServer, llm_server: LLMServer, stage: Stage) -> None:
    """One comes before the producer, one in the middle, one after the end; one request serves them all."""
    gate = Gate()
    llm_server.enqueue(Reply(pieces=PIECES, gate=gate))
    early = stage.read(redis_server, "late")
    producer = stage.produce(redis_server, "late")
    assert producer.line() == "published"
    gate.release(200)
    early.take_text("".join(PIECES[:200]))
    middle = stage.read(redis_server, "late")
    middle.take_text("".join(PIECES[:200]))
    gate.open()
    assert producer.line() == "completed NoneType"
    late = stage.read(redis_server, "late")
    for reader in (early, middle, late):
        reader.take_all()
        assert_whole(reader.events, TEXT)
        assert [{"end": "NoneType", "partial": None}] == reader.endings
    assert len(late.events) < len(PIECES), "batched by the frame, not by the token"
    assert len(llm_server.requests) == 1


def test_a_reader_that_reconnects_twenty_times(redis_server: RedisServer, llm_server: LLMServer, stage: Stage) -> None:
    """It leaves after an event and comes back with its id, while the stream goes on: nothing lost, nothing twice."""
    gate = Gate()
    llm_server.enqueue(Reply(pieces=PIECES, gate=gate))
    producer = stage.produce(redis_server, "returning")
    assert producer.line() == "published"
    reader = stage.read(redis_server, "returning", visits=20)
    for _ in range(20):
        gate.release(7)
        reader.take()
    gate.open()
    reader.take_all()
    assert_whole(reader.events, TEXT)
    assert sorted(set(reader.ids)) == reader.ids
    assert ["NoneType"] == [ending["end"] for ending in reader.endings]


def test_connections_that_break_twenty_times(redis_server: RedisServer, llm_server: LLMServer, stage: Stage) -> None:
    """Redis drops every connection, the producer's and the readers', again and again: nobody notices."""
    gate = Gate()
    llm_server.enqueue(Reply(pieces=PIECES, gate=gate))
    producer = stage.produce(redis_server, "dropped")
    assert producer.line() == "published"
    reader = stage.read(redis_server, "dropped")
    with redis.Redis.from_url(redis_server.url) as client:
        for n in range(1, 21):
            gate.release(10)
            client.client_kill_filter(_type="normal", skipme=True)
            client.client_kill_filter(_type="pubsub", skipme=True)
            if n % 5 == 0:
                reader.take_text("".join(PIECES[: n * 10]))
    gate.open()
    reader.take_all()
    assert_whole(reader.events, TEXT)
    assert producer.line() == "completed NoneType"


@pytest.mark.parametrize("pieces", [0, 5])
def test_a_stop_from_any_process(redis_server: RedisServer, llm_server: LLMServer, stage: Stage, pieces: int) -> None:
    """The producer's connection to the vendor closes at once, silent vendor or not; all end alike, with the answer."""
    stream = f"stopped-{pieces}"
    llm_server.enqueue(Reply(pieces=PIECES[: pieces + 1], fault=Stall(pieces)))
    producer = stage.produce(redis_server, stream, lease=600)
    assert producer.line() == "published"
    request = llm_server.wait_for_request(timeout=LIMIT)
    reader = stage.read(redis_server, stream)
    reader.take_text("".join(PIECES[:pieces]))
    assert not request.closed.is_set()
    assert program("stop", redis_server.url, stream).finish() == 0
    assert request.closed.wait(LIMIT)
    assert producer.line() == "cancelled NoneType"
    reader.take_all()
    late = stage.read(redis_server, stream, after=max(reader.ids, default=0))
    late.take_all()
    expected = {"end": "StreamInterruptedError", "partial": "".join(PIECES[:pieces])}
    assert [expected] == reader.endings
    assert [expected] == late.endings


def test_a_killed_producer_is_noticed(redis_server: RedisServer, llm_server: LLMServer, stage: Stage) -> None:
    """Its readers end with a typed error that holds the answer so far; the id cannot be used again."""
    llm_server.enqueue(Reply(pieces=PIECES[:6], fault=Stall(5)))
    producer = stage.produce(redis_server, "killed", lease=1)
    assert producer.line() == "published"
    reader = stage.read(redis_server, "killed")
    reader.take_text("".join(PIECES[:5]))
    producer.kill()
    resumed = stage.read(redis_server, "killed", after=max(reader.ids, default=0))
    for each in (reader, resumed):
        each.take_all()
        assert [{"end": "ProducerLostError", "partial": "".join(PIECES[:5])}] == each.endings
    assert text_of(resumed.events) == ""
    again = stage.produce(redis_server, "killed", take_over=True)
    assert again.line() == "refused"


def test_a_producer_that_leaves_says_so(redis_server: RedisServer, stage: Stage) -> None:
    """Readers need not wait for the lease of a process that has ended in an orderly way."""
    assert program("leave", redis_server.url, "left").finish() == 0
    reader = stage.read(redis_server, "left")
    reader.take_all()
    assert [{"end": "StreamInterruptedError", "partial": "a"}] == reader.endings


def test_a_second_producer_is_refused(redis_server: RedisServer, llm_server: LLMServer, stage: Stage) -> None:
    """Before it asks the vendor for anything, and whether the first one is at work or done."""
    gate = Gate()
    llm_server.enqueue(Reply(pieces=PIECES, gate=gate))
    first = stage.produce(redis_server, "claimed")
    assert first.line() == "published"
    assert stage.produce(redis_server, "claimed", take_over=True).line() == "refused"
    gate.open()
    assert first.line() == "completed NoneType"
    assert stage.produce(redis_server, "claimed").line() == "refused"
    assert len(llm_server.requests) == 1


def test_a_producer_that_was_frozen_cannot_interleave(
    redis_server: RedisServer, llm_server: LLMServer, stage: Stage
) -> None:
    """Another has taken over meanwhile: the first one is told, closes its connection, and has written nothing more."""
    gates = Gate(3), Gate(0)
    for name, gate in zip("ab", gates, strict=True):
        llm_server.enqueue(Reply(pieces=[f"{name}{n} " for n in range(6)], gate=gate))
    first = stage.produce(redis_server, "frozen", lease=6)
    assert first.line() == "published"
    reader = stage.read(redis_server, "frozen")
    reader.take_text("a0 a1 a2 ")
    first.signal(signal.SIGSTOP)
    with redis.Redis.from_url(redis_server.url) as client:
        _wait_until_gone(client, "rxllm:{frozen}:lease")
    second = stage.produce(redis_server, "frozen", lease=60, take_over=True)
    assert second.line() == "published"
    gates[0].open()
    gates[1].release(3)
    reader.take_text("a0 a1 a2 b0 b1 b2 ")
    first.signal(signal.SIGCONT)
    assert first.line() == "failed StreamTakenError"
    gates[1].open()
    assert second.line() == "completed NoneType"
    reader.take_all()
    assert reader.text == "a0 a1 a2 b0 b1 b2 b3 b4 b5 "
    assert [type(event).__name__ for event in reader.events].count("StreamReset") == 1
    assert ["NoneType"] == [ending["end"] for ending in reader.endings]


def _wait_until_gone(client: redis.Redis, key: str) -> None:
    """Until a key has run out: Redis says when a blocking read on another key has waited."""
    while (left := int(client.pttl(key))) > 0:
        client.blpop(["nothing-is-ever-here"], timeout=min(left / 1000, 1))  # redis-py itself waits 5 s


@pytest.mark.parametrize("lease_runs_out", [False, True])
def test_a_restarted_redis_loses_nothing(
    durable_redis: RedisServer, llm_server: LLMServer, stage: Stage, lease_runs_out: bool
) -> None:
    """Killed and started again in mid-stream, twice, whether or not the lease runs out meanwhile."""
    gate = Gate()
    llm_server.enqueue(Reply(pieces=PIECES, gate=gate))
    producer = stage.produce(durable_redis, "restarted", lease=10)
    assert producer.line() == "published"
    reader = stage.read(durable_redis, "restarted")
    for n in (100, 200):
        gate.release(50)
        reader.take_text("".join(PIECES[: n - 50]))
        durable_redis.kill()
        gate.release(50)
        gate.wait_until_reached(LIMIT)
        durable_redis.start()
        if lease_runs_out:
            with redis.Redis.from_url(durable_redis.url) as client:
                client.delete("rxllm:{restarted}:lease")
        reader.take_text("".join(PIECES[:n]))
    gate.open()
    assert producer.line() == "completed NoneType"
    late = stage.read(durable_redis, "restarted")
    for each in (reader, late):
        each.take_all()
        assert_whole(each.events, TEXT)
        assert ["NoneType"] == [ending["end"] for ending in each.endings]


def test_a_redis_that_comes_back_empty_is_told_everything_again(
    redis_server: RedisServer, llm_server: LLMServer, stage: Stage
) -> None:
    """Its producer still has it all; a reader goes on where it was, and a new one gets everything."""
    gate = Gate()
    llm_server.enqueue(Reply(pieces=PIECES, gate=gate))
    producer = stage.produce(redis_server, "emptied", lease=5)
    assert producer.line() == "published"
    reader = stage.read(redis_server, "emptied")
    gate.release(100)
    reader.take_text("".join(PIECES[:100]))
    redis_server.kill()
    gate.release(100)
    gate.wait_until_reached(LIMIT)
    redis_server.start()
    reader.take_text("".join(PIECES[:200]))
    gate.open()
    assert producer.line() == "completed NoneType"
    late = stage.read(redis_server, "emptied")
    for each in (reader, late):
        each.take_all()
        assert_whole(each.events, TEXT)


FORK = """
import os, sys
from reactivex.subject import Subject
from rxllm.events import TextDelta
from rxllm.relay import cancel, publish

url = sys.argv[1]
source = Subject()
publication = publish(source, "parents", redis=url)
child = os.fork()
if child == 0:
    own = publish(Subject(), "childs", redis=url, lease=600)  # it asks Redis by itself only after minutes
    cancel("childs", redis=url)
    assert own.wait(60)
    assert own.state == "cancelled"
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
source.on_next(TextDelta("a"))
source.on_completed()
assert publication.wait(60)
assert publication.state == "completed", publication.error
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only POSIX forks")
def test_a_forked_process_publishes_too(redis_server: RedisServer) -> None:
    """A cancellation reaches its streams at once, and its end leaves those of its parent alone."""
    # From 3.12 on, Python warns of every fork in a process that has threads.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, redis_server.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
