"""The checkpoint: one row for each prompt in an SQLite file.

A run appends to the file's write-ahead log. A commit survives when the process is killed; one that was interrupted
leaves nothing. The writing process holds the file locked, by a lock that ends with the process; so two runs cannot
share a file, and nothing must be cleaned up after a crash. A power cut may lose the commits of the last second.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias, cast

from .._json import encode
from ..errors import ConfigurationError
from .rows import FailureRow, Key, Row, Settled, row_from_json, row_to_json

Retry: TypeAlias = Literal["none", "transient", "all"]
"""Which failures of earlier runs a run asks again."""

Standing: TypeAlias = Literal["new", "settled", "twice"]

PATIENCE_SECONDS = 6.0
"""Seconds that a disposed run takes at most to store what was ready and to close its file."""

_SYNC_SECONDS = 1.0
"""Seconds between two syncs: a power cut loses no more."""
_MAGIC = 0x52584C42  # "RXLB"
"""The application id in the head of the SQLite file."""
_FORMAT = 1
"""A part of the job's description: a checkpoint in another format is that of another job."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS job (about TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS rows (
    key PRIMARY KEY NOT NULL, position INTEGER NOT NULL, digest BLOB NOT NULL,
    failed INTEGER NOT NULL, run INTEGER NOT NULL, row BLOB NOT NULL);
"""
_ANSWERED, _FAILED, _FAILED_FOR_NOW = 0, 1, 2
"""What `failed` of a row says; the last: by a transient error."""


class Checkpoint:
    """The file of one job, open for one run. For one thread.

    `about` identifies the job; None takes any. The file of another job, a file in use, or one that is not a checkpoint
    is a `ConfigurationError`.
    """

    def __init__(self, path: Path, about: Mapping[str, object] | None, *, patience: float = PATIENCE_SECONDS) -> None:
        self._path = path
        self._synced = time.monotonic()
        with _explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(path, isolation_level=None, timeout=patience, check_same_thread=False)
            try:
                self._prepare(about)
            except BaseException:
                self._file.close()
                raise

    def standing(self, key: Key, digest: bytes, retry: Retry) -> Standing:
        """Return whether the prompt must be asked ("new"), has its row, or occurred before in this run ("twice")."""
        found = self._file.execute("SELECT digest, failed, run FROM rows WHERE key = ?", (key,)).fetchone()
        if found is None:
            return "new"
        if found[2] == self.run:
            return "twice"
        again = found[1] == _FAILED_FOR_NOW if retry == "transient" else found[1] and retry == "all"
        return "new" if found[0] != digest or again else "settled"

    def write(self, rows: Iterable[Settled]) -> None:
        """Store `rows` in one commit, in place of earlier rows with the same keys."""
        with self.transaction():
            self.insert(rows)

    def insert(self, rows: Iterable[Settled]) -> None:
        """Store `rows` as a part of a transaction."""
        self._file.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?, ?)", map(self._values, rows))

    def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        """Run an SQL statement."""
        with _explained(self._path):
            return self._file.execute(statement, values)

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Make one commit of what is written inside."""
        with _explained(self._path):
            with self._file:  # commits or rolls back
                self._file.execute("BEGIN")
                yield
            now = time.monotonic()
            if now - self._synced >= _SYNC_SECONDS:
                self._synced = now
                self._file.execute("PRAGMA wal_checkpoint(PASSIVE)")  # which syncs the log first

    def close(self) -> None:
        """Close the file; later calls do nothing."""
        self._file.close()

    def _values(self, settled: Settled) -> tuple[object, ...]:
        row, outcome = settled.row, _ANSWERED
        if isinstance(row, FailureRow):
            outcome = _FAILED_FOR_NOW if row.transient else _FAILED
        return (row.key, settled.position, settled.digest, outcome, self.run, row_to_json(row))

    def _prepare(self, about: Mapping[str, object] | None) -> None:
        """Lock the file, create its tables if it is new, and check that it belongs to this job."""
        run = self._file.execute
        run("PRAGMA locking_mode = EXCLUSIVE")
        magic = run("PRAGMA application_id").fetchone()[0]
        if magic != _MAGIC and run("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise ConfigurationError(f"{str(self._path)!r} is an SQLite file, but not the checkpoint of a batch")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        run("PRAGMA wal_autocheckpoint = 10000")
        run("BEGIN IMMEDIATE")
        run(f"PRAGMA application_id = {_MAGIC}")
        for statement in _SCHEMA.split(";"):
            run(statement)
        there = run("SELECT about FROM job").fetchone()
        if about is not None and there is None:
            run("INSERT INTO job VALUES (?)", (_job_text(about),))
        self.run: int = run("SELECT coalesce(max(run), 0) + 1 FROM rows").fetchone()[0]
        run("COMMIT")
        if about is not None and there is not None and there[0] != _job_text(about):
            raise ConfigurationError(
                f"{str(self._path)!r} is the checkpoint of another job: {there[0]} there, {_job_text(about)} here. "
                "Use another file, or the key= of that job"
            )


def _job_text(about: Mapping[str, object]) -> str:
    return encode({"format": _FORMAT, **about}).decode()


def read_rows(checkpoint: str | Path, *, patience: float = PATIENCE_SECONDS) -> Iterator[Row]:
    """Yield all rows of a checkpoint, in the order of their prompts; nothing is held in memory.

    Args:
        checkpoint: Path of the file.
        patience: Seconds to wait for a run that has the file open.

    Raises:
        ConfigurationError: There is no checkpoint, or a run still has it open.
    """
    path = Path(checkpoint)
    if not path.is_file():
        raise ConfigurationError(f"there is no checkpoint {str(path)!r}")
    # In a directory that cannot be written, SQLite reads the file only with `immutable`: no run writes it.
    is_fixed = not os.access(path.parent, os.W_OK) and not Path(f"{path}-wal").exists()
    name = f"{path.absolute().as_uri()}?immutable=1" if is_fixed else path  # no URI for a share on Windows
    connect = partial(sqlite3.connect, timeout=patience, check_same_thread=False, uri=is_fixed)
    with _explained(path), closing(connect(name)) as file:
        if file.execute("PRAGMA application_id").fetchone()[0] != _MAGIC:
            raise ConfigurationError(f"{str(path)!r} is not the checkpoint of a batch")
        for (place,) in file.execute("SELECT rowid FROM rows ORDER BY position"):  # sorts numbers, not answers
            found = file.execute("SELECT row FROM rows WHERE rowid = ?", (place,)).fetchone()
            yield row_from_json(cast("bytes", found[0]))


@contextmanager
def _explained(path: Path) -> Generator[None]:
    try:
        yield
    except (sqlite3.DatabaseError, OSError) as error:
        if "locked" in str(error):
            raise ConfigurationError(f"another run has the checkpoint {str(path)!r} open") from error
        raise ConfigurationError(f"the checkpoint {str(path)!r} cannot be used: {error}") from error
