"""Operators over token streams. They compose with `reactivex.operators` in one `pipe`.

Three rules hold for text. What splits or reads it takes token events, or plain pieces of `str`, and
emits values. What changes it takes token events and emits token events, with the responses inside
them changed to agree; put it first. However the text was cut into deltas, the result is the same.

Which operator do I need?

| I want | operator | from, to |
|---|---|---|
| the visible text, piece by piece | `text()` | events, `str` |
| what the model thinks, piece by piece | `reasoning()` | events, `str` |
| the text so far after each piece, for a label | `accumulate()` | events or `str`, `str` |
| the answer so far after each piece | `accumulate(Response)` | events, `Response` |
| the whole answer, once | `response()` | events, `Response` |
| words, lines, paragraphs, each once it is whole | `words()` `lines()` `paragraphs()` | events or `str`, `str` |
| sentences, to speak or caption them | `sentences()` | events or `str`, `str` |
| to end the answer at a text, and stop paying | `stop_at(*texts)` | events, events |
| `<think>` text as reasoning | `think_tags()` | events, events |
| a pattern replaced, or hidden | `replace(pattern, by)` `redact(pattern)` | events, events |
| fenced code as it opens, grows and closes | `code_blocks()` | events or `str`, `CodeBlockEvent` |
| Markdown to render: only the last block changes | `markdown_blocks()` | events or `str`, `MarkdownBlock` |
| no emoji or accent ever cut in two | `grapheme_safe()` | events, events |
| a JSON object that grows, valid at every moment | `partial_json(type)` | events or `str`, the type |
| each element of a JSON array as it closes | `array_items(type, path=)` | events or `str`, the type |
| the answer as a value of a type | `parse(type)` | events or `str`, the type |
| tool calls, each once it is whole | `tool_calls()` | events, `ToolCall` |
| to show tokens in a user interface | `observe_on_ui(scheduler)` | any, the same with deltas joined |
| to go on on another thread, without an endless queue | `bounded(scheduler, size)` | any, the same |
| fewer, larger pieces | `buffer(count, seconds=, chars=)` | any, `list` |
| an even flow instead of bursts | `smooth(chars_per_second)` | events or `str`, the same cut anew |
| several subscribers, one request | `broadcast()` | any, the same |
| to show a stream to an observer on the side | `tee(observer)` | any, the same |
| a file to replay in tests | `record(path)` | events, events |
| many prompts, so many at a time | `map_prompts(model)` | prompts, answers and failures |
| the first of several streams to speak | `race(*streams)` | streams, events |
| several streams at once, each event labelled | `merge_labelled(streams)` `ensemble(models, prompt)` | `Labelled` |
| transient errors tried again, unseen | `retry_transient()` | events, events |
| another stream where this one fails | `fallback_to(*others)` | events, events |
| a second request where the first is slow | `hedge(after_seconds, make_stream)` | events, events |
| nobody to wait for a provider that is down | `CircuitBreaker()` | events, events |
| no more requests or tokens a minute than allowed | `RateLimit(requests_per_minute=)` | events, events |
| no more streams at a time than allowed | `MaxConcurrent(n)` | events, events |
| an answer that was cut, continued or begun again | `recover(mode)` | events, events |
| what was spent, or kept, however it ended | `finally_response(tell)` | events, events |
| times: first token, gaps, tokens a second | `timing()` | events, `StreamTiming` |
| tokens and money over many answers | `usage()` `cost()` | events, answers ..., `Usage` `Cost` |
| a line in the log, or a look at each item | `tap(log)` | any, the same |
"""

from .ending import finally_response as finally_response
from .json.structured import array_items as array_items
from .json.structured import parse as parse
from .json.structured import partial_json as partial_json
from .json.structured import tool_calls as tool_calls
from .many import Labelled as Labelled
from .many import LabelledError as LabelledError
from .many import ensemble as ensemble
from .many import first_to_finish as first_to_finish
from .many import merge_labelled as merge_labelled
from .many import race as race
from .measure import Cost as Cost
from .measure import StreamTiming as StreamTiming
from .measure import cost as cost
from .measure import tap as tap
from .measure import timing as timing
from .measure import usage as usage
from .pacing.pace import bounded as bounded
from .pacing.pace import buffer as buffer
from .pacing.pace import observe_on_ui as observe_on_ui
from .pacing.pace import smooth as smooth
from .prompts import CanStream as CanStream
from .prompts import Progress as Progress
from .prompts import PromptAnswer as PromptAnswer
from .prompts import PromptFailure as PromptFailure
from .prompts import map_prompts as map_prompts
from .resilience.circuit_breaker import CircuitBreaker as CircuitBreaker
from .resilience.circuit_breaker import CircuitState as CircuitState
from .resilience.fallback import ErrorClass as ErrorClass
from .resilience.fallback import error_class as error_class
from .resilience.fallback import fallback_to as fallback_to
from .resilience.fallback import retry_transient as retry_transient
from .resilience.hedge import hedge as hedge
from .resilience.limits import MaxConcurrent as MaxConcurrent
from .resilience.limits import RateLimit as RateLimit
from .resilience.recover import RecoverMode as RecoverMode
from .resilience.recover import recover as recover
from .share import broadcast as broadcast
from .share import record as record
from .share import tee as tee
from .text.code_blocks import CodeBlockDelta as CodeBlockDelta
from .text.code_blocks import CodeBlockEnd as CodeBlockEnd
from .text.code_blocks import CodeBlockEvent as CodeBlockEvent
from .text.code_blocks import CodeBlockStart as CodeBlockStart
from .text.code_blocks import code_blocks as code_blocks
from .text.filters import stop_at as stop_at
from .text.markdown import MarkdownBlock as MarkdownBlock
from .text.markdown import markdown_blocks as markdown_blocks
from .text.patterns import API_KEYS as API_KEYS
from .text.patterns import CARD_NUMBERS as CARD_NUMBERS
from .text.patterns import EMAIL_ADDRESSES as EMAIL_ADDRESSES
from .text.patterns import grapheme_safe as grapheme_safe
from .text.patterns import redact as redact
from .text.patterns import replace as replace
from .text.plain import accumulate as accumulate
from .text.plain import reasoning as reasoning
from .text.plain import response as response
from .text.plain import text as text
from .text.sentences import sentences as sentences
from .text.splitting import lines as lines
from .text.splitting import paragraphs as paragraphs
from .text.splitting import words as words
from .text.thinking import think_tags as think_tags
