"""Notes in Redis that the processes behind one address share.

Beside the streams themselves: which stream answers which conversation, whether a stream is watched, the answers to
questions, and which questions are open. All of them expire, except those written by `once`.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
from collections.abc import Callable, Generator, Sequence

from ...errors import APIConnectionError, LLMError, OverloadedError
from ...relay._channel_listener import listen
from ...relay._deployment import RedisAddress
from ...relay._lua_scripts import ADD_ANSWER, GET_ANSWERS, GET_NOTE, SET_NOTE, SET_NOTE_ONCE, Script
from ...relay._redis import SharedConnections, milliseconds
from ..stream_registry import APPROVAL_SECONDS, Verdict

log = logging.getLogger("rxllm")

_MAX_UNSURE = 10_000

_OPEN_QUESTION = Script("redis.call('HSETNX', KEYS[1], ARGV[2], '') redis.call('PEXPIRE', KEYS[1], ARGV[1]) return {1}")
_CLOSE_QUESTIONS = Script(
    """
local closed, must_be_open = ARGV[2], string.sub(ARGV[2], 1, 4) == 'used'
if redis.call('HLEN', KEYS[1]) > 1000 then return {0} end
for at = 3, #ARGV do
    local found = redis.call('HGET', KEYS[1], ARGV[at])
    if found and found ~= '' and found ~= closed then return {0} end
    if not found and must_be_open then return {0} end
end
for at = 3, #ARGV do redis.call('HSET', KEYS[1], ARGV[at], closed) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return {1}
"""
)


class RedisNotes:
    """The notes under `prefix` of one Redis. Safe to use from any thread; each method asks Redis once.

    Every method raises `OverloadedError` if Redis is unreachable, except `once`, which raises `APIConnectionError`.
    """

    def __init__(self, redis: RedisAddress, prefix: str, keep_seconds: float) -> None:
        self._address = redis
        self._keep_seconds = keep_seconds
        self._redis = SharedConnections(redis)
        self._prefix = prefix
        self._channel = f"{prefix}:answered"
        self._unsure: dict[tuple[str, ...], str] = {}
        """How questions were marked as used by calls whose reply was lost: only the same mark is valid for them."""

    def put(self, name: str, value: bytes, seconds: float | None = None) -> None:
        """Write a note that expires after `seconds`, by default those of the server; it replaces one of that name."""
        self._ask(SET_NOTE, name, value, milliseconds(seconds or self._keep_seconds))

    def get(self, name: str) -> bytes | None:
        """Return the note of that name; None if there is none, or it has expired."""
        (value,) = self._ask(GET_NOTE, name)
        return value if isinstance(value, bytes) and value else None

    def once(self, name: str, value: bytes) -> bytes:
        """Write the note if there is none of that name; return the one that is there. It never expires."""
        (found,) = self._redis.call(SET_NOTE_ONCE, [self._key(name)], value)
        return found if isinstance(found, bytes) else value

    def open_question(self, name: str, question: str) -> None:
        """Store that one of the questions of `name` is open, unless it is stored already."""
        self._ask(_OPEN_QUESTION, name, milliseconds(APPROVAL_SECONDS), question)

    def close_questions(self, name: str, questions: Sequence[str], verdict: Verdict) -> bool:
        """Store how questions of `name` are closed; see `Streams.close_questions`.

        "used" is stored with a word that only this call knows, and that the next one takes over if Redis fails: it may
        have stored the mark, and only its reply is lost.
        """
        these = (name, *questions)
        mark = self._unsure.pop(these, f"used {secrets.token_hex(16)}") if verdict == "used" else verdict
        try:
            (closed,) = self._ask(_CLOSE_QUESTIONS, name, milliseconds(APPROVAL_SECONDS), mark, *questions)
        except OverloadedError:
            if verdict == "used" and len(self._unsure) < _MAX_UNSURE:
                self._unsure[these] = mark
            raise
        return closed == 1

    def answer(self, name: str, question: str, answer: bytes) -> None:
        """Write the answer to one of the questions of `name`, unless it has one; all processes are notified."""
        self._ask(ADD_ANSWER, name, question, answer, milliseconds(self._keep_seconds), self._channel)

    def hear(self, name: str, on_answer: Callable[[str, bytes], None]) -> Callable[[], None]:
        """Call `on_answer` with each answer to the questions of `name`, until the returned function is called.

        It is called on threads of its own, and may get an answer more than once. Answers that were written while Redis
        was unreachable come when it is back.
        """

        def read() -> None:
            """Read all answers, and pass them on."""
            try:
                found = self._ask(GET_ANSWERS, name)
            except LLMError:
                return  # `listen` calls this again after it has reconnected
            for question, answer in zip(found[::2], found[1::2], strict=True):
                if isinstance(question, bytes) and isinstance(answer, bytes):
                    on_answer(question.decode(), answer)

        def poke() -> None:
            threading.Thread(target=read, name="rxllm-relay-answers", daemon=True).start()

        return listen(self._address, self._redis.name, self._channel, self._key(name), poke)

    def _key(self, name: str) -> str:
        return f"{self._prefix}:{name}"

    def _ask(self, script: Script, name: str, *arguments: bytes | str | int) -> Sequence[bytes | int]:
        """Run a script for one note."""
        with reaching_redis():
            return self._redis.call(script, [self._key(name)], *arguments)


@contextlib.contextmanager
def reaching_redis() -> Generator[None]:
    """Turn an unreachable Redis into an `OverloadedError` for clients; the log has the details."""
    try:
        yield
    except APIConnectionError as error:
        log.error("the streams of this server are shared through Redis, and: %s", error)
        raise OverloadedError(
            "the Redis that this server shares with others is unreachable", status_code=503, retry_after=1.0
        ) from error
