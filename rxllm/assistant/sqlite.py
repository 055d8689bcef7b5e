"""Conversations in an SQLite file: they outlive the process, and processes may share them."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Self

import msgspec

from ..messages import Message

_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    conversation TEXT NOT NULL,
    position INTEGER NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (conversation, position)
) WITHOUT ROWID
"""
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Message).decode


class SQLiteStore:
    """A store in the file at `path`, made where it is not there; ":memory:" keeps nothing.

    Safe under threads and between processes: a change waits up to `timeout` seconds for another
    process's. Raises `sqlite3.Error`. Each row is one message as JSON, by conversation and position.

    >>> from rxllm.assistant import Memory
    >>> with SQLiteStore(":memory:") as store:
    ...     Memory(store).add("ada", [Message.user("Hello")])
    ...     store.conversations()
    ['ada']
    """

    def __init__(self, path: str | PathLike[str], *, timeout: float = 5.0) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
        try:
            # Readers and a writer do not wait for each other.
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute(_SCHEMA)
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Harmless when done twice."""
        with self._lock:
            self._connection.close()

    def conversations(self) -> list[str]:
        """The names of all conversations."""
        with self._lock:
            rows = self._connection.execute("SELECT DISTINCT conversation FROM messages ORDER BY 1").fetchall()
        return [name for (name,) in rows]

    def load(self, conversation: str, /) -> tuple[Message, ...]:
        """All messages of a conversation."""
        with self._lock:
            return self._load(conversation)

    def append(self, conversation: str, messages: Sequence[Message], /) -> None:
        """Add messages at the end, in one transaction."""
        with self._transaction():
            self._insert(conversation, messages)

    def replace(self, conversation: str, old: Sequence[Message], new: Sequence[Message], /) -> bool:
        """Replace the beginning, if it is `old`, in one transaction."""
        with self._transaction():
            messages = self._load(conversation)
            if messages[: len(old)] != tuple(old):
                return False
            self._connection.execute("DELETE FROM messages WHERE conversation = ?", (conversation,))
            self._insert(conversation, [*new, *messages[len(old) :]])
            return True

    @contextmanager
    def _transaction(self) -> Generator[None, None, None]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.rollback()
                raise

    def _load(self, conversation: str) -> tuple[Message, ...]:
        rows = self._connection.execute(
            "SELECT message FROM messages WHERE conversation = ? ORDER BY position", (conversation,)
        ).fetchall()
        return tuple(_decode(text) for (text,) in rows)

    def _insert(self, conversation: str, messages: Sequence[Message]) -> None:
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
