"""What differs between operating systems; the branches of the others run by substitution."""

from __future__ import annotations

import errno
import io
import os
import re
import select
import selectors
import socket
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import rxllm
from rxllm._runtime import platform, reactor
from rxllm._runtime.thread_cache import Workers
from rxllm._transport import connections
from rxllm._transport.connections import Call, CallAborted
from rxllm.testing import LLMServer, Reply, Stall


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this were Windows."""
    monkeypatch.setattr(platform, "IS_WINDOWS", True)
    monkeypatch.delattr(selectors, "PollSelector", raising=False)
    monkeypatch.setattr(selectors, "DefaultSelector", selectors.SelectSelector)
    monkeypatch.delattr(socket, "MSG_DONTWAIT", raising=False)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets."""
    left, right = socket.socketpair()
    with left, right:
        yield left, right


@pytest.fixture(params=["here", "windows"])
def anywhere(request: pytest.FixtureRequest) -> None:
    """This system, then Windows."""
    if request.param == "windows":
        request.getfixturevalue("windows")


@pytest.mark.usefixtures("anywhere")
def test_a_socket_is_looked_at(pair: tuple[socket.socket, socket.socket]) -> None:
    """Data waits, the peer has closed, the socket is closed: without reading, and without a wait."""
    here, there = pair
    assert (platform.is_readable(here), platform.is_closed_by_peer(here)) == (False, False)
    there.sendall(b"next request")
    assert (platform.is_readable(here), platform.is_closed_by_peer(here)) == (True, False)
    assert here.recv(100) == b"next request"
    there.close()
    assert (platform.is_readable(here), platform.is_closed_by_peer(here)) == (True, True)
    here.close()
    assert (platform.is_readable(here), platform.is_closed_by_peer(here)) == (True, True)


@pytest.mark.skipif(platform.IS_WINDOWS, reason="Windows numbers its sockets in another way")
def test_the_number_of_a_socket_is_no_limit() -> None:
    """`select` refuses 1024 and above on POSIX."""
    resource = pytest.importorskip("resource")
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 1200:
        pytest.skip("this process may open fewer than 1,200 files: ulimit -n 4096")
    import fcntl

    here, there = socket.socketpair()
    with there, socket.socket(fileno=fcntl.fcntl(here.detach(), fcntl.F_DUPFD, 1100)) as high:
        assert high.fileno() >= 1100
        assert not platform.is_closed_by_peer(high)
        there.close()
        assert platform.is_closed_by_peer(high)


def run(function: Callable[[], None]) -> None:
    """Call `function` on a thread of its own."""
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


@pytest.mark.usefixtures("windows")
def test_selectors_of_windows_watch_512_sockets(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that does not fit is refused by the reactor, and keeps its own thread."""
    assert platform.max_selected_sockets() == 512
    monkeypatch.setattr(reactor, "max_selected_sockets", lambda: 1)
    watched = reactor.Reactor(lambda: None, Workers())
    done = threading.Event()
    lead = watched.add(pair[0].fileno(), lambda: bool(done.set()), lambda _: None)
    assert lead is not None
    with pytest.raises(OSError, match="as many sockets as it can"):
        watched.add(pair[1].fileno(), lambda: False, lambda _: None)
    pair[1].send(b"x")
    run(lead)
    assert done.is_set()
    lead = watched.add(pair[0].fileno(), lambda: False, lambda _: None)  # there is room again
    assert lead is not None
    run(lead)


@pytest.mark.usefixtures("anywhere")
def test_a_stream_is_stopped_and_its_server_sees_it() -> None:
    """With the selectors and flags of each system, on both sides."""
    with LLMServer(Reply("Hello", fault=Stall(1))) as server:
        model = rxllm.create_streaming_model("openai", model="m", base_url=server.base_url("openai"))
        got = threading.Event()
        stream = model.stream("Hi").subscribe(lambda _: got.set())
        assert got.wait(60)
        stream.dispose()
        assert server.requests[0].closed.wait(60)


def test_a_connection_attempt_ends_where_shutdown_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS and Windows: the thread that connects checks often."""
    monkeypatch.setattr(platform, "CONNECT_CHECK_SECONDS", 0.01)
    call = Call(lambda _: None)

    class Unconnected(socket.socket):
        def connect_ex(self, _: object) -> int:
            threading.Timer(0.05, call.abort).start()
            return errno.EINPROGRESS

        def shutdown(self, _: int) -> None:
            raise OSError(errno.ENOTCONN, "not connected")

    class NeverReady(selectors.SelectSelector):
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            threading.Event().wait(timeout)
            return []

    monkeypatch.setattr(platform, "small_selector", NeverReady)
    monkeypatch.setattr(socket, "socket", Unconnected)
    address = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("192.0.2.1", 9))
    with pytest.raises(CallAborted):
        connections._connect_first([address], lambda _: None, call)


def test_errors_of_windows_sockets_have_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """`os.strerror` does not know their codes."""
    assert platform.connect_error(errno.ECONNREFUSED).strerror == os.strerror(errno.ECONNREFUSED)
    assert isinstance(platform.connect_error(errno.ECONNREFUSED), ConnectionRefusedError)
    monkeypatch.setattr(socket, "errorTab", {10061: "The target refuses."}, raising=False)
    assert platform.connect_error(10061).strerror == "The target refuses."


def test_macos_and_windows_keep_connections_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the names that their sockets have."""
    for name in ("TCP_KEEPIDLE", "TCP_KEEPALIVE", "TCP_KEEPINTVL", "TCP_KEEPCNT"):
        monkeypatch.delattr(socket, name, raising=False)
    assert len(platform.socket_options()) == 2
    monkeypatch.setattr(socket, "TCP_KEEPALIVE", 16, raising=False)
    assert (socket.IPPROTO_TCP, 16, 45) in platform.socket_options()


@pytest.mark.parametrize(("is_windows", "layout"), [(False, "ii"), (True, "hh")])
def test_a_reset_has_the_layout_of_the_system(is_windows: bool, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ints, or two shorts."""
    monkeypatch.setattr(platform, "IS_WINDOWS", is_windows)
    given: list[object] = []
    platform.reset_when_closed(SimpleNamespace(setsockopt=lambda *option: given.extend(option)))  # type: ignore[arg-type]
    assert given == [socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(layout, 1, 0)]


def test_a_child_is_out_of_reach_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session of its own; on Windows a console that cannot be seen."""
    if os.name == "posix":
        done = subprocess.run(
            [sys.executable, "-c", "import os; print(os.getsid(0) == os.getpid())"],
            capture_output=True,
            text=True,
            check=True,
            **platform.child_options(),
        )
        assert done.stdout == "True\n"
    monkeypatch.setattr(platform, "IS_WINDOWS", True)
    assert platform.child_options() == {"creationflags": 0x08000000}


def test_a_process_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one of another user; on Windows never, because signal 0 is Ctrl-C there."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    if os.name == "posix":
        assert platform.is_running(os.getpid())
        assert platform.is_running(1)
        assert not platform.is_running(ended.pid)
    monkeypatch.setattr(platform, "IS_WINDOWS", True)
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("sent"))
    with pytest.raises(NotImplementedError):
        platform.is_running(os.getpid())


class Limits:
    """The module `resource` of a system."""

    RLIMIT_NOFILE, RLIM_INFINITY = 7, -1

    def __init__(self, soft: int, hard: int, refuses: bool = False) -> None:
        self.limit = (soft, hard)
        self._refuses = refuses

    def getrlimit(self, _: int) -> tuple[int, int]:
        """Return the limits."""
        return self.limit

    def setrlimit(self, _: int, limit: tuple[int, int]) -> None:
        """Set the limits, or refuse, as macOS does."""
        if self._refuses:
            raise ValueError("current limit exceeds maximum limit")
        self.limit = limit


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(256, 4096), 4096),
        (Limits(256, -1), 65_536),  # no hard limit
        (Limits(256, -1, refuses=True), 256),  # macOS
        (Limits(100_000, 200_000), 65_536),  # not lowered
        (Limits(-1, -1), 65_536),
        (None, 65_536),  # Windows
    ],
)
def test_the_limit_of_files_is_raised(limits: Limits | None, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as the system allows, and never lowered."""
    before = None if limits is None else limits.limit
    monkeypatch.setattr(platform, "resource", limits)
    assert platform.raise_file_limit(65_536) == expected
    if limits is not None and before is not None:
        assert limits.limit == (expected if before[0] == 256 and not limits._refuses else before[0], before[1])


def test_folders_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """XDG's variables first, then the system's places."""
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "APPDATA", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert platform.user_folder("data") == tmp_path / ".local/share/rxllm"
    monkeypatch.setattr(platform, "IS_WINDOWS", True)
    assert platform.user_folder("config") == tmp_path / ".config/rxllm"
    monkeypatch.setenv("APPDATA", str(tmp_path / "Roaming"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "Local"))
    assert platform.user_folder("config") == tmp_path / "Roaming/rxllm"
    assert platform.user_folder("state") == platform.user_folder("data") == tmp_path / "Local/rxllm"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "mine"))
    assert platform.user_folder("state") == tmp_path / "mine/rxllm"


def test_a_private_file_is_private(tmp_path: Path) -> None:
    """Its mode is 600 where there are modes; its content stays."""
    path = platform.private_file(tmp_path / "a" / "file")
    path.write_text("kept", encoding="utf-8")
    assert platform.private_file(path).read_text(encoding="utf-8") == "kept"
    if not platform.IS_WINDOWS:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_text_never_fails_and_pipes_of_windows_are_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of the code page of the region."""
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    plain, regional = (io.TextIOWrapper(io.BytesIO(), encoding="cp1252", newline="\n") for _ in range(2))
    platform.make_text_safe([plain, None])
    plain.write("höher →\n")
    plain.flush()
    assert plain.buffer.getvalue() == b"h\xf6her ?\n"  # type: ignore[attr-defined]
    monkeypatch.setattr(platform, "IS_WINDOWS", True)
    platform.make_text_safe([regional])
    regional.write("höher →\n")
    regional.flush()
    assert regional.buffer.getvalue().decode() == "höher →\n"  # type: ignore[attr-defined]


def test_the_reader_of_a_pipe_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """EPIPE; on Windows also EINVAL."""
    invalid = OSError(errno.EINVAL, "invalid argument")
    assert platform.is_closed_pipe(BrokenPipeError())
    assert not platform.is_closed_pipe(invalid)
    monkeypatch.setattr(platform, "IS_WINDOWS", True)
    assert platform.is_closed_pipe(invalid)
    assert not platform.is_closed_pipe(OSError(errno.ENOSPC, "full"))


@pytest.mark.skipif(platform.IS_WINDOWS, reason="`select` takes only sockets there")
def test_a_pipe_has_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """A silent pipe has none; Windows cannot say."""
    reader, writer = os.pipe()
    with open(reader, "rb") as file:
        assert not platform.has_input(file, 0)
        os.write(writer, b"x")
        os.close(writer)
        assert platform.has_input(file, 0)
        monkeypatch.setattr(platform, "IS_WINDOWS", True)
        monkeypatch.setattr(select, "select", lambda *_: pytest.fail("asked"))
        assert platform.has_input(file, 0)


def test_a_system_without_fork_needs_no_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to register then."""
    monkeypatch.delattr(os, "register_at_fork", raising=False)
    platform.after_fork(lambda: pytest.fail("called"))


def test_no_other_module_asks_for_the_system() -> None:
    """Except the scheduler for Tk, which has a parameter for it, and the engine's program, which imports nothing."""
    names = (
        r"sys\.platform|os\.name\b|register_at_fork|os\.kill|os\.fork\b|AF_UNIX|(Poll|Select|Default|Epoll)Selector|SO_LINGER"
        r"|MSG_DONTWAIT|import (fcntl|resource|termios|pwd|msvcrt|winreg)|select\.select|creationflags"
        r"|start_new_session|os\.chmod|setrlimit|XDG_|APPDATA|strerror\("
    )
    package = Path(platform.__file__).parents[1]
    found = {
        path.relative_to(package).as_posix(): sorted(
            {match[0] for match in re.finditer(names, path.read_text("utf-8"))}
        )
        for path in package.rglob("*.py")
    }
    expected = {
        "ui/tk.py": ["sys.platform"],
    }
    assert {path: names for path, names in found.items() if names and path != "_runtime/platform.py"} == expected
