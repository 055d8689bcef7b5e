"""Memory: windows that part nothing, summaries, stores in the process and on SQLite."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rxllm
from rxllm import ImagePart, Message, ReasoningPart, StreamInterruptedError, TextDelta, TextPart, ToolCall, ToolResult
from rxllm.assistant import (
    Assistant,
    InMemoryStore,
    Memory,
    MemoryStore,
    MemoryStoreError,
    SQLiteStore,
    Summary,
    last_messages,
    last_tokens,
    message_tokens,
    within_context,
)
from rxllm.testing import Drop, ErrorReply, Reply, ScriptedModel, Stall

from .turns import LIMIT, is_consistent


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MemoryStore]:
    """Each store of ours."""
    if request.param == "memory":
        yield InMemoryStore()
    else:
        with SQLiteStore(tmp_path / "chat.db") as sqlite:
            yield sqlite


TALK = """
import sys, threading
from rxllm.assistant import Assistant, Memory, SQLiteStore
from rxllm.testing import ScriptedModel

def talk(thread):
    for turn in range(5):
        question = f"{sys.argv[2]} {thread} {turn}"
        Assistant(ScriptedModel("answer to " + question), memory=memory).chat(question, conversation="c")

with SQLiteStore(sys.argv[1]) as store:
    memory = Memory(store)
    threads = [threading.Thread(target=talk, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def turn(number: int, tools: int = 0) -> list[Message]:
    """A question, calls of tools with their results, and the answer."""
    messages = [Message.user(f"question {number}")]
    for at in range(tools):
        call = ToolCall(f"{number}.{at}", "add", {"a": at})
        messages += [Message.assistant("Well.", call), Message.tool(ToolResult(call.id, "1", "add"))]
    return [*messages, Message.assistant(f"answer {number}")]


class TestStores:
    """What every store promises."""

    def test_messages_come_back_as_they_were(self, store: MemoryStore) -> None:
        """Images, signatures, calls and results included."""
        messages = [
            Message.user("Hi \U0001f600", ImagePart(data=b"\x00\xff", media_type="image/png")),
            Message("assistant", (ReasoningPart("Hm", {"anthropic": {"signature": "s"}}), TextPart("Hello"))),
            *turn(1, tools=2),
        ]
        store.append("ada", messages[:2])
        store.append("ada", messages[2:])
        assert messages == list(store.load("ada"))
        assert [] == list(store.load("bob"))

    def test_replacing_the_beginning(self, store: MemoryStore) -> None:
        """Only where it is still what one thinks it is."""
        store.append("c", turn(1) + turn(2))
        summary = Message.system("sum")
        assert store.replace("c", turn(1), [summary])
        assert [summary, *turn(2)] == list(store.load("c"))
        assert not store.replace("c", turn(1), [])
        assert [summary, *turn(2)] == list(store.load("c"))

    def test_turns_of_many_threads_do_not_mix(self, store: MemoryStore) -> None:
        """Each is whole, one after another."""
        begin = threading.Barrier(8, timeout=60)

        def add(number: int) -> None:
            begin.wait()
            for _ in range(5):
                store.append("c", turn(number, tools=1))

        threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        messages = list(store.load("c"))
        turns = [messages[at : at + 4] for at in range(0, len(messages), 4)]
        assert 40 == len(turns)
        assert all(one == turn(int(one[0].text.split()[1]), tools=1) for one in turns)

    def test_forgetting(self, store: MemoryStore) -> None:
        """One conversation, and no other."""
        memory = Memory(store)
        memory.add("a", turn(1))
        memory.add("b", turn(2))
        memory.clear("a")
        assert ([], turn(2)) == (list(memory.messages("a")), list(memory.messages("b")))

    def test_assistants_share_a_memory(self, store: MemoryStore) -> None:
        """One goes on where another stopped; conversations stay apart."""
        memory = Memory(store)
        Assistant(ScriptedModel("Hello, Ada"), memory=memory).chat("I am Ada", conversation="ada")
        other = ScriptedModel("Ada")
        Assistant(other, memory=memory).chat("Who am I?", conversation="ada")
        Assistant(other, memory=memory).chat("Who am I?", conversation="bob")
        assert ["I am Ada", "Hello, Ada", "Who am I?"] == [message.text for message in other.calls[0].messages]
        assert ["Who am I?"] == [message.text for message in other.calls[1].messages]


class TestSQLite:
    """What only a file can do."""

    def test_conversations_outlive_the_process(self, tmp_path: Path) -> None:
        """And are listed."""
        with SQLiteStore(tmp_path / "chat.db") as first:
            first.append("ada", turn(1))
        with SQLiteStore(tmp_path / "chat.db") as second:
            assert (["ada"], turn(1)) == (second.conversations(), list(second.load("ada")))
        second.close()

    def test_two_connections_do_not_mix_turns(self, tmp_path: Path) -> None:
        """As two processes would."""
        with SQLiteStore(tmp_path / "chat.db") as first, SQLiteStore(tmp_path / "chat.db") as second:
            threads = [
                threading.Thread(target=store.append, args=("c", turn(number)))
                for number, store in enumerate([first, second] * 10)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            messages = first.load("c")
            assert 40 == len(messages)
            assert all(messages[at].text.split()[1] == messages[at + 1].text.split()[1] for at in range(0, 40, 2))

    def test_processes_share_a_conversation(self, tmp_path: Path) -> None:
        """Two of them, begun at once on a file that is not there yet, three threads each: no turn is lost or mixed."""
        path = tmp_path / "chat.db"
        processes = [
            subprocess.Popen([sys.executable, "-W", "error", "-c", TALK, str(path), name], stderr=subprocess.PIPE)
            for name in ("one", "two")
        ]
        for process in processes:
            assert (b"", 0) == (process.communicate(timeout=60)[1], process.returncode)
        with SQLiteStore(path) as store:
            texts = [message.text for message in store.load("c")]
        questions, answers = texts[::2], texts[1::2]
        assert {
            f"{name} {thread} {turn}" for name in ("one", "two") for thread in range(3) for turn in range(5)
        } == set(questions)
        assert [f"answer to {question}" for question in questions] == answers

    def test_what_is_no_database_is_refused(self, tmp_path: Path) -> None:
        """At once, with an error that names the file, which stays as it is."""
        path = tmp_path / "no.db"
        path.write_text("no database at all, but text that is long enough to be one" * 20)
        with pytest.raises(rxllm.ConfigurationError, match=r"no\.db is not an SQLite database"):
            SQLiteStore(path)
        assert path.read_text().startswith("no database")

    def test_a_file_that_cannot_be_opened_is_named(self, tmp_path: Path) -> None:
        """SQLite's own error has no path."""
        path = tmp_path / "nowhere" / "chat.db"
        with pytest.raises(rxllm.ConfigurationError, match=re.escape(f"cannot open {path}")):
            SQLiteStore(path)

    def test_a_store_that_fails_fails_the_turn(self, tmp_path: Path) -> None:
        """With an error of ours that says so; the request is not made."""
        store = SQLiteStore(tmp_path / "chat.db")
        store.close()
        model = ScriptedModel()
        with pytest.raises(MemoryStoreError, match="read: ProgrammingError"):
            Assistant(model, memory=Memory(store)).chat("?")
        assert [] == model.calls

    def test_an_answer_that_cannot_be_kept_is_in_the_error(self, tmp_path: Path) -> None:
        """It was paid for."""
        store = SQLiteStore(tmp_path / "chat.db")

        def answer(call: object) -> str:
            store.close()
            return "Hello"

        with pytest.raises(MemoryStoreError, match="written") as caught:
            Assistant(ScriptedModel(answer), memory=Memory(store)).chat("?")
        assert caught.value.partial is not None
        assert "Hello" == caught.value.partial.text


class TestWindows:
    """What of a conversation is sent."""

    def test_whole_turns_within_a_number_of_messages(self) -> None:
        """From a question on; a turn that would be cut is left out."""
        messages = [*turn(1), *turn(2, tools=1), *turn(3), Message.user("now")]
        assert messages[6:] == list(last_messages(4)(messages))
        assert messages[2:] == list(last_messages(8)(messages))

    def test_the_newest_turn_is_never_cut(self) -> None:
        """Be it longer than the window."""
        messages = [*turn(1), *turn(2, tools=3)]
        assert messages[2:] == list(last_messages(3)(messages))
        assert messages[2:] == list(last_tokens(1)(messages))

    def test_a_summary_at_the_beginning_stays(self) -> None:
        """It stands for all the rest."""
        messages = [Message.system("so far"), *turn(1), *turn(2)]
        assert [messages[0], *turn(2)] == list(last_messages(2)(messages))

    def test_a_budget_of_tokens(self) -> None:
        """By an estimate, or by your own count."""
        messages = [*turn(1), *turn(2), Message.user("now")]
        assert messages[2:] == list(last_tokens(4, count=lambda message: 1)(messages))
        assert messages == list(last_tokens(5, count=lambda message: 1)(messages))
        assert 4 < message_tokens(messages[0]) < 40

    def test_the_context_of_a_known_model(self) -> None:
        """Is the budget, less room for the answer; of an unknown model one must be given."""
        model = rxllm.create_streaming_model("openai:gpt-4o-mini", api_key="k")
        messages = [*turn(1), *turn(2), Message.user("now")]
        assert messages == list(within_context(model, count=lambda _: 111_616 // 5)(messages))
        assert messages[2:] == list(within_context(model, count=lambda _: 111_616 // 5 + 1)(messages))
        assert messages[2:] == list(within_context(model, answer=64_000, count=lambda _: 16_000)(messages))
        with pytest.raises(rxllm.ConfigurationError, match="last_tokens"):
            within_context(ScriptedModel())

    @given(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.integers(0, 40), st.booleans())
    def test_no_call_is_parted_from_its_result(self, turns: list[int], size: int, by_tokens: bool) -> None:
        """Whatever the conversation and the window: it begins with a question, ends with the newest message."""
        messages: Sequence[Message] = [message for at, tools in enumerate(turns) for message in turn(at, tools)]
        window = last_tokens(size, count=lambda message: 1) if by_tokens else last_messages(size)
        seen = list(window(messages))
        assert is_consistent(seen)
        assert ("user", messages[-1]) == (seen[0].role, seen[-1])
        newest = 2 * turns[-1] + 2
        assert len(seen) <= max(size, newest)

    def test_an_assistant_sends_its_window(self) -> None:
        """And keeps all."""
        memory = Memory(window=last_messages(3))
        model = ScriptedModel()
        for text in ("a", "b", "c"):
            Assistant(model, memory=memory, system="S").chat(text)
        assert ["S", "b", "b", "c"] == [message.text for message in model.calls[2].messages]
        assert 6 == len(memory.messages())


class TestSummaries:
    """Long conversations are shortened by the model itself."""

    def test_the_oldest_turns_become_a_summary(self) -> None:
        """Once, kept in the store, and sent with the instructions."""
        writer, model = ScriptedModel("Ada said a and b."), ScriptedModel()
        memory = Memory(summary=Summary(writer, after=4, keep=2))
        assistant = Assistant(model, memory=memory, system="S")
        for text in ("a", "b", "c", "d"):
            assistant.chat(text)
        assert 1 == len(writer.calls)
        assert "user: a" in writer.calls[0].prompt
        summary = "Summary of the conversation so far: Ada said a and b."
        assert [f"S\n\n{summary}", "c", "c", "d"] == [message.text for message in model.calls[3].messages]
        assert [summary, "c", "c", "d", "d"] == [message.text for message in memory.messages()]

    def test_calls_and_results_are_summarised_too(self) -> None:
        """As text."""
        writer = ScriptedModel("S")
        memory = Memory(summary=Summary(writer, after=1, keep=0))
        memory.add("", [*turn(1, tools=1), *turn(2)])
        Summary(writer, after=1, keep=2).stream(turn(1, tools=1)).run()
        assert 'add({"a":0})' in writer.calls[0].prompt
        assert "tool: 1" in writer.calls[0].prompt

    @pytest.mark.parametrize("reply", [ErrorReply(500, "no"), Reply(" \n")], ids=["error", "empty"])
    def test_a_summary_that_fails_does_not_fail_the_turn(
        self, reply: Reply | ErrorReply, caplog: pytest.LogCaptureFixture
    ) -> None:
        """All messages are sent, none is replaced, and the failure is logged."""
        memory = Memory(summary=Summary(ScriptedModel(reply), after=1, keep=1))
        memory.add("", turn(1) + turn(2))
        model = ScriptedModel("fine")
        assert "fine" == Assistant(model, memory=memory).chat("?").text
        assert 5 == len(model.calls[0].messages)
        assert memory.messages()[:4] == tuple(turn(1) + turn(2))
        assert "could not be summarised" in caplog.text

    def test_numbers_that_are_none_are_refused(self) -> None:
        """At once."""
        for wrong in ({"after": -1}, {"keep": -1}, {"after": "40"}):
            with pytest.raises(rxllm.ConfigurationError):
                Summary(ScriptedModel(), **wrong)  # type: ignore[arg-type]  # the point


class BrokenStore(InMemoryStore):
    """Reads, and cannot write."""

    def append(self, conversation: str, messages: Sequence[Message], /) -> None:
        raise OSError("the disk is full")


def test_a_turn_is_stored_whole_or_not_at_all(tmp_path: Path) -> None:
    """What cannot be written takes back what was."""
    with SQLiteStore(tmp_path / "chat.db") as store:
        with pytest.raises(rxllm.ConfigurationError):
            store.append("c", [Message.user("Hi"), Message("assistant", (threading.Lock(),))])  # type: ignore[arg-type]  # the point
        assert () == store.load("c")
        store.append("c", turn(1))
        assert turn(1) == list(store.load("c"))


def test_a_failed_turn_that_cannot_be_kept_says_both() -> None:
    """The turn's own error comes first; the store's is a note of it."""
    model = ScriptedModel(Reply("One two", fault=Drop(after=1)))
    with pytest.raises(StreamInterruptedError) as caught:
        Assistant(model, memory=Memory(BrokenStore()), keep_partial=True).chat("?")
    assert ["the conversation could not be written: OSError: the disk is full"] == caught.value.__notes__


def test_a_leading_greeting_stays_while_all_fits() -> None:
    """It goes with the first turn that is cut."""
    greeting = Message.assistant("Hello, I am the shop.")
    turns = [Message.user("a"), Message.assistant("b"), Message.user("c"), Message.assistant("d")]
    for window in (last_messages(5), last_tokens(1000)):
        assert list(window([greeting, *turns])) == [greeting, *turns]
    assert list(last_messages(4)([greeting, *turns])) == turns


def test_a_row_that_cannot_be_read_is_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And logged; the conversation goes on, and can be forgotten."""
    path = tmp_path / "rows.db"
    with SQLiteStore(path) as store:
        store.append("c", [Message.user("a"), Message.assistant("b")])
        for position, text in ((2, '{"role": "martian"}'), (3, "no JSON")):
            store._connection.execute("INSERT INTO messages VALUES ('c', ?, ?)", (position, text))
        model = ScriptedModel("x")
        Assistant(model, memory=Memory(store)).chat("q", conversation="c")
        assert [message.text for message in model.calls[0].messages] == ["a", "b", "q"]
        assert "message 3 of conversation 'c' cannot be read" in caplog.text
        Memory(store).clear("c")
        assert store.conversations() == []


def test_processes_open_a_new_file_at_once(tmp_path: Path) -> None:
    """None of them fails: SQLite itself does not wait for the change of the journal."""
    script = "import sys; from rxllm.assistant import SQLiteStore as S\nfor path in sys.stdin: S(path[:-1], timeout=60)"
    command = [sys.executable, "-W", "ignore", "-c", script]
    runs = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
    for number in range(20):
        for run in runs:
            assert run.stdin is not None
            run.stdin.write(f"{tmp_path / str(number)}.db\n".encode())
            run.stdin.flush()
    assert [run.communicate()[1] for run in runs] == [b""] * 4


def test_a_cancelled_turn_that_cannot_be_kept_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """dispose() itself raises nothing."""
    got = threading.Event()
    model = ScriptedModel(Reply("One two", fault=Stall(after=1)))
    assistant = Assistant(model, memory=Memory(BrokenStore()), keep_partial=True)
    subscription = assistant.stream("?").subscribe(lambda event: got.set() if event == TextDelta("One") else None)
    assert got.wait(LIMIT)
    subscription.dispose()
    assert "a cancelled turn could not be written to the memory" in caplog.text
