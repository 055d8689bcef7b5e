"""Rows as Parquet: a directory of part files, for pandas, Ray Data and others. The only file that imports pyarrow."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .._json import encode, is_array, is_object
from .._lazy_imports import needed
from ..errors import ConfigurationError
from .rows import AnswerRow, Row

OWN_COLUMNS: Mapping[str, str] = {
    "status": "string",
    "text": "string",
    "reasoning": "string",
    "tool_calls": "string",
    "value": "string",
    "finish_reason": "string",
    "model": "string",
    "input_tokens": "int64",
    "output_tokens": "int64",
    "seconds": "double",
    "tries": "int32",
    "error": "string",
    "message": "string",
    "status_code": "int32",
    "transient": "bool",
}
"""The columns that every row has beside its key, with their Arrow types."""
_PART = "part-{:05}.parquet"


def write_parquet(rows: Iterable[Row], directory: str | Path, *, rows_per_file: int = 50_000) -> int:
    """Write rows as part files, in place of those of an earlier call; return the number of rows.

    The directory is replaced as a whole or not at all. The columns are those of `row_record`.

    Args:
        rows: Rows, such as those of `read_rows`; one file's worth is held in memory.
        directory: Where the files go; it may hold nothing but files of an earlier call.
        rows_per_file: Rows in each file. The first ones tell the types of the columns that `keep=` named.

    Raises:
        ConfigurationError: The package pyarrow is missing, the directory holds other files, a value is not of its
            column's type, or `rows_per_file` is below 1.
    """
    pyarrow = needed("pyarrow", "Parquet", "pyarrow")
    writer = needed("pyarrow.parquet", "Parquet", "pyarrow")
    if rows_per_file < 1:
        raise ConfigurationError(f"rows_per_file= is 1 or more; got {rows_per_file}")
    target = Path(directory)
    _refuse_other_files(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    schema: Any = None
    mixed: list[str] = []
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as place:
        fresh = Path(place, "new")
        fresh.mkdir()
        left = map(row_record, rows)
        while (records := list(itertools.islice(left, rows_per_file))) or schema is None:
            if schema is None:
                schema, mixed = _schema(pyarrow, records)
            table = _table(pyarrow, records, schema, mixed)
            writer.write_table(table, fresh / _PART.format(written // rows_per_file))
            written += len(records)
        if target.exists():
            target.rename(Path(place, "old"))
        fresh.rename(target)
    return written


def _refuse_other_files(target: Path) -> None:
    """Raise `ConfigurationError` if the directory holds anything but parts written earlier."""
    if target.is_dir():
        others = [path.name for path in target.iterdir() if not path.match("part-*.parquet")]
        if others:
            raise ConfigurationError(
                f"{str(target)!r} holds other files, such as {others[0]!r}: pass a directory for them alone"
            )
    elif target.exists():
        raise ConfigurationError(f"{str(target)!r} is a file; Parquet is written as a directory of files")


def row_record(row: Row) -> dict[str, object]:
    """Return a row as flat columns, as in Parquet.

    These are `key`, `status` ("answered" or "failed"), `text` (of a failure: the part that arrived), `reasoning`,
    `tool_calls` and `value` (JSON), `finish_reason`, `model`, `input_tokens`, `output_tokens`, `seconds`, `tries`,
    `error`, `message`, `status_code`, `transient`, and the columns that `keep=` named; one with a name of these gets a
    "_" appended. Lists and objects are JSON. In Parquet, so are values that are not text in a column that holds
    several types.

    Args:
        row: The row.
    """
    record: dict[str, object] = {"key": row.key, "tries": row.tries}
    response = row.response if isinstance(row, AnswerRow) else row.partial
    if response is not None:
        record |= {
            "text": response.text,
            "reasoning": response.reasoning or None,
            "tool_calls": _json(response.tool_calls or None),
            "finish_reason": response.finish_reason,
            "model": response.model,
            "input_tokens": response.usage.input_tokens,
            "output_tokens": response.usage.output_tokens,
            "seconds": None if response.timing is None else response.timing.total,
        }
    if isinstance(row, AnswerRow):
        record |= {"status": "answered", "value": _json(row.value)}
    else:
        failure = {name: getattr(row, name) for name in ("error", "message", "status_code", "transient")}
        record |= {"status": "failed", **failure}
    for name, value in row.columns.items():
        is_taken = name in ("key", *OWN_COLUMNS)
        record[f"{name}_" if is_taken else name] = _json(value) if is_array(value) or is_object(value) else value
    return record


def _json(value: object) -> str | None:
    return None if value is None else encode(value).decode()


def _schema(pyarrow: Any, records: Sequence[Mapping[str, object]]) -> tuple[Any, list[str]]:
    """Return the columns, ours and the kept ones with the types of their values, and those that hold several types."""
    fields = {"key": pyarrow.int64()}
    fields |= {name: pyarrow.type_for_alias(kind) for name, kind in OWN_COLUMNS.items()}
    mixed: list[str] = []
    for name in {name: None for record in records for name in record if name not in OWN_COLUMNS}:
        try:
            looks = pyarrow.array([record.get(name) for record in records]).type
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, OverflowError):  # the last one for more than 64 bits
            mixed.append(name)
            looks = pyarrow.null()
        fields[name] = pyarrow.string() if pyarrow.types.is_null(looks) else looks
    return pyarrow.schema(fields.items()), mixed


def _table(pyarrow: Any, records: Sequence[dict[str, object]], schema: Any, mixed: Sequence[str]) -> Any:
    """Return the records as a table of the first file's schema; raise `ConfigurationError` if one does not fit."""
    unknown = next((name for record in records for name in record if name not in schema.names), None)
    if unknown is not None:
        raise ConfigurationError(f"the column {unknown!r} is not in the first file's rows: pass more rows_per_file=")
    for name, record in itertools.product(mixed, records):
        if not isinstance(record.get(name), str):
            record[name] = _json(record.get(name))
    try:
        return pyarrow.Table.from_pylist(records, schema=schema)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, OverflowError) as error:
        raise ConfigurationError(
            f"a value is not of its column's type in the first file (pass more rows_per_file=): {error}"
        ) from error
