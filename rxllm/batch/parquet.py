"""Rows as Parquet: a directory of part files, for pandas, Ray Data and the like. The one file that knows pyarrow."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from .._json import encode, is_array, is_object
from ..errors import ConfigurationError
from .rows import AnswerRow, Row, usage_of

_OWN: Mapping[str, str] = {
    "status": "string",
    "text": "string",
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
}
_PART = "part-{:05}.parquet"


def write_parquet(
    rows: Iterable[Row],
    directory: str | Path,
    *,
    rows_per_file: int = 50_000,
    types: Mapping[str, str] | None = None,
) -> int:
    """Write `rows` as part files in `directory`, in place of those of an earlier time; how many rows they were.

    Takes what `read_rows` gives, or any rows, one file's worth at a time. Columns: `key`, `status`
    ("answered" or "failed"), `text` (of a failure: what had come), `value` (JSON), `finish_reason`,
    `model`, `input_tokens`, `output_tokens`, `seconds`, `tries`, `error`, `message`, `status_code`, and
    those that `keep=` named (one that has a name of these gets a "_" behind). The types of those
    are taken from the first file's rows, unless `types` says (`{"score": "double"}`, in Arrow's
    words); lists and objects are JSON.

    The directory is there in whole or not at all. Raises `ImportError` without pyarrow,
    `ConfigurationError` where the directory holds anything else, or a value is not of its column's type.
    """
    try:
        pyarrow: Any = import_module("pyarrow")
        writer: Any = import_module("pyarrow.parquet")
    except ImportError as missing:  # pragma: no cover - the package is there wherever the tests run
        raise ImportError("Parquet needs the package pyarrow: pip install 'rxllm[ray]'") from missing
    target = Path(directory)
    _refuse_other_files(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    schema: Any = None
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as place:
        fresh = Path(place, "new")
        fresh.mkdir()
        left = iter(rows)
        for number in itertools.count():
            some = list(itertools.islice(left, rows_per_file))
            if not some and number:
                break
            records = [_record(row) for row in some]
            if schema is None:
                schema = _schema(pyarrow, records, types or {})
            writer.write_table(_table(pyarrow, records, schema), fresh / _PART.format(number))
            written += len(some)
        if target.exists():
            target.rename(Path(place, "old"))
        fresh.rename(target)
    return written


def _refuse_other_files(target: Path) -> None:
    if target.is_dir():
        others = [path.name for path in target.iterdir() if not path.match("part-*.parquet")]
        if others:
            raise ConfigurationError(
                f"{str(target)!r} holds other files, such as {others[0]!r}: name a directory of its own"
            )
    elif target.exists():
        raise ConfigurationError(f"{str(target)!r} is a file; Parquet is written as a directory of files")


def _record(row: Row) -> dict[str, object]:
    usage = usage_of(row)
    response = row.response if isinstance(row, AnswerRow) else row.partial
    own: dict[str, object] = {
        "key": row.key,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "tries": row.tries,
    }
    if response is not None:
        own |= {"text": response.text, "finish_reason": response.finish_reason, "model": response.model}
        own["seconds"] = None if response.timing is None else response.timing.total
    if isinstance(row, AnswerRow):
        own |= {"status": "answered", "value": None if row.value is None else encode(row.value).decode()}
    else:
        own |= {"status": "failed", "error": row.error, "message": row.message, "status_code": row.status_code}
    kept = {f"{name}_" if name in ("key", *_OWN) else name: _flat(value) for name, value in row.columns.items()}
    return {**own, **kept}


def _flat(value: object) -> object:
    return encode(value).decode() if is_array(value) or is_object(value) else value


def _schema(pyarrow: Any, records: Sequence[Mapping[str, object]], types: Mapping[str, str]) -> Any:
    """The columns: ours as they are, those that were kept as `types` says, or as they look."""
    first = records[0] if records else {"key": 0}
    own = {"key": "int64" if isinstance(first["key"], int) else "string", **_OWN}
    kept = dict.fromkeys(name for record in records for name in record if name not in own)
    fields = [(name, pyarrow.type_for_alias(kind)) for name, kind in own.items()]
    for name in kept:
        looks = pyarrow.infer_type([record.get(name) for record in records]) if name not in types else None
        given = types.get(name, "string")
        unknown = looks is None or pyarrow.types.is_null(looks)
        fields.append((name, pyarrow.type_for_alias(given) if unknown else looks))
    return pyarrow.schema(fields)


def _table(pyarrow: Any, records: Sequence[Mapping[str, object]], schema: Any) -> Any:
    unknown = next((name for record in records for name in record if name not in schema.names), None)
    if unknown is not None:
        raise ConfigurationError(
            f"the column {unknown!r} is not in the first file's rows: say types={{{unknown!r}: ...}}"
        )
    try:
        return pyarrow.Table.from_pylist(records, schema=schema)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError) as error:
        raise ConfigurationError(f"a value is not of its column's type (say types={{...}}): {error}") from error
