"""A prompt after the other, by the million: asked by all machines of a Ray cluster, each ends in exactly one row.

Needs the extra `ray`; reading what was answered does not. `docs/batch.md` says what is guaranteed.

- `map_prompts(prompts, model, checkpoint=...)` is the batch, as an Observable of rows and progress.
  Run it again, and it goes on where it was.
- `read_rows(checkpoint)` gives all rows, `write_parquet(rows, directory)` makes Parquet of any.
- `ModelSpec` describes the model, `RateLimits` what all workers together may ask.
"""

from ._run import BatchEvent
from .checkpoint import read_rows
from .errors import WorkerLostError
from .mapping import map_prompts
from .model_spec import ModelSpec
from .parquet import write_parquet
from .progress import BatchProgress
from .rows import AnswerRow, FailureRow, Row, row_from_json, row_to_json
from .shared_limits import RateLimits

__all__ = [
    "AnswerRow",
    "BatchEvent",
    "BatchProgress",
    "FailureRow",
    "ModelSpec",
    "RateLimits",
    "Row",
    "WorkerLostError",
    "map_prompts",
    "read_rows",
    "row_from_json",
    "row_to_json",
    "write_parquet",
]
