"""The gate: a few begin at once, nobody while there is something more urgent, and everybody in the end."""

from __future__ import annotations

import threading

from rxllm._runtime import admission as _gate
from rxllm._runtime.admission import Gate
from rxllm._runtime.deadlines import Watchdog

from ..raw_server import LIMIT


class Begun:
    """Who has begun, in order."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.one = threading.Semaphore(0)

    def enter(self, gate: Gate, *names: str) -> None:
        for name in names:
            gate.enter(name, lambda name=name: self.note(name))

    def note(self, name: str) -> None:
        self.names.append(name)
        self.one.release()


def test_a_few_begin_and_the_others_follow_in_order() -> None:
    """A place that is left is the next one's; leaving twice, or from outside, changes nothing."""
    gate, begun = Gate(lambda: False), Begun()
    names = [str(number) for number in range(_gate._PLACES + 2)]
    begun.enter(gate, *names)
    assert begun.names == names[: _gate._PLACES]
    gate.leave("nobody")
    gate.leave(names[0])
    gate.leave(names[0])
    assert begun.names == names[: _gate._PLACES + 1]
    gate.leave(names[1])
    assert begun.names == names


def test_nobody_begins_while_there_is_something_more_urgent() -> None:
    """They begin when that is over."""
    busy = True
    gate, begun = Gate(lambda: busy), Begun()
    begun.enter(gate, "a")
    gate.leave("nobody")
    assert begun.names == []
    busy = False
    gate.let_in()
    assert begun.names == ["a"]


def test_nothing_keeps_anybody_out_for_ever() -> None:
    """Neither one that stays inside, nor something that is always more urgent."""
    for busy in (False, True):
        gate, begun = Gate(lambda busy=busy: busy, Watchdog()), Begun()
        names = [str(number) for number in range(3 * _gate._PLACES)]
        begun.enter(gate, *names)
        for _ in names:
            assert begun.one.acquire(timeout=LIMIT)
        assert begun.names == names
