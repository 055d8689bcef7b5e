"""Rows, as JSON and as Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet
import pytest

from rxllm.batch import AnswerRow, FailureRow, Row, row_from_json, row_to_json, write_parquet
from rxllm.errors import ConfigurationError
from rxllm.events import Response, Timing, Usage

ANSWER = AnswerRow(
    0,
    Response("yes", finish_reason="stop", usage=Usage(3, 1, 4), model="m", timing=Timing(0.1, 0.5)),
    value={"a": [1]},
    columns={"topic": "sky", "tags": ["x"], "text": "mine"},
    tries=2,
)
FAILURE = FailureRow(
    1, "StreamInterruptedError", "cut", True, 200, "req_1", Response("ye", usage=Usage(3, 1)), {"topic": None}, 3
)


@pytest.mark.parametrize("row", [ANSWER, FAILURE, AnswerRow("k", Response())])
def test_a_row_goes_to_json_and_back(row: Row) -> None:
    """With all that is in it."""
    assert row == row_from_json(row_to_json(row))
    assert b"\n" not in row_to_json(row)


def test_every_row_is_a_record(tmp_path: Path) -> None:
    """Answers and failures in one table, kept columns beside ours."""
    import pandas

    assert 2 == write_parquet([ANSWER, FAILURE], tmp_path / "out")
    answered, failed = pandas.read_parquet(tmp_path / "out").to_dict("records")
    assert (0, "answered", "yes", '{"a":[1]}') == tuple(answered[name] for name in ("key", "status", "text", "value"))
    assert ("stop", "m", 3, 1, 0.5, 2) == tuple(
        answered[name] for name in ("finish_reason", "model", "input_tokens", "output_tokens", "seconds", "tries")
    )
    assert ("sky", '["x"]', "mine") == (answered["topic"], answered["tags"], answered["text_"])
    assert (1, "failed", "ye") == (failed["key"], failed["status"], failed["text"])
    assert ("StreamInterruptedError", "cut", 200) == (failed["error"], failed["message"], failed["status_code"])


def test_rows_are_taken_a_file_at_a_time(tmp_path: Path) -> None:
    """Millions of rows need the memory of one file's."""
    import pandas

    out: list[int] = []

    def rows() -> Iterator[Row]:
        for number in range(7):
            written = len(list(tmp_path.glob(".out-*/new/part-*")))
            out.append(written)
            yield AnswerRow(number, Response(str(number)))

    write_parquet(rows(), tmp_path / "out", rows_per_file=3)
    assert [0, 0, 0, 1, 1, 1, 2] == out
    parts = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"] == parts
    assert list("0123456") == list(pandas.read_parquet(tmp_path / "out")["text"])


def test_writing_again_takes_the_place_of_the_old_files(tmp_path: Path) -> None:
    """All of them, also where they were more; and nothing is left beside."""
    rows = [AnswerRow(number, Response()) for number in range(5)]
    write_parquet(rows, tmp_path / "out", rows_per_file=1)
    write_parquet(rows[:2], tmp_path / "out")
    assert ["part-00000.parquet"] == [path.name for path in (tmp_path / "out").iterdir()]
    assert ["out"] == [path.name for path in tmp_path.iterdir()]


def test_a_failed_export_leaves_what_there_was(tmp_path: Path) -> None:
    """In whole, or not at all."""
    import pandas

    write_parquet([ANSWER], tmp_path / "out")

    def broken() -> Iterator[Row]:
        yield ANSWER
        raise OSError("the source went away")

    with pytest.raises(OSError, match="went away"):
        write_parquet(broken(), tmp_path / "out", rows_per_file=1)
    assert 1 == len(pandas.read_parquet(tmp_path / "out"))
    assert ["out"] == [path.name for path in tmp_path.iterdir()]


def test_other_files_are_not_touched(tmp_path: Path) -> None:
    """A directory that holds something else is refused."""
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ConfigurationError, match=r"thesis\.tex"):
        write_parquet([ANSWER], tmp_path)
    with pytest.raises(ConfigurationError, match="is a file"):
        write_parquet([ANSWER], tmp_path / "thesis.tex")
    assert "precious" == (tmp_path / "thesis.tex").read_text()


def test_no_rows_make_an_empty_table(tmp_path: Path) -> None:
    """With its columns."""
    import pandas

    assert 0 == write_parquet([], tmp_path / "out")
    table = pandas.read_parquet(tmp_path / "out")
    assert 0 == len(table)
    assert "text" in table


def test_a_column_keeps_the_type_of_the_first_file(tmp_path: Path) -> None:
    """A value of another type is an error that says what helps."""
    rows = [AnswerRow(0, Response(), columns={"v": None}), AnswerRow(1, Response(), columns={"v": 1.5})]
    with pytest.raises(ConfigurationError, match="rows_per_file="):
        write_parquet(rows, tmp_path / "out", rows_per_file=1)
    write_parquet(rows, tmp_path / "out")
    assert pyarrow.float64() == pyarrow.parquet.read_table(tmp_path / "out").schema.field("v").type
    late = [AnswerRow(0, Response()), AnswerRow(1, Response(), columns={"new": 1})]
    with pytest.raises(ConfigurationError, match="'new'"):
        write_parquet(late, tmp_path / "out", rows_per_file=1)


def test_a_column_of_several_types_is_text(tmp_path: Path) -> None:
    """A key that was no whole number makes one; so do kept values, whose order does not matter."""
    rows: list[Row] = [
        AnswerRow(1, Response(), columns={"mixed": 1, "long": 2**70, "whole": 1}),
        FailureRow("None", "ColumnError", "a key is text or a whole number", columns={"mixed": "x", "whole": None}),
        AnswerRow(3, Response(), columns={"mixed": True, "long": 4, "whole": 3}),
    ]
    for number, order in enumerate([rows, rows[::-1]]):
        assert 3 == write_parquet(order, tmp_path / str(number))
        read = pyarrow.parquet.read_table(tmp_path / str(number)).sort_by("key").to_pylist()
        assert ["1", "3", "None"] == [record["key"] for record in read]
        assert ["1", "true", "x"] == [record["mixed"] for record in read]
        assert [str(2**70), "4", None] == [record["long"] for record in read]
        assert [1, 3, None] == [record["whole"] for record in read]


def test_arguments_and_numbers_that_do_not_fit(tmp_path: Path) -> None:
    """They are errors of this package."""
    with pytest.raises(ConfigurationError, match="rows_per_file= is 1 or more"):
        write_parquet([ANSWER], tmp_path / "out", rows_per_file=0)
    grown = [AnswerRow(0, Response(), columns={"n": 1}), AnswerRow(1, Response(), columns={"n": 2**70})]
    with pytest.raises(ConfigurationError, match="not of its column's type"):
        write_parquet(grown, tmp_path / "out", rows_per_file=1)
