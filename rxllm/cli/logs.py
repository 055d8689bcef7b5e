"""The log of the command line: prompts and answers in SQLite, so that a conversation can be continued."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Generator, Sequence
from typing import NamedTuple

from .._runtime.platform import private_file, user_folder
from ..errors import ConfigurationError
from ..events import Response
from ..messages import Message, messages_from_json, messages_to_json

_TABLE = """
CREATE TABLE IF NOT EXISTS answers (
    id INTEGER PRIMARY KEY,
    time REAL NOT NULL,          -- seconds since 1970
    conversation INTEGER,        -- the id of its first answer
    model TEXT NOT NULL,         -- PROVIDER:NAME
    prompt TEXT NOT NULL,
    answer TEXT NOT NULL,
    messages TEXT NOT NULL       -- the whole conversation with this answer, as JSON
)
"""


class LogEntry(NamedTuple):
    """One answer of the log. `time` is in seconds since 1970; `conversation` is the id of its first answer."""

    id: int
    time: float
    conversation: int
    model: str
    prompt: str
    answer: str
    messages: str

    def conversation_messages(self) -> list[Message]:
        """Return the conversation up to this answer. Raises `ConfigurationError` if another version wrote it."""
        try:
            return list(messages_from_json(self.messages))
        except ValueError as error:
            raise ConfigurationError(f"conversation {self.conversation} of the log cannot be read: {error}") from error


class AnswerLog:
    """The log file. Several processes may write to it."""

    def __init__(self) -> None:
        self.path = user_folder("data") / "logs.db"

    def add(self, model: str, messages: Sequence[Message], response: Response, earlier: LogEntry | None) -> None:
        """Store an answer. `earlier` is the entry that it continues. Raises `ConfigurationError` if that fails."""
        text = messages_to_json([*messages, response.message])
        conversation = None if earlier is None else earlier.conversation
        with self._connection() as connection:
            connection.execute(
                "INSERT INTO answers (time, conversation, model, prompt, answer, messages) VALUES (?, ?, ?, ?, ?, ?)",
                (time.time(), conversation, model, messages[-1].text, response.text, text),
            )

    def latest(self, count: int = 1) -> list[LogEntry]:
        """Return the last `count` entries, the newest first."""
        if not self.path.exists():
            return []
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT id, time, coalesce(conversation, id), model, prompt, answer, messages"
                " FROM answers ORDER BY id DESC LIMIT ?",
                (min(count, 1 << 62),),
            ).fetchall()
        return [LogEntry(*row) for row in rows]

    def last(self) -> LogEntry:
        """Return the last entry. Raises `ConfigurationError` if there is none."""
        for entry in self.latest():
            return entry
        raise ConfigurationError("there is no conversation to continue: the log is empty")

    @contextlib.contextmanager
    def _connection(self) -> Generator[sqlite3.Connection]:
        try:
            with contextlib.closing(sqlite3.connect(private_file(self.path), timeout=30)) as connection, connection:
                connection.execute(_TABLE)
                yield connection
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(f"cannot use the log {self.path}: {error}") from error
