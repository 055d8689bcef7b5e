"""What a checkpoint knows of jobs at the vendor: which exist, and which prompts are in them.

A job is noted before it is created and gets its id afterwards. So a job that was created by a process that died in
between is found again, and no prompt is submitted twice.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

import msgspec

from ..._schema import decoder
from ..checkpoint import Checkpoint
from ..rows import Key, Settled
from .api import NotedJob

_SCHEMA = """
CREATE TABLE IF NOT EXISTS vendor_jobs (
    token TEXT PRIMARY KEY NOT NULL, job TEXT, prepared BLOB NOT NULL, count INTEGER NOT NULL, noted REAL NOT NULL);
CREATE TABLE IF NOT EXISTS vendor_prompts (
    custom_id TEXT PRIMARY KEY NOT NULL, token TEXT NOT NULL, key NOT NULL UNIQUE, prompt BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS vendor_prompts_of_job ON vendor_prompts (token);
"""


class PendingPrompt(msgspec.Struct, frozen=True):
    """A prompt in a job."""

    custom_id: str
    key: Key
    position: int
    digest: bytes
    columns: dict[str, object]
    wants_json: bool
    has_own_format: bool = False
    """Whether its own options have a `response_format`: then its answer is not of the model's type."""


class PendingJobs:
    """The jobs in a checkpoint. To be used by the thread of the checkpoint."""

    def __init__(self, file: Checkpoint) -> None:
        self._file = file
        self._noted: set[str] = set()
        """Tokens of the jobs that this run has noted."""
        for statement in _SCHEMA.split(";"):
            file.execute(statement)

    def jobs(self) -> list[NotedJob]:
        """Return all jobs, oldest first."""
        found = self._file.execute("SELECT token, job, prepared, count, noted FROM vendor_jobs ORDER BY noted")
        return [NotedJob(*row) for row in found]

    def note(self, token: str, prepared: bytes, prompts: Sequence[PendingPrompt]) -> NotedJob:
        """Store a job that is about to be created; it is on disk, synced, when this returns."""
        self._noted.add(token)
        job = NotedJob(token, None, prepared, len(prompts), time.time())
        with self._file.transaction():
            values = job.token, job.job, job.prepared, job.count, job.noted
            self._file.execute("INSERT INTO vendor_jobs VALUES (?, ?, ?, ?, ?)", *values)
            for prompt in prompts:
                row = prompt.custom_id, token, prompt.key, msgspec.json.encode(prompt)
                self._file.execute("INSERT OR REPLACE INTO vendor_prompts VALUES (?, ?, ?, ?)", *row)
        self._file.execute("PRAGMA wal_checkpoint(FULL)")
        return job

    def created(self, noted: NotedJob, job: str | None) -> None:
        """Store the id of a job, or None if it must be created again."""
        noted.job, noted.sought = job, None
        with self._file.transaction():
            self._file.execute("UPDATE vendor_jobs SET job = ? WHERE token = ?", job, noted.token)

    def forget(self, token: str) -> None:
        """Remove a job and its prompts."""
        with self._file.transaction():
            self._file.execute("DELETE FROM vendor_prompts WHERE token = ?", token)
            self._file.execute("DELETE FROM vendor_jobs WHERE token = ?", token)

    def submitted_by(self, key: Key, digest: bytes) -> Literal["this run", "an earlier run"] | None:
        """Return which run has submitted the prompt, which has no row yet; None: none has.

        A prompt of an earlier run under the same key that differs is another: the new one takes its place.
        """
        found = self._file.execute("SELECT token, prompt FROM vendor_prompts WHERE key = ?", key).fetchone()
        if found is not None and found[0] in self._noted:
            return "this run"
        return "an earlier run" if found is not None and _prompt_in(found[1]).digest == digest else None

    def prompt(self, token: str, custom_id: str) -> PendingPrompt | None:
        """Return a prompt of a job; None if it has its row, or is in no such job."""
        query = "SELECT prompt FROM vendor_prompts WHERE token = ? AND custom_id = ?"
        found = self._file.execute(query, token, custom_id).fetchone()
        return None if found is None else _prompt_in(found[0])

    def prompts_of(self, token: str, limit: int) -> list[PendingPrompt]:
        """Return prompts of a job that have no row yet."""
        found = self._file.execute("SELECT prompt FROM vendor_prompts WHERE token = ? LIMIT ?", token, limit)
        return [_prompt_in(row[0]) for row in found]

    def count(self) -> int:
        """Return how many prompts have no row yet."""
        return int(self._file.execute("SELECT count(*) FROM vendor_prompts").fetchone()[0])

    def settle(self, token: str, rows: Sequence[Settled]) -> None:
        """Write the rows of a job, and remove their prompts, in one commit."""
        with self._file.transaction():
            self._file.insert(rows)
            for settled in rows:
                self._file.execute("DELETE FROM vendor_prompts WHERE token = ? AND key = ?", token, settled.key)


_prompt_in = decoder(PendingPrompt).decode
