"""From what the user gives to what is to be asked: one job for each prompt, made as it is needed. Pure.

An item is a prompt, or a row: a mapping whose columns hold the prompt, a key, options, and
whatever else. A prompt by itself is a row with one column, "prompt".
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import TypeAlias, TypeGuard, cast

import msgspec

from .._json import encode, is_object
from ..errors import ConfigurationError
from ..messages import Message
from ..options import CallOptions
from ..prompt import Prompt, messages_of
from .model_spec import is_plain_format, plain_options
from .rows import FailureRow, Key, failure_of

RowIn: TypeAlias = Mapping[str, object]
"""A row: columns by their names."""

_DIGEST_BYTES = 16


class Job(msgspec.Struct, frozen=True):
    """One prompt to be asked. `digest` changes when the answer may: prompt, model, or options did."""

    key: Key
    position: int
    digest: bytes
    prompt: tuple[Message, ...]
    options: CallOptions
    columns: dict[str, object]


class InvalidJob(msgspec.Struct, frozen=True):
    """A prompt that cannot be asked: its row is known already."""

    position: int
    digest: bytes
    row: FailureRow

    @property
    def key(self) -> Key:
        """The row's key."""
        return self.row.key


class Columns(msgspec.Struct, frozen=True):
    """Where in a row everything is: names of columns, or functions of the row."""

    prompt: str | Callable[[RowIn], Prompt] = "prompt"
    key: str | None = None
    options: str | Callable[[RowIn], CallOptions] | None = None
    keep: Sequence[str] = ()


def jobs_of(items: Iterable[object], columns: Columns, fingerprint: bytes) -> Iterator[Job | InvalidJob]:
    """One job for each item, in their order.

    A prompt or options that no model could take are `InvalidJob`, one by one. Raises
    `ConfigurationError` where a column is missing or a key is none: then all rows are wrong.
    """
    for position, item in enumerate(items):
        row: RowIn = item if _is_row(item) else {"prompt": item}
        key = position if columns.key is None else _key_of(row, columns.key, position)
        kept = {name: _plain(_column(row, name, position), name, position) for name in columns.keep}
        try:
            prompt = messages_of(cast("Prompt", _taken(row, columns.prompt, position)))
            options = _options_of(row, columns.options, position)
            digest = _digest(fingerprint, encode([prompt, plain_options(options)]))
        except MissingColumnError:
            raise
        except (ConfigurationError, TypeError) as error:
            refused = failure_of(error, key, kept, 0)
            yield InvalidJob(position, _digest(fingerprint, refused.message.encode()), refused)
        else:
            yield Job(key, position, digest, prompt, options, kept)


class MissingColumnError(ConfigurationError):
    """A row has not the column that was named."""


def _is_row(item: object) -> TypeGuard[RowIn]:
    return isinstance(item, Mapping) and "role" not in item


def _taken(row: RowIn, what: str | Callable[[RowIn], object], position: int) -> object:
    return _column(row, what, position) if isinstance(what, str) else what(row)


def _column(row: RowIn, name: str, position: int) -> object:
    if name not in row:
        raise MissingColumnError(f"row {position} has no column {name!r}; it has {', '.join(map(repr, row)) or 'none'}")
    return row[name]


def _key_of(row: RowIn, name: str, position: int) -> Key:
    value = _column(row, name, position)
    if isinstance(value, str):
        return value
    try:
        return operator.index(cast("int", value))  # numpy's integers too
    except TypeError:
        raise MissingColumnError(f"a key is text or a whole number; row {position} has {value!r} as {name!r}") from None


def _options_of(row: RowIn, what: str | Callable[[RowIn], object] | None, position: int) -> CallOptions:
    given = None if what is None else _taken(row, what, position)
    if given is None:
        return {}
    if not is_object(given):
        raise ConfigurationError(f"the options of row {position} are a dict; got a {type(given).__name__}")
    unknown = given.keys() - CallOptions.__annotations__.keys()
    if unknown:
        raise ConfigurationError(f"row {position} has options that do not exist: {', '.join(sorted(unknown))}")
    if not is_plain_format(given.get("response_format")):
        raise ConfigurationError(
            f'the response_format of row {position} is "json" or a JSON schema; a type is for all rows, for ModelSpec'
        )
    # Tables have all columns in all rows: None is what was not said.
    return cast("CallOptions", {name: value for name, value in given.items() if value is not None})


def _plain(value: object, name: str, position: int) -> object:
    try:
        return msgspec.to_builtins(value, str_keys=True, enc_hook=_from_numpy)
    except TypeError as error:
        raise MissingColumnError(f"column {name!r} of row {position} cannot be kept as JSON: {error}") from error


def _from_numpy(value: object) -> object:
    to_list = getattr(value, "tolist", None)
    if not callable(to_list):
        raise TypeError(f"it holds a {type(value).__name__}")
    return to_list()


def _digest(*parts: bytes) -> bytes:
    digest = blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()
