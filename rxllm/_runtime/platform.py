"""What differs between operating systems. Each such act is one function or constant of this module.

The rest of the package is portable. `IS_WINDOWS` is looked up at each call, so a test can substitute another system.
"""

from __future__ import annotations

import errno
import io
import os
import select
import selectors
import socket
import struct
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

fcntl: ModuleType | None
resource: ModuleType | None
termios: ModuleType | None
try:
    import fcntl
    import resource
    import termios
except ImportError:  # Windows
    fcntl = resource = termios = None

IS_WINDOWS = os.name == "nt"

HAS_SYSTEM_PROXIES = sys.platform in ("darwin", "win32")
"""The system's settings may name a proxy. Elsewhere only environment variables do."""

CONNECT_CHECK_SECONDS = 0.5 if sys.platform == "linux" else 0.02
"""Seconds between checks for an abort while a socket connects.

On Linux `shutdown` ends the attempt and wakes its thread at once, so this is only a second line of defence. macOS and
Windows refuse it with ENOTCONN until the socket is connected.
"""


def after_fork(reset: Callable[[], None]) -> None:
    """Call `reset` first in each process that is forked from this one: it inherits no threads, but their locks.

    Windows does not fork.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=reset)


class SharedByStreams(Protocol):
    """An object that comes and goes, and whose lock and counts a forked process inherits."""

    def reset_after_fork(self) -> None:
        """Begin with a free lock, and without streams: they are the parent's."""


_shared_by_streams: weakref.WeakSet[SharedByStreams] = weakref.WeakSet()


def reset_in_children(shared: SharedByStreams) -> None:
    """Call `shared.reset_after_fork` in each process that is forked from this one, for as long as `shared` exists."""
    _shared_by_streams.add(shared)


def _reset_shared() -> None:
    for shared in tuple(_shared_by_streams):
        shared.reset_after_fork()


after_fork(_reset_shared)

has_forked = False
"""A forked process may have this one's sockets open."""


def _note_fork() -> None:
    global has_forked
    has_forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_note_fork)


def small_selector() -> selectors.BaseSelector:
    """Return a selector that needs no descriptor of its own, for a few sockets."""
    return getattr(selectors, "PollSelector", selectors.SelectSelector)()


class _Poll:
    """`select.epoll`, as far as it is used here, for systems that have another selector."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self.close = self._selector.close
        self.unregister = self._selector.unregister

    def register(self, fd: int, _: int) -> None:
        """Watch a descriptor, or watch it again: it may be another file's now."""
        if fd in self._selector.get_map():
            self._selector.unregister(fd)
        self._selector.register(fd, selectors.EVENT_READ)

    def poll(self, seconds: float) -> list[tuple[int, int]]:
        return [(key.fd, events) for key, events in self._selector.select(seconds)]


READABLE = getattr(select, "EPOLLIN", 1)
open_poll: Callable[[], Any] = getattr(select, "epoll", _Poll)
"""Opens a selector for many sockets. Python's own `selectors` take as long to report a socket as to read it."""

POLL_SECONDS = 0.5 if selectors.DefaultSelector.__name__ in ("EpollSelector", "KqueueSelector") else 0.02
"""How long a selector waits. With epoll and kqueue, one that waits already sees a socket that another thread adds."""


def max_selected_sockets() -> float:
    """Return how many sockets one selector can watch.

    On Windows it is `select`, which CPython builds for 512.
    """
    return 512 if IS_WINDOWS else float("inf")


def is_readable(sock: socket.socket) -> bool:
    """Return whether the raw socket has data, or its end; True also if it is closed."""
    try:
        with small_selector() as selector:
            selector.register(sock.fileno(), selectors.EVENT_READ)
            return bool(selector.select(0))
    except (OSError, ValueError):
        return True


def is_closed_by_peer(sock: socket.socket) -> bool:
    """Return whether the peer has closed the connection. Bytes that wait to be read do not count, and stay.

    Windows has no flag for a read that does not block, so another thread may read between the check and the read.
    """
    try:
        flags = socket.MSG_PEEK | getattr(socket, "MSG_DONTWAIT", 0)
        return is_readable(sock) and sock.recv(1, flags) == b""
    except (BlockingIOError, InterruptedError):
        return False
    except ValueError:  # TLS, which knows no flags
        return sock.fileno() < 0
    except OSError:
        return True


def connect_error(code: int) -> OSError:
    """Return the error of a connection attempt. On Windows `os.strerror` knows no codes of sockets."""
    return OSError(code, getattr(socket, "errorTab", {}).get(code) or os.strerror(code))


def socket_options() -> list[tuple[int, int, int]]:
    """Return the options of each socket: no delay, and keepalive that finds a dead peer after about 2 minutes.

    An idle connection sends a probe every 45 seconds, before a NAT gateway drops it (Google Cloud: 120 s, AWS: 350 s).
    """
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in (("TCP_KEEPIDLE", 45), ("TCP_KEEPALIVE", 45), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 5)):
        if hasattr(socket, name):  # TCP_KEEPALIVE is the name of TCP_KEEPIDLE on macOS
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return options


def has_unsent(sock: socket.socket) -> bool:
    """Return whether bytes wait for the peer to read or acknowledge them; True also where the system does not say."""
    if fcntl is None or termios is None:
        return True
    try:
        return any(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))
    except OSError:  # macOS knows this only of terminals
        return True


def reset_when_closed(sock: socket.socket) -> None:
    """Make `close` send a TCP reset. The two fields of the option are shorter on Windows."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if IS_WINDOWS else "ii", 1, 0))


def child_options() -> Mapping[str, Any]:
    """Return the options of `Popen` for a child process that this process's Ctrl-C and terminal do not reach.

    On Windows it has an invisible console: else a program with windows would open a black one.
    """
    if IS_WINDOWS:
        return {"creationflags": 0x0800_0000}  # CREATE_NO_WINDOW, which only the `subprocess` of Windows has
    return {"start_new_session": True}


def is_running(process: int) -> bool:
    """Return whether a process runs that is not a child of this one. Only for POSIX: on Windows, signal 0 is Ctrl-C."""
    if IS_WINDOWS:
        raise NotImplementedError("Windows cannot look at a process by signal 0")
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def raise_file_limit(most: int) -> int:
    """Raise the limit of open files towards `most`; return the limit. Windows has none for sockets."""
    if resource is None:
        return most
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (ValueError, OSError):  # macOS allows fewer than it says
            return int(soft)
    return int(wanted)


def user_folder(kind: Literal["config", "data", "state"]) -> Path:
    """Return the folder of the user for rxllm's files of a kind.

    It is `rxllm` in XDG_CONFIG_HOME, XDG_DATA_HOME or XDG_STATE_HOME. By default it is in ~/.config, ~/.local/share or
    ~/.local/state, and on Windows in %APPDATA% (config) or %LOCALAPPDATA%. A user without a home gets a path that
    cannot exist.
    """
    try:
        home = Path.home()
    except RuntimeError:  # HOME is not set, and the system does not know the user
        home = Path(os.devnull)
    default = home / {"config": ".config", "data": ".local/share", "state": ".local/state"}[kind]
    if IS_WINDOWS:
        default = Path(os.environ.get("APPDATA" if kind == "config" else "LOCALAPPDATA") or default)
    return Path(os.environ.get(f"XDG_{kind.upper()}_HOME") or default) / "rxllm"


def private_file(path: Path) -> Path:
    """Create `path` with mode 600, and its folders, if it does not exist. Return it.

    Windows knows no modes; there, the user's folder keeps other users out.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    return path


def make_text_safe(streams: Iterable[object]) -> None:
    """Make streams of text replace what their encoding lacks, instead of failing inside an answer.

    On Windows a pipe or file has the encoding of the region (such as cp1252). It becomes UTF-8, unless
    PYTHONIOENCODING is set.
    """
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            is_regional = IS_WINDOWS and not stream.isatty() and not os.environ.get("PYTHONIOENCODING")
            stream.reconfigure(encoding="utf-8" if is_regional else None, errors="replace")


def is_closed_pipe(error: OSError) -> bool:
    """Return whether the reader of this process's output has left. Windows says that the argument is invalid."""
    return isinstance(error, BrokenPipeError) or (IS_WINDOWS and error.errno == errno.EINVAL)


def has_input(file: Any, seconds: float) -> bool:
    """Return whether the file or pipe becomes readable within some seconds. On Windows, where that is unknown, True."""
    return IS_WINDOWS or bool(select.select([file], [], [], seconds)[0])
