"""The worker as a callable: rows in, rows out; in this process, pickled, in Ray Data, over pandas frames."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from rxllm import batch
from rxllm.errors import AuthenticationError, ConfigurationError
from rxllm.model import create_streaming_model
from rxllm.testing import ErrorReply, LLMServer

from ..operators.threads import LIMIT


def worker_for(server: LLMServer, **options: Any) -> batch.RowWorker:
    spec = batch.ModelSpec("openai", model="m", base_url=server.base_url(), api_key="k")
    return batch.RowWorker(spec, prompt="question", keep=["id"], **options)


def test_rows_come_back_in_order(llm_server: LLMServer) -> None:
    """A failure among them; a second call, and a pickled copy, work as the first."""
    llm_server.default = lambda request: ErrorReply(400, "no") if request.prompt == "q3" else request.prompt
    worker = worker_for(llm_server)
    items = [{"id": n, "question": f"q{n}"} for n in range(20)]
    for each in (worker, worker, pickle.loads(pickle.dumps(worker))):  # noqa: S301  our own
        rows = each(items)
        assert [n for n in range(20) if n != 3] == [row.key for row in rows if isinstance(row, batch.AnswerRow)]
        assert isinstance(rows[3], batch.FailureRow)
        assert {"id": 3} == rows[3].columns
    assert [] == worker([])


def test_an_error_that_all_prompts_would_meet_is_raised(llm_server: LLMServer) -> None:
    """The engine then fails the task, instead of storing failures; the worker works again afterwards."""
    llm_server.default = ErrorReply(401, "no such key")
    worker = worker_for(llm_server)
    with pytest.raises(AuthenticationError):
        worker([{"id": 1, "question": "a"}])
    llm_server.default = "fine"
    assert ["fine"] == [row.text for row in worker([{"id": 1, "question": "a"}]) if isinstance(row, batch.AnswerRow)]


def test_a_model_in_the_place_of_its_function(tmp_path: Path) -> None:
    """The error says what to give."""
    with create_streaming_model("ollama", model="m") as model:
        with pytest.raises(
            ConfigurationError, match="or a function that creates a model; got <StreamingModel ollama:m>"
        ):
            batch.map_prompts(["Hi"], model, checkpoint=tmp_path / "c")  # type: ignore[arg-type]  # wrong on purpose
        with pytest.raises(ConfigurationError, match="a function that creates a model"):
            batch.RowWorker(model)([{"prompt": "Hi"}])  # type: ignore[arg-type]  # wrong on purpose


def test_pandas_frames(llm_server: LLMServer) -> None:
    """As Spark's mapInPandas passes them, and Dask's map_partitions: the same columns, failures or not."""
    llm_server.default = lambda request: ErrorReply(400, "no") if request.prompt == "q0" else request.prompt
    worker = worker_for(llm_server)
    import pandas

    frames = [pandas.DataFrame({"id": [n], "question": [f"q{n}"]}) for n in range(2)]
    failed, answered = map(worker.frame, frames)
    assert list(failed.columns) == list(answered.columns)
    assert ["failed", 0, False] == [failed["status"][0], failed["id"][0], failed["transient"][0]]
    assert ["answered", 1, "q1"] == [answered["status"][0], answered["id"][0], answered["text"][0]]


@pytest.mark.timeout(10 * LIMIT)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray Data, inside itself
@pytest.mark.usefixtures("local_ray")
def test_ray_data(llm_server: LLMServer, tmp_path: Path) -> None:
    """The recipe of docs/batch.md."""
    worker = worker_for(llm_server)
    import pandas
    import ray.data

    dataset = ray.data.from_items([{"id": n, "question": f"q{n}"} for n in range(50)])
    dataset.map_batches(worker.frame, batch_size=10, batch_format="pandas").write_parquet(str(tmp_path / "rows"))
    table = pandas.read_parquet(tmp_path / "rows").sort_values("id")
    assert [f"q{n}" for n in range(50)] == list(table["text"])


def test_dask(llm_server: LLMServer) -> None:
    """The recipe of docs/batch.md."""
    dataframe: Any = pytest.importorskip("dask.dataframe", reason="pip install 'dask[dataframe]'")
    worker = worker_for(llm_server)
    import pandas

    questions = pandas.DataFrame({"id": range(30), "question": [f"q{n}" for n in range(30)]})
    table = dataframe.from_pandas(questions, npartitions=3)
    answers = table.map_partitions(worker.frame, meta=worker.frame(questions.head(0))).compute(scheduler="threads")
    assert [(n, f"q{n}") for n in range(30)] == sorted(zip(answers["id"], answers["text"], strict=True))


@pytest.mark.timeout(10 * LIMIT)
@pytest.mark.filterwarnings("ignore")  # of Spark, about versions of pandas, and sockets that it leaves to its end
def test_spark(llm_server: LLMServer) -> None:
    """The recipe of docs/batch.md."""
    sql: Any = pytest.importorskip("pyspark.sql", reason="pip install pyspark; it needs Java 17")
    worker = worker_for(llm_server)
    page = (Path(__file__).parents[2] / "docs" / "batch.md").read_text(encoding="utf-8")
    schema = page.partition('schema = """')[2].partition('"""')[0]
    spark = sql.SparkSession.builder.master("local[1]").config("spark.ui.enabled", False).getOrCreate()
    try:
        table = spark.createDataFrame([(n, f"q{n}") for n in range(30)], "id long, question string")
        answers = table.mapInPandas(lambda frames: map(worker.frame, frames), schema).collect()
    finally:
        spark.stop()
    assert [(n, f"q{n}") for n in range(30)] == sorted((row["id"], row["text"]) for row in answers)
