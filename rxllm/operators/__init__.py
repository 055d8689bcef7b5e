"""Operators over token streams. They compose with `reactivex.operators` in one `pipe`.

Operators that read or split text take token events or strings, and emit values. Operators that change text take token
events and emit token events, and change the responses in them too; put them first, before `text()`: they raise
TypeError for a string. The result is the same however the text was cut into deltas.

Which operator do I need?

| I want | operator | from, to |
|---|---|---|
| the visible text, piece by piece | `text()` | events, `str` |
| the model's reasoning, piece by piece | `reasoning()` | events, `str` |
| the text so far after each piece, for a label | `accumulate()` | events or `str`, `str` |
| the answer so far after each piece | `accumulate(Response)` | events, `Response` |
| the whole answer, once | `response()` | events, `Response` |
| complete words, lines, paragraphs | `words()` `lines()` `paragraphs()` | events or `str`, `str` |
| complete sentences, to speak or caption them | `sentences()` | events or `str`, `str` |
| to end the answer at a text, and stop paying | `stop_at(*texts)` | events, events |
| `<think>` text as reasoning | `think_tags()` | events, events |
| a pattern replaced, or hidden | `replace(pattern, by)` `redact(pattern)` | events, events |
| fenced code as it opens, grows and closes | `code_blocks()` | events or `str`, `CodeBlockEvent` |
| Markdown to render: only the last block changes | `markdown_blocks()` | events or `str`, `MarkdownBlock` |
| no emoji or accent cut in two | `grapheme_safe()` | events, events |
| a JSON object that grows, valid at every moment | `partial_json(type)` | events or `str`, the type |
| each element of a JSON array as it closes | `array_items(type, path=)` | events or `str`, the type |
| the answer as a value of a type | `parse(type)` | events or `str`, the type |
| complete tool calls | `tool_calls()` | events, `ToolCall` |
| to show tokens in a user interface | `observe_on_ui(scheduler)` | any, the same with deltas merged |
| to continue on another thread, with a bounded queue | `bounded(scheduler, size)` | any, the same |
| fewer, larger pieces | `buffer(count, seconds=, chars=)` | any, `list` |
| an even flow instead of bursts | `smooth(chars_per_second)` | events or `str`, the same in new pieces |
| several subscribers, one request | `broadcast()` | any, the same |
| a second observer for a stream | `tee(observer)` | any, the same |
| a file to replay in tests | `record(path)` | events, events |
| many prompts, a few at a time | `map_prompts(model)` | prompts, answers and failures |
| the stream that begins to answer first | `race(*streams)` | streams, events |
| the answer that is complete first | `first_to_finish(*streams)` | streams, events |
| several streams at once, with labelled events | `merge_labelled(streams)` `ensemble(models, prompt)` | `Labelled` |
| transient errors retried | `retry_transient()` | events, events |
| another stream if this one fails | `fallback_to(*others)` | events, events |
| a second request if the first is slow | `hedge(after_seconds, make_stream)` | events, events |
| no waiting for a provider that is down | `CircuitBreaker()` | events, events |
| no more requests or tokens per minute than allowed | `RateLimit(requests_per_minute=)` | events, events |
| no more streams at a time than allowed | `MaxConcurrent(n)` | events, events |
| an answer that was cut, continued or restarted | `recover(mode)` | events, events |
| the answer at the end, however the stream ended | `finally_response(action)` | events, events |
| times: first token, gaps, tokens per second | `timing()` | events, `StreamTiming` |
| tokens and money over many answers | `usage()` `cost()` | events, answers ..., `Usage` `Cost` |
| a look at each item | `tap(action)` | any, the same |
"""

from .. import _arguments
from .final_response import finally_response
from .json.structured import array_items, parse, partial_json, tool_calls
from .many import Labelled, LabelledError, ensemble, first_to_finish, merge_labelled, race
from .measure import Cost, StreamTiming, cost, tap, timing, usage
from .pacing.pace import bounded, buffer, observe_on_ui, smooth
from .prompts import CanStream, Progress, PromptAnswer, PromptFailure, map_prompts
from .resilience.circuit_breaker import CircuitBreaker, CircuitState
from .resilience.fallback import ErrorClass, error_class, fallback_to, retry_transient
from .resilience.hedge import hedge
from .resilience.limits import MaxConcurrent, RateLimit
from .resilience.recover import RecoverMode, recover
from .share import broadcast, record, tee
from .text.code_blocks import CodeBlockDelta, CodeBlockEnd, CodeBlockEvent, CodeBlockStart, code_blocks
from .text.filters import stop_at
from .text.markdown import MarkdownBlock, markdown_blocks
from .text.patterns import API_KEYS, CARD_NUMBERS, EMAIL_ADDRESSES, grapheme_safe, redact, replace
from .text.plain import accumulate, reasoning, response, text
from .text.sentences import sentences
from .text.splitting import lines, paragraphs, words
from .text.thinking import think_tags

__all__ = [
    "API_KEYS",
    "CARD_NUMBERS",
    "EMAIL_ADDRESSES",
    "CanStream",
    "CircuitBreaker",
    "CircuitState",
    "CodeBlockDelta",
    "CodeBlockEnd",
    "CodeBlockEvent",
    "CodeBlockStart",
    "Cost",
    "ErrorClass",
    "Labelled",
    "LabelledError",
    "MarkdownBlock",
    "MaxConcurrent",
    "Progress",
    "PromptAnswer",
    "PromptFailure",
    "RateLimit",
    "RecoverMode",
    "StreamTiming",
    "accumulate",
    "array_items",
    "bounded",
    "broadcast",
    "buffer",
    "code_blocks",
    "cost",
    "ensemble",
    "error_class",
    "fallback_to",
    "finally_response",
    "first_to_finish",
    "grapheme_safe",
    "hedge",
    "lines",
    "map_prompts",
    "markdown_blocks",
    "merge_labelled",
    "observe_on_ui",
    "paragraphs",
    "parse",
    "partial_json",
    "race",
    "reasoning",
    "record",
    "recover",
    "redact",
    "replace",
    "response",
    "retry_transient",
    "sentences",
    "smooth",
    "stop_at",
    "tap",
    "tee",
    "text",
    "think_tags",
    "timing",
    "tool_calls",
    "usage",
    "words",
]

_arguments.check_functions(globals(), __all__)
