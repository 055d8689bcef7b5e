"""What Redis does to a stream: states that pass, dead connections, failover, a Cluster, missing rights, lost keys."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
from reactivex.subject import Subject
from redis import exceptions as theirs
from redis.backoff import NoBackoff
from redis.retry import Retry

from rxllm.errors import APIConnectionError, OverloadedError, PermissionDeniedError, StreamError
from rxllm.events import Response, StreamEnd, StreamStart, TextDelta, TokenEvent
from rxllm.relay import ProducerLostError, Publication, RedisLog, StreamGoneError, cancel, publish, subscribe
from rxllm.relay._redis import RedisConnections
from rxllm.web.multiprocess.relayed_streams import RelayedStreams

from ..operators.threads import LIMIT, Seen
from .processes import ANY_SERVER, Process, RedisServer, each_server, needs_redis, text_of

pytestmark = [needs_redis, pytest.mark.timeout(6 * LIMIT)]


class Relayed:
    """A stream that a test feeds, its publication, and a reader."""

    def __init__(
        self, address: Any, reader: Any = None, stream: str = "s", *, patience: float = LIMIT, **options: Any
    ) -> None:
        self.source: Subject[TokenEvent] = Subject()
        self.text = ""
        self.publication: Publication = publish(self.source, stream, redis=address, patience=patience, **options)
        self.seen = Seen()
        subscribe(stream, redis=reader or address, patience=patience).subscribe(self.seen)
        self.source.on_next(StreamStart(None, "m"))

    def say(self, text: str) -> None:
        self.text += text
        self.source.on_next(TextDelta(text))

    def say_and_see(self, text: str) -> None:
        """Wait until the reader has it."""
        self.say(text)
        eventually(lambda: text_of(self.seen.values) == self.text)

    def end_whole(self) -> None:
        """End it; the reader gets all of it, once."""
        self.source.on_next(StreamEnd(Response(self.text)))
        self.source.on_completed()
        self.seen.wait()
        assert self.seen.error is None
        assert self.text == text_of(self.seen.values)
        assert self.publication.wait(LIMIT)
        assert "completed" == self.publication.state


def eventually(look: Callable[[], object]) -> None:
    """Wait until `look` returns something true; errors of Redis count as not yet."""
    until = time.monotonic() + LIMIT
    while True:
        with contextlib.suppress(theirs.RedisError):
            if look():
                return
        assert time.monotonic() < until
        time.sleep(0.02)


def errors_of(client: redis.Redis) -> int:
    """How many calls the server has refused."""
    stats: Any = client.info("errorstats")
    return sum(int(stat["count"]) for stat in stats.values())


@pytest.fixture(params=each_server)
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A Redis of the test's own, an old one, and Valkey."""
    made = RedisServer(tmp_path, kind=request.param)
    yield made
    made.kill()


class Proxy:
    """A TCP proxy whose connections can be made to swallow all bytes, silently, or to break before a reply."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self.sent: list[bytearray] = []
        """What each connection's client has sent."""
        self.dead: set[int] = set()
        self.word = b""
        self.lost = 0
        """How many further replies, on connections whose client has said `word`, are replaced by a break."""
        self._changed = threading.Condition()
        self._sockets: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def those(self, word: bytes) -> set[int]:
        """Connections whose client has said `word`."""
        with self._changed:
            return {number for number, sent in enumerate(self.sent) if word in sent}

    def close(self) -> None:
        with self._changed:
            for each in self._sockets:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self.port))
                with self._changed:
                    number = len(self.sent)
                    self.sent.append(bytearray())
                    self._sockets += [client, server]
                for pair in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pump, args=(number, *pair), daemon=True).start()

    def _pump(self, number: int, source: socket.socket, target: socket.socket, is_client: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                with self._changed:
                    if is_client:
                        self.sent[number] += data[:500]
                    elif self.lost and self.word in self.sent[number]:
                        self.lost -= 1
                        break
                if number not in self.dead:
                    target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    """In front of the server."""
    made = Proxy(server.port)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("fault", "heal"),
    [
        pytest.param("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", id="OOM"),
        pytest.param("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0", id="NOREPLICAS"),
        pytest.param("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", id="READONLY"),
    ],
)
def test_a_state_that_passes_is_waited_out(server: RedisServer, fault: str, heal: str) -> None:
    """Redis refuses writes for a while; producer and reader continue when it takes them again."""
    client = redis.Redis(port=server.port)
    relayed = Relayed(server.url)
    relayed.say_and_see("before ")
    before = errors_of(client)
    client.execute_command(*fault.split())
    relayed.say("during ")
    eventually(lambda: errors_of(client) > before)
    client.execute_command(*heal.split())
    relayed.say_and_see("after")
    relayed.end_whole()


@pytest.mark.parametrize("kind", [each for each in each_server if each.values != ("redis 6.2",)])
def test_a_server_that_loads_its_data_is_waited_out(tmp_path: Path, kind: str) -> None:
    """LOADING, for some seconds after a restart; then everything is there."""
    durable = (
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--key-load-delay",
        "300",
        "--loading-process-events-interval-bytes",
        "1024",
    )
    server = RedisServer(tmp_path, *durable, kind=kind)
    client = redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0))
    relayed = Relayed(server.url, lease=LIMIT)
    relayed.say_and_see("before ")
    client.execute_command("EVAL", "for i = 1, 50000 do redis.call('SET', 'x' .. i, i) end", 0)
    server.kill()
    relayed.say("during ")
    server.start(awaited="")  # its first line
    refused = 0
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        try:
            client.ping()
        except theirs.BusyLoadingError:
            refused += 1
            with contextlib.suppress(theirs.RedisError):
                if client.info("errorstats")["errorstat_LOADING"]["count"] > refused:  # the relay was refused too
                    client.config_set("key-load-delay", 0)
        except theirs.RedisError:
            pass
        else:
            break
    assert refused > 0
    relayed.say_and_see("after")
    relayed.end_whole()
    server.kill()


def test_a_server_without_room_for_clients_is_waited_out(server: RedisServer, proxy: Proxy) -> None:
    """Connections are cut, and new ones are refused for a while."""
    client = redis.Redis(port=server.port)
    relayed = Relayed(proxy.url)
    relayed.say_and_see("before ")
    client.config_set("maxclients", 1)
    refused = int(client.info("stats")["rejected_connections"])
    client.client_kill_filter(_type="normal", skipme=True)
    relayed.say("during ")
    eventually(lambda: int(client.info("stats")["rejected_connections"]) > refused)
    client.config_set("maxclients", 1000)
    relayed.say_and_see("after")
    relayed.end_whole()


def test_a_server_that_pauses_is_waited_out(server: RedisServer) -> None:
    """CLIENT PAUSE for longer than calls of this lease wait."""
    relayed = Relayed(server.url, lease=6.0)
    relayed.say_and_see("before ")
    redis.Redis(port=server.port).execute_command("CLIENT", "PAUSE", 3000)
    relayed.say_and_see("after")
    relayed.end_whole()


def test_a_name_that_moves_to_the_new_master_is_followed(server: RedisServer, proxy: Proxy, tmp_path: Path) -> None:
    """As in managed services: the old master stays reachable, and is read-only."""
    (tmp_path / "new").mkdir()
    new = RedisServer(tmp_path / "new")
    relayed = Relayed(proxy.url)
    relayed.say_and_see("before ")
    proxy.port = new.port
    redis.Redis(port=server.port).execute_command("REPLICAOF", "127.0.0.1", str(new.port))
    relayed.say_and_see("after")
    relayed.end_whole()
    new.kill()


@pytest.mark.parametrize("kind", each_server)
def test_a_reader_on_a_replica(tmp_path: Path, kind: str) -> None:
    """It follows; of a producer that is lost it learns too, though it cannot end the stream."""
    for name in ("master", "replica"):
        (tmp_path / name).mkdir()
    master = RedisServer(tmp_path / "master", "--repl-diskless-sync-delay", "0", kind=kind)
    replica = RedisServer(tmp_path / "replica", "--replicaof", "127.0.0.1", str(master.port), kind=kind)
    try:
        relayed = Relayed(master.url, replica.url)
        relayed.say_and_see("hello ")
        relayed.say_and_see("again")
        relayed.end_whole()
        lost = Relayed(master.url, stream="lost", lease=1.0, patience=1.0)
        lost.say("some text")
        seen = Seen()
        subscribe("lost", redis=replica.url, patience=2.0).subscribe(seen)
        eventually(lambda: text_of(seen.values) == "some text")
        master.kill()  # and with it all news of the producer
        seen.wait()
        assert isinstance(seen.error, ProducerLostError)
        assert seen.error.partial is not None
        assert "some text" == seen.error.partial.text
        assert lost.publication.wait(LIMIT)
        lost.seen.wait()
    finally:
        replica.kill()
        with contextlib.suppress(Exception):
            master.kill()


def test_a_long_script_of_another_client_is_waited_out(server: RedisServer) -> None:
    """BUSY, until somebody kills the script."""
    client = redis.Redis(port=server.port)
    client.config_set("lua-time-limit", 1)
    relayed = Relayed(server.url)
    relayed.say_and_see("before ")

    def loop() -> None:
        with contextlib.suppress(theirs.RedisError), redis.Redis(port=server.port, socket_timeout=LIMIT) as other:
            other.eval("while true do end", 0)

    thread = threading.Thread(target=loop)
    thread.start()

    def is_busy() -> bool:
        try:
            client.get("x")
        except theirs.RedisError as error:
            return "BUSY" in str(error)
        return False

    eventually(is_busy)
    relayed.say("during ")
    client.execute_command("SCRIPT", "KILL")
    thread.join(LIMIT)
    relayed.say_and_see("after")
    relayed.end_whole()


@pytest.mark.parametrize("key", ["state", "log", "lease"])
def test_an_evicted_key_is_written_again(server: RedisServer, key: str) -> None:
    """Whichever of a stream's three keys Redis drops, no event is lost."""
    client = redis.Redis(port=server.port)
    relayed = Relayed(server.url, lease=2.0)
    relayed.say_and_see("before ")
    client.delete(f"rxllm:{{s}}:{key}")
    relayed.say_and_see("after")
    relayed.end_whole()


def test_a_stream_whose_keys_are_all_deleted_is_written_again(server: RedisServer) -> None:
    """While a reader blocks on it: the new log continues where the reader is."""
    client = redis.Redis(port=server.port)
    relayed = Relayed(server.url, lease=3.0)
    for word in ("one ", "two ", "three "):
        relayed.say_and_see(word)
    client.delete(*(f"rxllm:{{s}}:{part}" for part in ("state", "lease", "log")))
    relayed.say_and_see("after")
    relayed.end_whole()


def test_keys_that_cannot_be_written_again(server: RedisServer) -> None:
    """The producer repeats its attempts with delays, as others, and gives up after its patience."""
    client = redis.Redis(port=server.port)
    relayed = Relayed(server.url, lease=2.0, patience=1.0)
    relayed.say_and_see("before ")
    client.config_set("maxmemory", 1)
    client.delete(*(f"rxllm:{{s}}:{part}" for part in ("state", "lease", "log")))
    before = errors_of(client)
    relayed.say("during")
    assert relayed.publication.wait(LIMIT)
    assert isinstance(relayed.publication.error, APIConnectionError)
    assert 1 < errors_of(client) - before < 100
    relayed.seen.wait()
    assert isinstance(relayed.seen.error, StreamGoneError)


def test_an_entry_that_is_deleted_costs_no_busy_loop(server: RedisServer) -> None:
    """A blocking XREAD behind a deleted entry returned at once in old versions of Redis."""
    client = redis.Redis(port=server.port)
    relayed = Relayed(server.url)
    relayed.say_and_see("before ")
    (last, _), *_ = client.xrevrange("rxllm:{s}:log", count=1)
    client.xdel("rxllm:{s}:log", last)
    late = Seen()
    subscribe("s", redis=server.url, last_id=int(last.split(b"-")[0]) - 1).subscribe(late)
    client.config_resetstat()
    time.sleep(1.0)  # the count below is for one second: a busy loop makes thousands of calls
    assert int(client.info("commandstats").get("cmdstat_xread", {}).get("calls", 0)) < 20
    relayed.say_and_see("after")
    relayed.end_whole()
    late.wait()
    assert isinstance(late.error, StreamGoneError)


def test_from_now_on_misses_nothing_between_reads(server: RedisServer) -> None:
    """Unlike XREAD with $: events that arrive between two reads of a silent stream count."""
    relayed = Relayed(server.url)
    relayed.say_and_see("before ")
    later = Seen()
    subscribe("s", redis=server.url, from_start=False).subscribe(later)
    client = redis.Redis(port=server.port)
    eventually(lambda: int(client.info("clients")["blocked_clients"]) == 2)
    for word in ("a ", "b ", "c "):
        time.sleep(1.1)  # longer than a read blocks
        relayed.say_and_see(word)
    relayed.end_whole()
    later.wait()
    assert "a b c " == text_of(later.values)


def test_a_foreign_entry_is_a_typed_error(server: RedisServer) -> None:
    """Another program wrote to the log: both ends say so."""
    client = redis.Redis(port=server.port)
    relayed = Relayed(server.url)
    relayed.say_and_see("before ")
    client.xadd("rxllm:{s}:log", {"hello": "x"}, id=f"{10**6}-0")
    relayed.seen.wait()
    assert isinstance(relayed.seen.error, StreamError)
    assert "did not write" in str(relayed.seen.error)
    relayed.publication.dispose()
    assert relayed.publication.wait(LIMIT)


def test_a_cancellation_arrives_though_the_subscription_died_silently(server: RedisServer, proxy: Proxy) -> None:
    """The pub/sub connection is pinged; a lease of ten minutes would tell nothing."""
    relayed = Relayed(proxy.url, server.url, lease=600.0)
    eventually(lambda: proxy.those(b"SUBSCRIBE"))
    proxy.dead |= proxy.those(b"SUBSCRIBE")
    cancel("s", redis=server.url)
    assert relayed.publication.wait(LIMIT)
    assert "cancelled" == relayed.publication.state
    relayed.seen.wait()


@pytest.mark.parametrize("who", ["producer", "reader"])
def test_a_connection_that_died_silently_is_replaced(server: RedisServer, proxy: Proxy, who: str) -> None:
    """The producer before its lease expires, the reader within seconds."""
    relayed = Relayed(*((proxy.url, server.url) if who == "producer" else (server.url, proxy.url)), lease=6.0)
    relayed.say_and_see("before ")
    proxy.dead |= set(range(len(proxy.sent)))
    relayed.say_and_see("after")
    relayed.end_whole()


@pytest.mark.parametrize("lost", [1, 2])
def test_a_question_is_used_once_though_the_reply_is_lost(server: RedisServer, proxy: Proxy, lost: int) -> None:
    """The process that has marked it, without hearing so, may use it; no other may, and not twice."""
    streams, other = RelayedStreams(proxy.url), RelayedStreams(server.url)
    assert streams.close_questions("s", ["script is loaded"], "denied")
    streams.open_question("s", "c")
    proxy.word, proxy.lost = b"\r\nused", lost
    if lost == 2:  # the second one is that of the call's own repetition
        with pytest.raises(OverloadedError):
            streams.close_questions("s", ["c"], "used")
        assert not other.close_questions("s", ["c"], "used")
        assert not streams.close_questions("s", ["c"], "approved")
    assert streams.close_questions("s", ["c"], "used")
    assert proxy.lost == 0
    for each in (streams, other):
        assert not each.close_questions("s", ["c"], "used")


def test_all_producers_of_a_process_share_connections(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """And none is left when they have ended."""
    lock, reserve = threading.Lock(), RedisConnections._connection
    calls = most = 0

    @contextlib.contextmanager
    def counted(self: RedisConnections, pool: Any) -> Iterator[Any]:
        nonlocal calls, most
        with lock:
            calls += 1
            most = max(most, calls)
        try:
            with reserve(self, pool) as connection:
                yield connection
        finally:
            with lock:
                calls -= 1

    monkeypatch.setattr(RedisConnections, "_connection", counted)
    client = redis.Redis(port=server.port)
    before = int(client.info("clients")["connected_clients"])
    sources: list[Subject[TokenEvent]] = [Subject() for _ in range(20)]
    publications = [publish(source, f"p{n}", redis=server.url, lease=LIMIT) for n, source in enumerate(sources)]
    # One that listens, and no more than calls have run at a time. Alone, each producer has two.
    assert int(client.info("clients")["connected_clients"]) - before <= 1 + most
    for source, publication in zip(sources, publications, strict=True):
        source.on_completed()
        assert publication.wait(LIMIT)
    eventually(lambda: int(client.info("clients")["connected_clients"]) <= before)


RIGHTS = "evalsha eval xread xadd hmget hset del pexpire pttl exists set publish subscribe unsubscribe"


def test_the_documented_rights_are_enough(server: RedisServer) -> None:
    """Publish, follow, cancel; a missing one is a PermissionDeniedError at once, also inside a script."""
    client = redis.Redis(port=server.port)
    rights = [f"+{right}" for right in RIGHTS.split()]
    client.execute_command(
        "ACL", "SETUSER", "app", "on", ">pw", "resetchannels", "&rxllm:*", "~rxllm:*", "-@all", *rights
    )
    address = f"redis://app:pw@127.0.0.1:{server.port}/0"
    relayed = Relayed(address)
    relayed.say_and_see("all of it")
    relayed.end_whole()
    idle = publish(Subject[TokenEvent](), "idle", redis=address)
    cancel("idle", redis=address)
    assert idle.wait(LIMIT)
    deaf = publish(Subject[TokenEvent](), "deaf", redis=address, lease=2.0)
    client.execute_command("ACL", "SETUSER", "app", "resetchannels")
    with pytest.raises(PermissionDeniedError):
        cancel("deaf", redis=address)
    assert deaf.wait(LIMIT)  # its end was written before the message was refused
    client.execute_command("ACL", "SETUSER", "app", "&rxllm:*", "-hset")
    with pytest.raises(PermissionDeniedError):
        publish(Subject[TokenEvent](), "other", redis=address)
    with pytest.raises(PermissionDeniedError):
        publish(Subject[TokenEvent](), "other", redis=address.replace("pw", "wrong"))


def test_a_long_stream_is_kept_whole(server: RedisServer) -> None:
    """20,000 entries: read elsewhere from the beginning, and from the middle."""
    source: Subject[TokenEvent] = Subject()
    publication = publish(source, "long", redis=server.url, frame=0)
    client = redis.Redis(port=server.port)
    for number in range(20_000):
        source.on_next(TextDelta(f"{number} "))
        if number % 20 == 0:  # so that there are many entries
            time.sleep(0)
    source.on_completed()
    assert publication.wait(LIMIT)
    assert int(client.xlen("rxllm:{long}:log")) > 10
    seen, rest = Seen(), Seen()
    subscribe("long", redis=server.url).subscribe(seen)
    subscribe("long", redis=server.url, last_id=15_000).subscribe(rest)
    seen.wait()
    rest.wait()
    assert "".join(f"{n} " for n in range(20_000)) == text_of(seen.values)
    assert "".join(f"{n} " for n in range(15_000, 20_000)) == text_of(rest.values)


def test_the_servers_secret_is_stored_again(server: RedisServer) -> None:
    """Redis came back empty: the next stream stores the secret, and a new process uses the same."""
    before = threading.enumerate()
    first = RelayedStreams(server.url)
    redis.Redis(port=server.port).flushall()
    source: Subject[object] = Subject()
    first.open(source, linger=1.0)
    second = RelayedStreams(server.url)
    assert first.secret == second.secret
    source.on_completed()
    # The end must be in Redis before the server goes, or the writer waits for Redis to come back.
    writers = "rxllm-relay-write"
    eventually(lambda: not [t for t in threading.enumerate() if t.name.startswith(writers) and t not in before])


def test_sentinel_names_the_master(tmp_path: Path) -> None:
    """By client and by URL; a failover is survived."""
    for name in ("master", "replica", "sentinel"):
        (tmp_path / name).mkdir()
    master = RedisServer(tmp_path / "master")
    replica = RedisServer(tmp_path / "replica", "--replicaof", f"127.0.0.1 {master.port}")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = tmp_path / "sentinel" / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {config.parent}\nsentinel monitor it 127.0.0.1 {master.port} 1\n"
        "sentinel down-after-milliseconds it 500\nsentinel failover-timeout it 3000\n"
    )
    watcher = Process(str(ANY_SERVER), str(config), "--sentinel")
    try:
        sentinel: Any = redis.Sentinel([("127.0.0.1", port)], socket_timeout=1.0)
        eventually(lambda: sentinel.discover_slaves("it"))
        relayed = Relayed(sentinel.master_for("it"), f"redis+sentinel://127.0.0.1:{port}/it/0", lease=LIMIT)
        relayed.say_and_see("before ")
        copy = redis.Redis(port=replica.port)
        eventually(lambda: int(copy.xlen("rxllm:{s}:log")) > 0)
        master.kill()
        relayed.say_and_see("after")
        relayed.end_whole()
    finally:
        watcher.kill()
        replica.kill()
        with contextlib.suppress(Exception):
            master.kill()


def cluster_of(places: Sequence[Path]) -> list[RedisServer]:
    """Start three servers that share the slots."""
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000")
    nodes = [RedisServer(place, *options) for place in places]
    for number, node in enumerate(nodes):
        slots = range(16_384)[number * 5_462 : (number + 1) * 5_462]
        with redis.Redis(port=node.port) as client:
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            client.execute_command("CLUSTER ADDSLOTS", *slots)
            client.execute_command("CLUSTER MEET", "127.0.0.1", nodes[0].port)
    for node in nodes:
        eventually(lambda node=node: is_cluster_ok(node))
    return nodes


def is_cluster_ok(node: RedisServer) -> object:
    client: Any = redis.Redis(port=node.port)
    return re.search(r"cluster_state\W+ok", str(client.execute_command("CLUSTER INFO")))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    """One for the tests that break nothing."""
    nodes = cluster_of([tmp_path_factory.mktemp("node") for _ in range(3)])
    yield nodes
    for node in nodes:
        node.kill()


def test_a_cluster_that_loses_a_master_is_read_again(tmp_path: Path) -> None:
    """Its replica takes over the keys; producer and reader, which know only the lost server, continue there."""
    places = [tmp_path / f"node{number}" for number in range(4)]
    for place in places:
        place.mkdir()
    nodes = cluster_of(places[:3])
    try:
        master: Any = redis.Redis(port=nodes[0].port)
        spare = RedisServer(places[3], "--cluster-enabled", "yes", "--cluster-node-timeout", "1000")
        nodes.append(spare)
        copy: Any = redis.Redis(port=spare.port)
        copy.execute_command("CLUSTER", "MEET", "127.0.0.1", str(nodes[0].port))
        name = master.execute_command("CLUSTER MYID").decode()
        eventually(lambda: copy.execute_command("CLUSTER", "REPLICATE", name))
        eventually(lambda: copy.info("replication").get("master_link_status") == "up")
        stream = next(f"s{n}" for n in range(1000) if master.execute_command("CLUSTER", "KEYSLOT", f"{{s{n}}}") < 5000)
        relayed = Relayed(f"redis+cluster://127.0.0.1:{nodes[0].port}", stream=stream, lease=LIMIT)
        relayed.say_and_see("before ")
        eventually(
            lambda: (
                int(copy.info("replication")["slave_repl_offset"])
                >= int(master.info("replication")["master_repl_offset"])
            )
        )
        nodes[0].kill()
        relayed.say_and_see("after")
        relayed.end_whole()
    finally:
        for node in nodes:
            with contextlib.suppress(Exception):
                node.kill()


@pytest.mark.parametrize("by", ["client", "cluster URL", "plain URL"])
def test_a_cluster_carries_streams(cluster: list[RedisServer], by: str) -> None:
    """In any slot, whichever server was named; a cancellation arrives too."""
    port = cluster[0].port
    plain = f"redis://127.0.0.1:{port}/0"
    address: Any = {
        "client": lambda: redis.RedisCluster(host="127.0.0.1", port=port),
        "cluster URL": lambda: f"redis+cluster://127.0.0.1:{port}",
        "plain URL": lambda: plain,
    }[by]()
    for number in range(6):
        relayed = Relayed(address, stream=f"{by.replace(' ', '-')}-{number}")
        relayed.say_and_see("hello")
        relayed.end_whole()
    idle = publish(Subject[TokenEvent](), f"idle-{by[:3]}", redis=address)
    cancel(f"idle-{by[:3]}", redis=address)
    assert idle.wait(LIMIT)
    assert "cancelled" == idle.state
    with pytest.raises(StreamGoneError):
        _ = RedisLog("unknown", address).state
