"""Turns the user's items into jobs: one for each prompt, made when it is needed, and reads them on a thread.

An item is a prompt, or a row: a mapping whose columns hold the prompt, a key, options and other values. A prompt by
itself is a row with the one column "prompt".
"""

from __future__ import annotations

import contextvars
import operator
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from hashlib import blake2b
from typing import TypeAlias, TypeGuard, cast

import msgspec

from .._core.error_format import as_exception
from .._json import encode, is_object
from ..errors import ConfigurationError
from ..messages import Message
from ..options import CallOptions, check_names
from ..prompt import Prompt, messages_of
from .model_spec import is_plain_format, plain_options
from .rows import Key, Settled, failure_of

RowIn: TypeAlias = Mapping[str, object]
"""A row: column names and values."""

_DIGEST_BYTES = 16


class Job(msgspec.Struct, frozen=True):
    """One prompt to ask. `digest` changes when the prompt, the model or the options change."""

    key: Key
    position: int
    digest: bytes
    prompt: tuple[Message, ...]
    options: CallOptions
    columns: dict[str, object]

    def failed(self, error: Exception) -> Settled:
        """Return the failure row of a job for which no request was made."""
        return Settled(self.position, self.digest, failure_of(error, self.key, self.columns, 0))


class Columns(msgspec.Struct, frozen=True):
    """Where in a row to find everything: names of columns, or functions of the row."""

    prompt: str | Callable[[RowIn], Prompt] = "prompt"
    key: str | None = None
    options: str | Callable[[RowIn], CallOptions] | None = None
    keep: Sequence[str] = ()


def jobs_of(items: Iterable[object], columns: Columns, fingerprint: bytes) -> Generator[Job | Settled]:
    """Yield one job for each item, in their order.

    A row that cannot become a job, for any reason, is settled as a failure, and the others continue. Only if the very
    first row lacks a column, or has one of the wrong type, all rows are taken to be wrong.

    Raises:
        ConfigurationError: The first row has not the named columns.
    """
    for position, item in enumerate(items):
        row: RowIn = item if _is_row(item, columns) else {"prompt": item}
        try:
            job = _job_of(row, columns, position, fingerprint)
        except BaseException as error:  # of a function of the user's, or of a value of any kind
            if position == 0 and isinstance(error, ColumnError):
                raise ColumnError(f"row 0: {error}") from error
            yield _invalid(as_exception(error), row, columns, position, fingerprint)
        else:
            yield job


class ColumnError(ConfigurationError):
    """A row lacks a column, or has one of the wrong type."""


def _job_of(row: RowIn, columns: Columns, position: int, fingerprint: bytes) -> Job:
    key = position if columns.key is None else _key_of(row, columns.key)
    kept = _kept(row, columns.keep)
    prompt = messages_of(cast("Prompt", _taken(row, columns.prompt)))
    options = _options_of(None if columns.options is None else _taken(row, columns.options))
    digest = _digest(fingerprint, encode([prompt, plain_options(options)]))
    return Job(key, position, digest, prompt, options, kept)


def _invalid(error: Exception, row: RowIn, columns: Columns, position: int, fingerprint: bytes) -> Settled:
    """Return the failure row of a row, with as much of its key and columns as can be stored."""
    key: Key = position
    kept: dict[str, object] = {}
    if columns.key is not None:
        try:
            key = _key_of(row, columns.key)
        except Exception:
            given = row.get(columns.key)
            text = str(given) if isinstance(given, str | int) else f"row {position}"  # None may be there many times
            key = text.encode("utf-8", "backslashreplace").decode()
    with suppress(Exception):
        kept = _kept(row, columns.keep)
    failure = failure_of(error, key, kept, 0)
    failure = msgspec.structs.replace(failure, message=f"row {position}: {failure.message}")
    return Settled(position, _digest(fingerprint, failure.message.encode()), failure)


def _is_row(item: object, columns: Columns) -> TypeGuard[RowIn]:
    """Return whether the item is a row, which may have a column "role", and not a message, which is a prompt."""
    if not isinstance(item, Mapping):
        return False
    is_message = "role" in item and "content" in item
    return not is_message or columns.key is not None or columns.prompt in item


def _taken(row: RowIn, what: str | Callable[[RowIn], object]) -> object:
    return _column(row, what) if isinstance(what, str) else what(row)


def _column(row: RowIn, name: str) -> object:
    if name not in row:
        there = ", ".join(map(repr, row)) or "none"
        raise ColumnError(
            f"there is no column {name!r}; there is {there}. prompt=, key=, options= and keep= name columns"
        )
    return row[name]


def _key_of(row: RowIn, name: str) -> Key:
    """Return the text or whole number in the key column."""
    value = _column(row, name)
    if isinstance(value, str):
        return value.encode().decode()  # raises if it is not Unicode; of numpy's text, a plain one
    try:
        number = operator.index(cast("int", value))  # numpy's integers too
    except TypeError:
        raise ColumnError(f"a key is text or a whole number; {name!r} is {value!r}") from None
    if not -(2**63) <= number < 2**63:
        raise ConfigurationError(f"a key that is a number has at most 64 bits; {name!r} is {number}")
    return number


def _kept(row: RowIn, names: Sequence[str]) -> dict[str, object]:
    """Return the columns that are kept, as JSON values."""
    kept: dict[str, object] = {}
    for name in names:
        try:
            kept[name] = msgspec.to_builtins(_column(row, name), str_keys=True, enc_hook=_from_numpy)
        except TypeError as error:
            raise ColumnError(f"the column {name!r} cannot be kept as JSON: {error}") from error
    encode(kept)  # raises if text is not Unicode
    return kept


def _from_numpy(value: object) -> object:
    to_list = getattr(value, "tolist", None)
    if not callable(to_list):
        raise TypeError(f"it holds a {type(value).__name__}")
    return to_list()


def _options_of(given: object) -> CallOptions:
    """Return the options of a row that are set; raise `ConfigurationError` if there are no such options."""
    if given is None:
        return {}
    if not is_object(given):
        raise ConfigurationError(f"the options are a dict; got a {type(given).__name__}")
    check_names(given, f"A row may have {', '.join(CallOptions.__annotations__)}")
    if not is_plain_format(given.get("response_format")):
        raise ConfigurationError(
            'the response_format of a row is "json" or a JSON schema; a type is for all rows, for ModelSpec'
        )
    # In a table each row has all columns; None stands for an option that is not set.
    return cast("CallOptions", {name: value for name, value in given.items() if value is not None})


def _digest(*parts: bytes) -> bytes:
    digest = blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


class JobSource:
    """Jobs that a thread reads ahead, at most `ahead` of them, so that a slow source delays no row that is ready.

    `take` is for the run's thread; `stop` is thread-safe. `on_ready` is called on the reading thread when there is
    something again after `take` returned None.
    """

    def __init__(self, jobs: Generator[Job | Settled], ahead: int, name: str, on_ready: Callable[[], None]) -> None:
        self.is_exhausted = False
        """Whether `take` has found that nothing more comes."""
        self._jobs = jobs
        self._on_ready = on_ready
        self._queue: queue.Queue[Job | Settled | Exception | None] = queue.Queue(ahead)
        self._is_awaited = False
        self._stopped = False
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._read,), name=name, daemon=True).start()

    def take(self, timeout: float = 0.0) -> Job | Settled | None:
        """Return the next job; None if none is ready within `timeout` seconds.

        Raises what reading the prompts raised, after the jobs.
        """
        if self.is_exhausted:
            return None
        self._is_awaited = True  # before the look, so that what comes after it is announced
        try:
            found = self._queue.get(timeout > 0, timeout)
        except queue.Empty:
            return None
        self._is_awaited = False
        if isinstance(found, Exception):
            raise found
        self.is_exhausted = found is None
        return found

    def stop(self) -> None:
        """Stop reading."""
        self._stopped = True
        with suppress(queue.Empty):
            while True:
                self._queue.get_nowait()  # the thread may be waiting for room

    def _read(self) -> None:
        """Read until the end of the jobs, or until `stop`. Runs on the source's thread."""
        end: Exception | None = None
        try:
            with closing(self._jobs):
                for job in self._jobs:
                    self._put(job)
                    if self._stopped:
                        return
        except BaseException as error:  # of the user's iterable
            end = as_exception(error)
        self._put(end)

    def _put(self, item: Job | Settled | Exception | None) -> None:
        self._queue.put(item)
        if self._is_awaited:
            self._on_ready()
