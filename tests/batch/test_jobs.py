"""From prompts and rows to jobs."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import cast

import pytest

import rxllm
from rxllm.batch._jobs import Columns, Job, jobs_of
from rxllm.batch.model_spec import ModelSpec, fingerprint
from rxllm.batch.rows import FailureRow, Settled
from rxllm.errors import ConfigurationError


def jobs(*items: object, columns: Columns | None = None, model: bytes = b"m") -> list[Job | Settled]:
    return list(jobs_of(items, columns or Columns(), model))


def test_a_prompt_is_known_by_its_number() -> None:
    """Text, messages, and conversations alike."""
    message = {"role": "user", "content": "b"}
    made = jobs("a", rxllm.Message.user("a"), message, [message, message])
    assert [0, 1, 2, 3] == [job.key for job in made]
    assert made[0].digest == made[1].digest != made[2].digest


def test_a_row_says_everything_by_its_columns() -> None:
    """Prompt, key, options, and what is kept."""
    row = {"id": "r1", "question": "why?", "how": {"seed": 1, "stop": None}, "topic": "sky", "other": object()}
    (job,) = jobs(row, columns=Columns("question", "id", "how", ("topic", "question")))
    assert isinstance(job, Job)
    assert ("r1", {"seed": 1}) == (job.key, job.options)
    assert {"topic": "sky", "question": "why?"} == job.columns
    assert (rxllm.Message.user("why?"),) == job.prompt


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"role": "poet", "prompt": "why?"}, Columns(keep=("role",))),
        ({"role": "poet", "content": "", "prompt": "why?"}, Columns(keep=("role",))),
        ({"role": "poet", "content": "why?"}, Columns("content", keep=("role",))),
        ({"role": "poet", "content": "why?", "id": 0}, Columns(lambda row: str(row["content"]), "id", keep=("role",))),
        ({"role": "poet"}, Columns(lambda row: "why?", keep=("role",))),
    ],
)
def test_a_row_may_have_the_columns_of_a_message(row: dict[str, object], columns: Columns) -> None:
    """A dict with role and content is a prompt only if nothing says that it is a row."""
    (job,) = jobs(row, columns=columns)
    assert isinstance(job, Job)
    assert (0, (rxllm.Message.user("why?"),), {"role": "poet"}) == (job.key, job.prompt, job.columns)


def test_functions_make_prompt_and_options_of_a_row() -> None:
    """A template, for one."""
    columns = Columns(lambda row: f"About {row['x']}", None, lambda row: {"max_tokens": 5})
    (job,) = jobs({"x": "bees"}, columns=columns)
    assert isinstance(job, Job)
    assert ((rxllm.Message.user("About bees"),), {"max_tokens": 5}) == (job.prompt, job.options)


def test_the_digest_is_of_prompt_options_and_model() -> None:
    """And of nothing else: what is kept, where it stands, how long to wait."""
    columns = Columns("p", "k", "o", ("c",))

    def digest(model: bytes = b"m", **row: object) -> bytes:
        return jobs({"p": "hi", "k": 1, "o": {"seed": 1}, "c": 0, **row}, columns=columns, model=model)[0].digest

    assert digest() == digest(c=5) == digest(k=2) == digest(o={"seed": 1, "timeout": 9})
    assert 4 == len({digest(), digest(p="ho"), digest(o={"seed": 2}), digest(b"n")})


def test_numpy_numbers_are_keys_and_columns() -> None:
    """As the rows of a Dataset hold them."""
    import numpy

    row = {"prompt": "hi", "k": numpy.int64(3), "v": numpy.array([1, 2])}
    (job,) = jobs(row, columns=Columns(key="k", keep=("v",)))
    assert isinstance(job, Job)
    assert (3, int, {"v": [1, 2]}) == (job.key, type(job.key), job.columns)


class Name(str):
    """Text of another class, as numpy's."""


def test_text_of_another_class_is_plain_text() -> None:
    """As prompt and as key: else no row could be written, and the run would wait for it."""
    import numpy

    for text in (numpy.str_("a"), Name("a")):
        (job,) = jobs({"prompt": text, "k": text}, columns=Columns(key="k"))
        assert isinstance(job, Job)
        assert ("a", str, str) == (job.key, type(job.key), type(cast("rxllm.TextPart", job.prompt[0].parts[0]).text))


@pytest.mark.parametrize(
    ("row", "columns", "says"),
    [
        ({"question": "?"}, Columns(), "row 0: there is no column 'prompt'; there is 'question'. prompt=, key="),
        ({"prompt": "?"}, Columns(key="id"), "row 0: there is no column 'id'"),
        ({"prompt": "?", "id": 1.5}, Columns(key="id"), "row 0: a key is text or a whole number; 'id' is 1.5"),
        ({"prompt": "?", "id": None}, Columns(key="id"), "row 0: a key is text or a whole number; 'id' is None"),
        ({"prompt": "?"}, Columns(options="o"), "row 0: there is no column 'o'"),
        ({"prompt": "?", "c": object()}, Columns(keep=("c",)), "row 0: the column 'c' cannot be kept as JSON"),
    ],
)
def test_a_wrong_column_ends_it_all(row: dict[str, object], columns: Columns, says: str) -> None:
    """All rows would be wrong; the error says which column, and what there is."""
    with pytest.raises(ConfigurationError, match=says):
        jobs(row, columns=columns)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": 5}, "a prompt is text"),
        ({"prompt": []}, "the prompt is empty"),
        ({"prompt": "?", "o": {"nonsense": 1}}, "unknown option: nonsense"),
        ({"prompt": "?", "o": 7}, "row 0: the options are a dict"),
        ({"prompt": "?", "o": {"response_format": dict[str, int]}}, "a type is for all rows"),
        ({"prompt": "?", "o": {"response_format": "xml"}}, "response_format is"),
    ],
)
def test_a_row_that_cannot_be_asked_fails_alone(row: dict[str, object], says: str) -> None:
    """Its row is a failure, and the others are asked."""
    refused, job = jobs({"o": None, **row}, {"prompt": "fine", "o": None}, columns=Columns(options="o"))
    assert isinstance(refused, Settled)
    assert isinstance(refused.row, FailureRow)
    assert "ConfigurationError" == refused.row.error
    assert says in refused.row.message
    assert isinstance(job, Job)


def test_a_row_without_a_key_has_that_of_its_number() -> None:
    """Several rows may lack one, and each is a failure of its own."""
    rows = [{"prompt": "hi", "k": key} for key in (1, None, None, float("nan"), 2**70, "\ud800")]
    made = jobs(*rows, {"prompt": "hi"}, columns=Columns(key="k"))
    assert [1, "row 1", "row 2", "row 3", str(2**70), "\\ud800", "row 6"] == [job.key for job in made]


def test_nothing_is_read_ahead() -> None:
    """Prompts by the million are made as they are needed."""
    taken: list[int] = []

    def prompts() -> Iterator[str]:
        for number in range(1000):
            taken.append(number)
            yield str(number)

    made = jobs_of(prompts(), Columns(), b"m")
    assert (0, 1) == (next(made).key, next(made).key)
    assert [0, 1] == taken


def test_a_spec_shows_no_secret() -> None:
    """Neither its repr nor its fingerprint depends on a key or a header."""
    with_secrets = ModelSpec("openai:m", api_key="sk-secret", headers={"x-api-key": "sk-other"}, seed=1)
    assert "ModelSpec('openai', seed=1, model='m')" == repr(with_secrets)
    assert fingerprint(with_secrets) == fingerprint(ModelSpec("openai", model="m", seed=1, base_url="http://x/v1"))


def test_a_spec_refuses_what_cannot_travel() -> None:
    """A session or a scheduler stays in its process; the error says so."""
    with pytest.raises(ConfigurationError, match="session"):
        ModelSpec("openai", session=object())  # type: ignore[call-arg]


def test_a_type_stays_at_home() -> None:
    """Its schema travels: a class that has been used with msgspec cannot be pickled by value."""
    spec = ModelSpec("openai:m", response_format=list[int], api_key="k")
    assert list[int] == spec.response_type
    there = pickle.loads(pickle.dumps(spec))  # noqa: S301  our own
    assert there.response_type is None
    assert fingerprint(spec) == fingerprint(there)


def test_a_type_counts_by_its_schema() -> None:
    """The answer depends on the schema, whatever the class is called in which process."""
    assert fingerprint(ModelSpec("openai:m", response_format=list[int])) != fingerprint(ModelSpec("openai:m"))
    schema = {"title": "list", "type": "array", "items": {"type": "integer"}}
    assert fingerprint(ModelSpec("openai:m", response_format=schema)) != fingerprint(ModelSpec("openai:m"))
