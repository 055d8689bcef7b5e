"""The file of a job: what is in it stays, whatever happens to who writes it."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rxllm.batch import AnswerRow, FailureRow, read_rows
from rxllm.batch.checkpoint import Checkpoint
from rxllm.batch.rows import Settled
from rxllm.errors import ConfigurationError
from rxllm.events import Response

from ..operators.threads import LIMIT

JOB: dict[str, object] = {"job": "", "key": None}


def answer(key: int | str, text: str = "yes", position: int | None = None) -> Settled:
    at = position if position is not None else int(key)
    return Settled(at, b"d", AnswerRow(key, Response(text)))


def failure(key: int, *, transient: bool) -> Settled:
    return Settled(key, b"d", FailureRow(key, "ServerError", "no", transient))


def test_what_was_written_is_settled_for_later_runs(tmp_path: Path) -> None:
    """As long as nothing that the answer depends on has changed."""
    path = tmp_path / "deep" / "job.sqlite"
    first = Checkpoint(path, JOB)
    first.write([answer(0)])
    first.close()
    second = Checkpoint(path, JOB)
    assert "settled" == second.standing(0, b"d", "none")
    assert "new" == second.standing(0, b"other", "none")
    assert "new" == second.standing(1, b"d", "none")
    second.close()


def test_a_key_that_comes_twice_in_a_run_is_noticed(tmp_path: Path) -> None:
    """The second would take the row of the first."""
    file = Checkpoint(tmp_path / "job", JOB)
    file.write([answer(0)])
    assert "twice" == file.standing(0, b"other", "none")
    file.close()


@pytest.mark.parametrize(
    ("retry", "asked"), [("none", set[int]()), ("transient", {2}), ("all", {1, 2})], ids=["none", "transient", "all"]
)
def test_failures_are_asked_again_where_that_is_wanted(tmp_path: Path, retry: str, asked: set[int]) -> None:
    """All of them, or those that may pass by themselves."""
    file = Checkpoint(tmp_path / "job", JOB)
    file.write([answer(0), failure(1, transient=False), failure(2, transient=True)])
    file.close()
    file = Checkpoint(tmp_path / "job", JOB)
    assert asked == {key for key in range(3) if file.standing(key, b"d", retry) == "new"}  # type: ignore[arg-type]
    file.close()


def test_a_row_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    """One row for each prompt, in the order of the prompts."""
    for rows in ([answer("b", "old", 1), answer("a", "a", 0)], [answer("b", "new", 1)]):
        file = Checkpoint(tmp_path / "job", JOB)
        file.write(rows)
        file.close()
    assert ["a", "new"] == [row.text for row in read_rows(tmp_path / "job") if isinstance(row, AnswerRow)]


def test_numbers_and_text_are_different_keys(tmp_path: Path) -> None:
    """1 is not "1"."""
    file = Checkpoint(tmp_path / "job", JOB)
    file.write([answer(1), answer("1")])
    file.close()
    assert [1, "1"] == [row.key for row in read_rows(tmp_path / "job")]


def test_another_jobs_file_is_refused(tmp_path: Path) -> None:
    """With both jobs in the message, and the file as it was."""
    Checkpoint(tmp_path / "job", {"job": "mine", "key": "id"}).close()
    with pytest.raises(ConfigurationError, match=r'another job.*"mine".*"id".*"yours"') as raised:
        Checkpoint(tmp_path / "job", {"job": "yours", "key": "id"})
    assert str(tmp_path / "job") in str(raised.value)
    assert "or the key= of that job" in str(raised.value)
    Checkpoint(tmp_path / "job", {"job": "mine", "key": "id"}).close()


def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A database of the user's, or no database at all."""
    other = sqlite3.connect(tmp_path / "other")
    other.execute("CREATE TABLE rows (mine)")
    other.commit()
    other.close()
    (tmp_path / "text").write_text("dear diary " * 1000)
    before = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    for name in ("other", "text"):
        with pytest.raises(ConfigurationError, match=name):
            Checkpoint(tmp_path / name, JOB)
        with pytest.raises(ConfigurationError, match=name):
            list(read_rows(tmp_path / name))
    assert before == [path.read_bytes() for path in sorted(tmp_path.iterdir())]


def test_a_place_that_cannot_be_written_is_a_typed_error() -> None:
    """Such as one below a file."""
    with pytest.raises(ConfigurationError, match="cannot be used"):
        Checkpoint(Path(__file__) / "job", JOB)


def test_reading_what_is_not_there_creates_nothing(tmp_path: Path) -> None:
    """A misspelt name is an error, not an empty job."""
    with pytest.raises(ConfigurationError, match="there is no checkpoint"):
        list(read_rows(tmp_path / "nothing"))
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["job.sqlite", "a b#c%41.sqlite"])
def test_reading_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """An archive, for example: SQLite would create files beside the checkpoint."""
    path = tmp_path / name
    file = Checkpoint(path, JOB)
    file.write([answer(0), answer(1)])
    file.close()

    def refuse(*_: object) -> bool:
        return False

    monkeypatch.setattr("os.access", refuse)  # root may write everywhere
    rows = read_rows(path)
    assert 0 == next(rows).key
    assert [name] == [each.name for each in tmp_path.iterdir()]
    assert [1] == [row.key for row in rows]


def test_two_runs_cannot_have_one_file(tmp_path: Path) -> None:
    """In this process or another; when the first is killed, the file is free."""
    path = tmp_path / "job"
    script = f"""
import pathlib, sys
from rxllm.batch.checkpoint import Checkpoint
file = Checkpoint(pathlib.Path({str(path)!r}), {JOB!r})
print("open", flush=True)
sys.stdin.read()
"""
    other = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        assert b"open\n" == other.stdout.readline()
        with pytest.raises(ConfigurationError, match="another run has the checkpoint"):
            Checkpoint(path, JOB, patience=0)
        with pytest.raises(ConfigurationError, match="another run has the checkpoint"):
            list(read_rows(path, patience=0))
    finally:
        other.kill()
        other.communicate()
    mine = Checkpoint(path, JOB)
    with pytest.raises(ConfigurationError, match="another run has the checkpoint"):
        Checkpoint(path, JOB, patience=0)
    mine.close()


def test_a_file_that_is_given_free_is_waited_for(tmp_path: Path) -> None:
    """A run that was disposed is about to end: who comes after it waits for that."""
    file = Checkpoint(tmp_path / "job", JOB)
    file.write([answer(0)])
    threading.Timer(0.2, file.close).start()
    later = Checkpoint(tmp_path / "job", JOB, patience=LIMIT)
    assert "settled" == later.standing(0, b"d", "none")
    later.close()


def test_a_torn_last_write_costs_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log cut anywhere: what stands is a whole number of commits, from the first on, and can be gone on with."""
    monkeypatch.setattr("rxllm.batch.checkpoint._SYNC_SECONDS", 1e9)
    file = Checkpoint(tmp_path / "job", JOB)
    for batch in range(6):
        file.write([answer(10 * batch + n, "x" * 300) for n in range(10)])
    copies = tmp_path / "copies"
    copies.mkdir()
    log = Path(f"{tmp_path / 'job'}-wal").read_bytes()
    assert len(log) > 10_000
    found = set[int]()
    for cut in [*range(0, len(log), 1999), len(log) - 1]:
        shutil.copy(tmp_path / "job", copies / "job")
        Path(copies / "job-wal").write_bytes(log[:cut] + b"\xff" * 77)
        try:
            again = Checkpoint(copies / "job", JOB)
        except ConfigurationError:
            pytest.fail(f"cut at {cut}, the file cannot be used any more")
        again.write([answer(1000)])
        again.close()
        keys = [row.key for row in read_rows(copies / "job")][:-1]
        assert keys == list(range(len(keys)))
        assert 0 == len(keys) % 10
        found.add(len(keys))
        for path in copies.iterdir():
            path.unlink()
    assert {0, 10, 50} <= found
    file.close()
    assert 60 == len(list(read_rows(tmp_path / "job")))


def test_a_full_disk_is_an_error_that_says_so(tmp_path: Path) -> None:
    """What was written before stands."""
    file = Checkpoint(tmp_path / "job", JOB)
    file.write([answer(0)])
    file._file.execute("PRAGMA max_page_count = 10")
    with pytest.raises(ConfigurationError, match=r"job.*full"):
        file.write([answer(n, "x" * 4000) for n in range(1, 100)])
    file.close()
    assert 0 == next(read_rows(tmp_path / "job")).key
