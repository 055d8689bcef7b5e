"""Many prompts: each ends in exactly one row, and a run that was killed continues where it stopped.

Runs in this process, on a Ray cluster (extra `ray`), or through the batch APIs of vendors. See `docs/batch.md`.

- `map_prompts(prompts, model, checkpoint=...)` is the batch, as an Observable of rows and progress.
- `read_rows(checkpoint)` yields all rows, `write_parquet(rows, directory)` writes rows as Parquet.
- `ModelSpec` describes the model, `RateLimits` the limits of all workers together.
- `RowWorker` answers rows for Ray Data, Spark or Dask.
- `cancel_vendor_batches(checkpoint, model)` cancels what a checkpoint has at a vendor.
"""

from ._run import BatchEvent
from .checkpoint import read_rows
from .errors import WorkerLostError
from .mapping import map_prompts
from .model_spec import ModelSpec
from .parquet import row_record, write_parquet
from .progress import BatchProgress
from .row_worker import RowWorker
from .rows import AnswerRow, FailureRow, Row, row_from_json, row_to_json
from .shared_limits import RateLimits
from .vendor import cancel_vendor_batches

__all__ = [
    "AnswerRow",
    "BatchEvent",
    "BatchProgress",
    "FailureRow",
    "ModelSpec",
    "RateLimits",
    "Row",
    "RowWorker",
    "WorkerLostError",
    "cancel_vendor_batches",
    "map_prompts",
    "read_rows",
    "row_from_json",
    "row_record",
    "row_to_json",
    "write_parquet",
]
