"""JSON read while it is written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxllm.operators.json.incremental_parser import MAX_DEPTH, JsonTree

from ..kit import cuts

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.lists(VALUES, max_size=5) | st.dictionaries(TEXTS, VALUES, max_size=5)
WRITTEN = st.builds(
    json.dumps, DOCUMENTS, ensure_ascii=st.booleans(), indent=st.sampled_from([None, 1]), allow_nan=st.just(False)
)


def read(*pieces: str) -> JsonTree:
    """The tree of the JSON in `pieces`."""
    tree = JsonTree()
    for piece in pieces:
        tree.feed(piece)
    return tree


def begins(part: object, whole: object) -> bool:
    """Whether `part` is what there may have been of `whole` at an earlier moment."""
    if isinstance(part, dict) and isinstance(whole, dict):
        keys = list(part)
        return keys == list(whole)[: len(keys)] and all(begins(part[key], whole[key]) for key in keys)
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) <= len(whole) and all(map(begins, part, whole))
    if isinstance(part, str) and isinstance(whole, str):
        return whole.startswith(part)
    return type(part) is type(whole) and part == whole


@given(cuts(WRITTEN))
def test_it_reads_what_json_reads_for_any_cut(pieces: tuple[str, ...]) -> None:
    """The document is the one that the standard library reads from the whole."""
    tree = read(*pieces)
    assert tree.done
    wanted = json.loads("".join(pieces))
    assert wanted == tree.root()
    assert repr(wanted) == repr(tree.root())


@given(cuts(WRITTEN))
def test_every_snapshot_is_a_beginning_of_the_document_and_stays_as_it_was(pieces: tuple[str, ...]) -> None:
    """Snapshots grow, hold no number or literal before it is whole, and never change afterwards."""
    tree = JsonTree()
    seen: list[tuple[object, str]] = []
    for piece in pieces:
        tree.feed(piece)
        if (snapshot := tree.snapshot()) is not None:
            seen.append((snapshot, json.dumps(snapshot)))
    snapshots = [snapshot for snapshot, _ in seen]
    assert all(map(begins, snapshots, [*snapshots[1:], tree.root()]))
    assert [text for _, text in seen] == [json.dumps(snapshot) for snapshot in snapshots]


@pytest.mark.parametrize(
    ("text", "so_far"),
    [
        ("", None),
        (" \n{", {}),
        ('{"a', {}),
        ('{"a"', {}),
        ('{"a": ', {}),
        ('{"a": "', {"a": ""}),
        ('{"a": "x\\', {"a": "x"}),
        ('{"a": "x\\u00', {"a": "x"}),
        ('{"a": "\\ud83d', {"a": ""}),
        ('{"a": "\\ud83d\\ude00', {"a": "😀"}),
        ('{"a": 12', {}),
        ('{"a": 12,', {"a": 12}),
        ('{"a": tru', {}),
        ('[1, [2, {"b": [', [1, [2, {"b": []}]]),
        ('["\\ud83dx", "\\ude00", "\\ud83d\\ud83d\\ude00"]', ["\ufffdx", "\ufffd", "\ufffd😀"]),
        ('["two\nlines\t"]', ["two\nlines\t"]),
        ('{"a": 1, "a": [', {"a": []}),
    ],
)
def test_what_there_is_at_a_moment(text: str, so_far: object) -> None:
    """Text counts as it comes; half an escape, key, number or literal does not."""
    assert so_far == read(*text).snapshot()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "object or array expected at character 0, not 'x'"),
        ("[1 2", "a comma or ] expected at character 3"),
        ('{"a": 1]', "a comma or } expected at character 7"),
        ("{1", "a key in quotes expected at character 1"),
        ('{"a" 1', "a colon expected at character 5"),
        ("[,", "a value expected at character 1"),
        ("[01]", "not a JSON value: 01"),
        ("[1.]", "not a JSON value"),
        ("[nul]", "not a JSON value: nul"),
        ("[-]", "not a JSON value"),
        ("[NaN]", "a value expected"),
        ("[1e999]", "out of range"),
        ('["\\u12g', "hexadecimal digits"),
        ("[" * (MAX_DEPTH + 1), "levels deep"),
        ("[" + "1" * 5000, "digits"),
    ],
)
def test_what_is_not_json_is_told_at_once(text: str, message: str) -> None:
    """A ValueError says what was expected, and where, for any cut."""
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        read(text)
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        read(*text)


@pytest.mark.parametrize("text", ['{"a":\n x', "{\n x", '{"a"\n x', "[1\n x", "[\n x"])
def test_reading_stops_at_the_fault_itself(text: str) -> None:
    """Not before the white space that precedes it: what follows is searched from the line of the fault, for any cut."""
    tree = JsonTree()
    with pytest.raises(ValueError, match="expected"):
        tree.feed(text)
    assert tree.stopped_at == text.index("x")


@pytest.mark.parametrize(
    ("path", "items"),
    [
        ((), []),
        (("a",), [1, [2], {"b": 3}]),
        (("c", "*", "d"), [4, 5, 6]),
        (("c",), [{"d": [4]}, {"d": [5, 6]}]),
        (("e",), []),
    ],
)
def test_items_come_as_they_close_and_are_not_kept(path: tuple[str, ...], items: list[object]) -> None:
    """Elements of the arrays at the path are given out, in order, and the tree does without them."""
    tree = JsonTree(path)
    tree.feed('{"a": [1, [2], {"b": 3}], "c": [{"d": [4]}, {"d": [5, 6]}], "e": {"f": []}}')
    assert items == tree.items
    assert bool(items) == tree.items_found
    assert tree.done
