"""The terminal chat, used through a terminal: what is typed, what is seen, what is asked."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rxllm.messages import messages_from_json
from rxllm.testing import ErrorReply, Gate, LLMServer, Reply

pty = pytest.importorskip("pty", reason="Windows has no pseudo-terminals")

pytest.importorskip("rich", reason="the package rich is not installed")

# Test runners that work in the background leave Ctrl-C ignored, and children inherit that.
PROGRAM = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "from rxllm.cli.main import main; sys.exit(main())"
)


class Terminal:
    """The program at one end of a terminal, we at the other."""

    def __init__(self, *words: str, home: Path) -> None:
        self._ours, theirs = pty.openpty()
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ}
        env = {**kept, "TERM": "xterm", "PYTHONUTF8": "1", "HOME": str(home), "COLUMNS": "80", "LINES": "24"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "chat", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=env,
            cwd=home,
            start_new_session=True,
        )
        os.close(theirs)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def wait_for(self, text: str) -> str:
        """Read until `text` has been written, and give what came before and with it; the rest is for the next time."""
        while text not in self.plain():
            if not select.select([self._ours], [], [], 100)[0]:
                raise AssertionError(f"{text!r} does not come: {self.plain()!r}")
            try:
                self.seen += os.read(self._ours, 65536).decode(errors="replace")
            except OSError as error:
                raise AssertionError(f"{text!r} never came: {self.plain()!r}") from error
        before, _, self.seen = self.plain().partition(text)
        return before + text

    def read(self, seconds: float) -> bool:
        """Read what is written next; False if nothing is for so many seconds, or the program has ended."""
        if not select.select([self._ours], [], [], seconds)[0]:
            return False
        try:
            self.seen += os.read(self._ours, 65536).decode(errors="replace")
        except OSError:
            return False
        return True

    def leave(self) -> int:
        """Say /quit, and give the exit status."""
        self.type("/quit\r")
        return self.end()

    def end(self) -> int:
        try:
            while os.read(self._ours, 65536):
                pass
        except OSError:
            pass  # how Linux tells that the other end is closed
        return self.process.wait(60)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(60)
        with contextlib.suppress(OSError):
            os.close(self._ours)

    def plain(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.seen)


@pytest.fixture
def server() -> Iterator[LLMServer]:
    with LLMServer() as running:
        yield running


@pytest.fixture
def terminal(server: LLMServer, tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal("--model", "m", "--base-url", server.base_url(), home=tmp_path)
    made.wait_for("> ")
    yield made
    made.close()


class TestConversing:
    """Questions and answers."""

    def test_several_turns(self, server: LLMServer, terminal: Terminal) -> None:
        """The model hears the whole conversation."""
        server.enqueue("I am Ada", "Ada, I said")
        terminal.type("Who are you?\r")
        terminal.wait_for("I am Ada")
        terminal.wait_for("> ")
        terminal.type("Again?\r")
        terminal.wait_for("Ada, I said")
        said = [(message["role"], message["content"]) for message in server.requests[1].json["messages"]]
        assert [("user", "Who are you?"), ("assistant", "I am Ada"), ("user", "Again?")] == said
        assert 0 == terminal.leave()

    def test_markdown_is_rendered_while_it_streams(self, server: LLMServer, terminal: Terminal) -> None:
        """A whole block is there before the next has come."""
        gate = Gate(4)
        server.enqueue(Reply(pieces=("Some **bo", "ld** text\n", "\n", "- an item", "\n- the last"), gate=gate))
        terminal.type("Show\r")
        terminal.wait_for("Some bold text")
        terminal.wait_for(" • an item")
        gate.open()
        terminal.wait_for(" • the last")
        assert 0 == terminal.leave()

    def test_ctrl_c_stops_the_answer_and_not_the_program(self, server: LLMServer, terminal: Terminal) -> None:
        """The provider sees the close; what had come is part of the conversation."""
        gate = Gate(1)
        server.enqueue(Reply("one two", gate=gate), "Next")
        terminal.type("Count\r")
        terminal.wait_for("one")
        terminal.process.send_signal(signal.SIGINT)
        assert server.wait_for_request().closed.wait(60)
        terminal.wait_for("stopped")
        terminal.wait_for("> ")
        terminal.type("Go on\r")
        terminal.wait_for("Next")
        assert "one" == server.requests[1].json["messages"][1]["content"]
        assert 0 == terminal.leave()

    def test_an_error_is_told_and_the_conversation_goes_on(self, server: LLMServer, terminal: Terminal) -> None:
        """And /retry asks the same again."""
        server.enqueue(ErrorReply(400, "too odd"), "Now it works")
        terminal.type("Well?\r")
        terminal.wait_for("too odd")
        terminal.wait_for("> ")
        terminal.type("/retry\r")
        terminal.wait_for("Now it works")
        assert ["Well?"] == [message["content"] for message in server.requests[1].json["messages"]]
        assert 0 == terminal.leave()

    def test_a_pasted_text_is_one_message(self, server: LLMServer, terminal: Terminal) -> None:
        """Line ends inside it do not send it."""
        terminal.type("\x1b[200~def f():\r    return 1\x1b[201~")
        terminal.type("\r")
        assert "def f():\n    return 1" == server.wait_for_request(timeout=60).prompt
        assert 1 == len(server.requests)

    def test_a_list_with_blank_lines_stays_one_list(self, server: LLMServer, terminal: Terminal) -> None:
        """Its numbers go on, and its indented paragraphs belong to it."""
        server.enqueue("Steps:\n\n1. first\n\n   more of it\n\n2. second\n\n3. third\n\nDone.")
        terminal.type("How?\r")
        shown = terminal.wait_for("Done.")
        assert [" 1 first", " 2 second", " 3 third"] == re.findall(r"^ \d \w+", shown, re.MULTILINE)

    def test_ctrl_c_at_the_prompt_asks_before_a_conversation_is_lost(
        self, server: LLMServer, terminal: Terminal
    ) -> None:
        """The second one leaves; nothing is lost where nothing was said."""
        server.enqueue("Precious")
        terminal.type("Hi\r")
        terminal.wait_for("Precious")
        terminal.wait_for("> ")
        # CPython misses a signal that comes just before readline waits for a key: it is sent again.
        while "/save keeps it" not in terminal.plain():
            assert terminal.process.poll() is None, terminal.plain()
            terminal.process.send_signal(signal.SIGINT)
            while "/save keeps it" not in terminal.plain() and terminal.read(10):
                pass
        terminal.wait_for("/save keeps it")
        terminal.wait_for("> ")  # before it, the terminal may take Ctrl-D for itself
        terminal.type("\x04")
        assert 0 == terminal.end()

    def test_text_of_the_model_cannot_command_the_terminal(self, server: LLMServer, terminal: Terminal) -> None:
        """Control sequences are seen, not obeyed."""
        server.enqueue("\x1b]0;gotcha\x07 done")
        terminal.type("Hi\r")
        assert "␛]0;gotcha␇" in terminal.wait_for("done")


class TestCommands:
    """What begins with a slash."""

    def test_instructions_and_another_model(self, server: LLMServer, terminal: Terminal) -> None:
        """From the next question on."""
        terminal.type("/system Be brief\r")
        terminal.type("/model ollama:llama\r")
        terminal.wait_for("ollama:llama")
        terminal.type("/system\r")
        terminal.type("/nonsense\r")
        terminal.wait_for("unknown command /nonsense")
        terminal.type("/model openai\r")
        terminal.wait_for("`rxllm keys set ")
        terminal.type("/model nobody:x\r")
        terminal.wait_for("> ")
        assert 0 == terminal.leave()

    def test_another_model_of_the_same_server(self, server: LLMServer, tmp_path: Path) -> None:
        """With the options of the command line."""
        words = ("--model", "m", "--base-url", server.base_url(), "--temperature", "0.25")
        terminal = Terminal(*words, home=tmp_path)
        try:
            terminal.type("/model n\r")
            terminal.wait_for("openai-compatible:n")
            terminal.type("Hi\r")
            asked = server.wait_for_request(timeout=60)
            assert ("n", 0.25) == (asked.model, asked.json["temperature"])
            assert 0 == terminal.leave()
        finally:
            terminal.close()

    def test_saving_and_loading(self, server: LLMServer, terminal: Terminal, tmp_path: Path) -> None:
        """The file holds the messages, in this package's own JSON."""
        server.enqueue("Hello there")
        terminal.type("/system Be brief\r")
        terminal.type("Hi\r")
        terminal.wait_for("Hello there")
        terminal.wait_for("> ")
        terminal.type("/save kept.json\r")
        terminal.wait_for("saved to kept.json")
        messages = messages_from_json((tmp_path / "kept.json").read_bytes())
        assert ["Be brief", "Hi", "Hello there"] == [message.text for message in messages]
        terminal.type("/new\r")
        terminal.type("/load kept.json\r")
        terminal.wait_for("3 messages")
        terminal.type("/load nowhere.json\r")
        terminal.wait_for("No such file")
        terminal.type("exit\r")
        assert 0 == terminal.end()

    def test_what_was_typed_is_kept(self, server: LLMServer, terminal: Terminal, tmp_path: Path) -> None:
        """For its owner only, and under the arrow keys the next time."""
        server.enqueue("Hello there", "And again")
        terminal.type("My question\r")
        terminal.wait_for("Hello there")
        assert 0 == terminal.leave()
        history = tmp_path / ".local" / "state" / "rxllm" / "history"
        assert 0o600 == history.stat().st_mode & 0o777
        second = Terminal("--model", "m", "--base-url", server.base_url(), home=tmp_path)
        try:
            second.wait_for("> ")
            second.type("\x1b[A\x1b[A\r")  # beyond /quit
            second.wait_for("And again")
            assert "My question" == server.requests[1].prompt
            second.wait_for("> ")
            second.type("\x04")
            assert 0 == second.end()
        finally:
            second.close()
