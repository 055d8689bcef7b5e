"""The Lua scripts that run in Redis, each atomically, and the keys that they use.

A stream has three keys: its state (a hash: the producer's token, whether it is open, the number of the last event),
the lease (exists while the producer renews it), and the log (a Redis Stream). A script writes to the log only after
it has found the producer's token in the state, so two producers never interleave. The log's entry for a segment has
the number of the segment's last event as its id, so a segment that is sent again adds nothing. The end is an entry of
its own after the last event.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple


class Keys(NamedTuple):
    """The keys of one stream. The braces put them into one slot of a Cluster."""

    state: str
    lease: str
    log: str

    @classmethod
    def of(cls, stream: str, prefix: str) -> Keys:
        """Return the keys of the stream with this id."""
        return cls(*(f"{prefix}:{{{stream}}}:{part}" for part in cls._fields))


class Script:
    """A Lua script and the SHA-1 under which Redis caches it."""

    def __init__(self, *parts: str) -> None:
        self.text = "\n".join(parts)
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


_STATE = """
local found = redis.call('HMGET', KEYS[1], 'token', 'state', 'last', 'lease', 'keep')
local token, state, last = found[1], found[2], tonumber(found[3] or '0')
local function finish(ending_state, ending)
    redis.call('XADD', KEYS[3], string.format('%.0f-1', last), 'end', ending)
    redis.call('HSET', KEYS[1], 'state', ending_state)
    redis.call('DEL', KEYS[2])
    redis.call('PEXPIRE', KEYS[1], found[5])
    redis.call('PEXPIRE', KEYS[3], found[5])
end
"""

CLAIM = Script(
    _STATE,
    """
local mine, lease, keep, start, take_over = unpack(ARGV)
if token and token ~= mine then
    if state ~= 'open' or take_over == '' or redis.call('EXISTS', KEYS[2]) == 1 then
        return {'taken', last}
    end
end
if not token then
    last = tonumber(start)
    local found_top = redis.call('EXISTS', KEYS[3]) == 1 and redis.pcall('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)
    if found_top and found_top[1] then last = math.max(last, tonumber(string.match(found_top[1][1], '^%d+'))) end
end
if token == mine and state ~= 'open' then return {state, last} end
redis.call('HSET', KEYS[1], 'token', mine, 'state', 'open', 'last', string.format('%.0f', last),
    'lease', lease, 'keep', keep)
redis.call('SET', KEYS[2], mine, 'PX', lease)
redis.call('PEXPIRE', KEYS[1], keep)
return {'open', last}
""",
)
"""ARGV: token, lease and keep in ms, number of the event to continue after, "1" to take over.

Returns the state and the last number. If the state was evicted but not the log, the last number is the log's.
"""

WRITE = Script(
    _STATE,
    """
local mine, before, upto, frame, most, renew, ending_state, ending = unpack(ARGV)
if not token then return {'unknown', 0} end
if token ~= mine then return {'taken', last} end
if state ~= 'open' then return {state, last} end
if last < tonumber(upto) then
    if last ~= tonumber(before) then return {'behind', last} end
    redis.call('XADD', KEYS[3], 'MAXLEN', '~', most, upto .. '-0', 'frame', frame)
    redis.call('HSET', KEYS[1], 'last', upto)
    last = tonumber(upto)
end
if ending_state ~= '' then
    finish(ending_state, ending)
    return {ending_state, last}
end
if renew == '1' then
    redis.call('SET', KEYS[2], mine, 'PX', found[4])
    redis.call('PEXPIRE', KEYS[1], found[5])
    redis.call('PEXPIRE', KEYS[3], found[5])
end
return {'open', last}
""",
)
"""ARGV: token, the segment's first number minus 1, its last, the segment, entries to keep, "1" to renew the lease, the
ending's state and the ending, or "" and "".

 Returns the state and the last number.
"""

CANCEL = Script(
    _STATE,
    """
if not state then return {-1} end
if state ~= 'open' then return {0} end
finish('cancelled', ARGV[1])
redis.call('PUBLISH', ARGV[2], KEYS[1])
return {1}
""",
)
"""ARGV: the ending, the channel on which producers listen. Returns 1 if it was open, -1 if there is no stream."""

GIVE_UP = Script(
    _STATE,
    """
if state ~= 'open' or redis.call('PTTL', KEYS[2]) > 0 then return {0} end
finish('failed', ARGV[1])
return {1}
""",
)
"""ARGV: the ending. Ends a stream whose lease has expired; returns 1 if it did."""

GET_STATE = Script(
    _STATE,
    """
local left = redis.call('PTTL', KEYS[2])  -- for EXISTS in a script, replicas before Redis 7 have expired keys
return {state or '', last, tonumber(found[4] or '0'), left > 0 and 1 or 0}
""",
)
"""Returns the state ("" if there is no stream), the last number, the lease in ms, and 1 if the lease is held."""

SET_NOTE = Script("return {redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) and 1}")
"""ARGV: a value, and for how many ms it is kept."""

GET_NOTE = Script("return {redis.call('GET', KEYS[1]) or ''}")

SET_NOTE_ONCE = Script("redis.call('SET', KEYS[1], ARGV[1], 'NX') return {redis.call('GET', KEYS[1])}")
"""ARGV: a value, which is stored if there is none. Returns the stored one."""

ADD_ANSWER = Script("""
redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PUBLISH', ARGV[4], KEYS[1])
return {1}
""")
"""ARGV: a question, its answer, for how many ms it is kept, the channel on which the asking process listens."""

GET_ANSWERS = Script("return redis.call('HGETALL', KEYS[1])")
"""Returns questions and answers in turn."""
