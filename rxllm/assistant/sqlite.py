"""Conversations in an SQLite file, which processes may share."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Self

import msgspec

from .._arguments import check_arguments
from .._schema import decoder
from ..errors import ConfigurationError
from ..messages import Message

log = logging.getLogger("rxllm")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    conversation TEXT NOT NULL,
    position INTEGER NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (conversation, position)
) WITHOUT ROWID
"""
_encode = msgspec.json.Encoder().encode
_decode = decoder(Message).decode


class SQLiteStore:
    """A store in an SQLite file. Thread-safe; processes may share the file. Methods raise `sqlite3.Error`.

    Each row is one message as JSON, by conversation and position. A row that cannot be read is skipped and logged.

    Args:
        path: The file, which is created if it does not exist; ":memory:" keeps conversations until `close`.
        timeout: Seconds to wait for a change by another process.

    Raises:
        ConfigurationError: The file cannot be opened, or is not an SQLite database.

    >>> from rxllm.assistant import Memory
    >>> with SQLiteStore(":memory:") as store:
    ...     Memory(store).add("ada", [Message.user("Hello")])
    ...     store.conversations()
    ['ada']
    """

    @check_arguments
    def __init__(self, path: str | PathLike[str], *, timeout: float = 5.0) -> None:
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:  # its message has no path
            raise ConfigurationError(f"cannot open {path}: {error}") from error
        try:
            self._use_wal(time.monotonic() + timeout)
            self._connection.execute(_SCHEMA)
        except BaseException as error:
            self._connection.close()
            if type(error) is sqlite3.DatabaseError:  # not one of its subclasses, which pass by themselves
                raise ConfigurationError(
                    f"{path} is not an SQLite database, or is damaged ({error}): give the path of another file"
                ) from error
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. May be called twice."""
        with self._lock:
            self._connection.close()

    def conversations(self) -> list[str]:
        """Return the names of all conversations."""
        with self._lock:
            rows = self._connection.execute("SELECT DISTINCT conversation FROM messages ORDER BY 1").fetchall()
        return [name for (name,) in rows]

    def load(self, conversation: str, /) -> tuple[Message, ...]:
        """Return all messages of a conversation.

        Args:
            conversation: The name of the conversation.
        """
        with self._lock:
            return self._load(conversation)

    def append(self, conversation: str, messages: Sequence[Message], /) -> None:
        """Add messages at the end, in one transaction.

        Args:
            conversation: The name of the conversation.
            messages: The messages to add.
        """
        with self._transaction():
            self._insert(conversation, messages)

    def replace(self, conversation: str, old: Sequence[Message], new: Sequence[Message], /) -> bool:
        """Replace the beginning of a conversation, in one transaction; return False if it does not begin with `old`.

        Rows that cannot be read are deleted.

        Args:
            conversation: The name of the conversation.
            old: The messages that the conversation begins with.
            new: The messages to put in their place.
        """
        with self._transaction():
            messages = self._load(conversation)
            if messages[: len(old)] != tuple(old):
                return False
            self._connection.execute("DELETE FROM messages WHERE conversation = ?", (conversation,))
            self._insert(conversation, [*new, *messages[len(old) :]])
            return True

    def _use_wal(self, deadline: float) -> None:
        """Make readers and a writer independent of each other. SQLite does not wait by itself for this change."""
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    @contextmanager
    def _transaction(self) -> Generator[None, None, None]:
        """Hold the lock, and commit what is done inside, or roll it back if that raises."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.rollback()
                raise

    def _load(self, conversation: str) -> tuple[Message, ...]:
        """Return the messages of a conversation without unreadable rows. Must hold the lock."""
        rows = self._connection.execute(
            "SELECT position, message FROM messages WHERE conversation = ? ORDER BY position", (conversation,)
        ).fetchall()
        messages: list[Message] = []
        for position, text in rows:
            try:
                messages.append(_decode(text))
            except (msgspec.DecodeError, TypeError, ValueError, RecursionError) as error:
                log.error("message %d of conversation %r cannot be read: %s", position, conversation, error)
        return tuple(messages)

    def _insert(self, conversation: str, messages: Sequence[Message]) -> None:
        """Add messages behind the last position. Must be called in a transaction."""
        (last,) = self._connection.execute(
            "SELECT coalesce(max(position), -1) FROM messages WHERE conversation = ?", (conversation,)
        ).fetchone()
        self._connection.executemany(
            "INSERT INTO messages VALUES (?, ?, ?)",
            (
                (conversation, position, _encode(message).decode())
                for position, message in enumerate(messages, last + 1)
            ),
        )
