"""What each wire calls token counts and finish reasons: `_vendor_terms.json`, read for answers and for writing them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from .._json import count_at, is_object, object_at, table
from .._protocol import JsonObject
from ..events import FinishReason, Usage


class Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The words of one wire."""

    counts: Mapping[str, tuple[str, ...]]
    """For each field of `Usage` the names in use, of which the first one present counts; "details.cached" is the count
    `cached` in the object `details`."""
    reasons: Mapping[FinishReason, tuple[str, ...]]
    """The words for each finish reason, without those for "other"."""
    total: tuple[str, ...] = ()
    """The counts that the total is the sum of, if the vendor names none. The first two must be known."""
    written: Mapping[FinishReason, str] = {}
    """The words that an answer is written with, if not the first of `reasons`."""
    modelled: frozenset[str] = frozenset()
    """All names in `counts`, without those of the objects around them."""

    def __post_init__(self) -> None:
        names = frozenset(path.rpartition(".")[2] for paths in self.counts.values() for path in paths)
        msgspec.structs.force_setattr(self, "modelled", names)

    def reason_of(self, word: str) -> FinishReason:
        """Return the finish reason that a word stands for; "other" if it is not known."""
        for reason, words in self.reasons.items():
            if word in words:
                return reason
        return "other"

    def word_for(self, reason: FinishReason) -> str | None:
        """Return the word to write for a finish reason; None for "other"."""
        return self.written.get(reason) or next(iter(self.reasons.get(reason, ())), None)

    def usage_of(self, counts: JsonObject, before: Usage | None = None) -> Usage:
        """Return the usage in a vendor's counts; what they leave out stays as it was `before`.

        Counts that are all 0 are a placeholder, which some servers send also behind the real ones.
        """
        known: dict[str, int] = {}
        for field, paths in self.counts.items():
            for path in paths:
                outer, dot, name = path.rpartition(".")
                count = count_at(object_at(counts, outer) if dot else counts, name)
                if count is not None:
                    known[field] = count
                    break
        if self.total and all(count_at(counts, name) is not None for name in self.total[:2]):
            known["total_tokens"] = sum(count_at(counts, name) or 0 for name in self.total)
        if before is not None and before.input_tokens and not any(known.values()):
            return before
        return msgspec.structs.replace(before or Usage(), **known)

    def unmodelled_counts(self, counts: JsonObject) -> dict[str, object]:
        """Return the filled counts for which `Usage` has no field: costs, times, kinds of tokens."""
        rest: dict[str, object] = {}
        for name, value in counts.items():
            if is_object(value):
                value = {key: count for key, count in value.items() if key not in self.modelled and count}
            if value and name not in self.modelled:
                rest[name] = value
        return rest

    def written_counts(self, usage: Usage) -> dict[str, object]:
        """Return the known counts under the vendor's first name for each."""
        counts: dict[str, object] = {}
        for field, (path, *_) in self.counts.items():
            outer, _, name = path.rpartition(".")
            count = getattr(usage, field)
            if count is not None and outer:
                counts[outer] = {**object_at(counts, outer), name: count}
            elif count is not None:
                counts[name] = count
        return counts

    def whole_counts(self, usage: Usage, *parts: str) -> dict[str, object]:
        """Return the counts: 0 for unknown tokens and `parts` of them, and their sum as total: clients add them up."""
        total = (usage.input_tokens or 0) + (usage.output_tokens or 0)
        zeros = {field: 0 for field in ("input_tokens", "output_tokens", *parts) if getattr(usage, field) is None}
        changes = {**zeros, "total_tokens": usage.total_tokens or total}
        return self.written_counts(msgspec.structs.replace(usage, **changes))


WORDS = table("rxllm.providers", "_vendor_terms.json", dict[str, Words])
"""The words of each wire, by its name."""
