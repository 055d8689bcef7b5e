"""The visible text, its snapshots, and the whole answer."""

from __future__ import annotations

from rxllm import operators as ops
from rxllm.events import ReasoningDelta

from .kit import Case, OperatorContract, answer, whole

CASES = [
    Case("text", ops.text, [ReasoningDelta("hm"), *answer("He", "llo")], ["He", "llo"]),
    Case("reasoning", ops.reasoning, [ReasoningDelta("h"), ReasoningDelta("m"), *answer("Hi")], ["h", "m"]),
    Case("response", ops.response, answer("He", "llo"), [whole("Hello")]),
    Case("accumulate", ops.accumulate, answer("He", "l", "lo"), ["He", "Hel", "Hello"]),
    Case("accumulate of str", ops.accumulate, ["He", "llo"], ["He", "Hello"]),
]


class TestContract(OperatorContract):
    """The contract, over this family."""

    cases = CASES
