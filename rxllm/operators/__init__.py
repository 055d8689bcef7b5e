"""Operators over token streams. They compose with `reactivex.operators` in one `pipe`.

Which operator do I need?

| I want | operator | from, to |
|---|---|---|
| the visible text, piece by piece | `text()` | events, `str` |
| what the model thinks, piece by piece | `reasoning()` | events, `str` |
| the text so far after each piece, for a label | `accumulate()` | events or `str`, `str` |
| the answer so far after each piece | `accumulate(Response)` | events, `Response` |
| the whole answer, once | `response()` | events, `Response` |
"""

from .text import accumulate as accumulate
from .text import reasoning as reasoning
from .text import response as response
from .text import text as text
