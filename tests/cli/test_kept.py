"""What the command keeps and takes: keys, logs, templates, attachments, schemas; and output that cannot be written."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from rxllm.testing import Drop, LLMServer, Reply

from .test_main import COMMAND, ask, environment, pty, run
from .test_main import home as home
from .test_main import server as server


class TestKeys:
    """`rxllm keys`."""

    def test_a_stored_key_is_used_and_only_its_owner_can_read_it(self, server: LLMServer, home: Path) -> None:
        """The variable wins; the key is never printed."""
        path = Path(run("keys", "path").stdout.strip())
        done = run("keys", "set", "openai", stdin="stored-key\n")
        assert (done.returncode, done.stdout) == (0, f"stored in {path}\n")
        assert path.is_relative_to(home)
        assert 0o600 == path.stat().st_mode & 0o777
        assert "openai\n" == run("keys", "list").stdout
        words = ("--model", "openai:m", "--base-url", server.base_url(), "Hi")
        run(*words)
        run(*words, variables={"OPENAI_API_KEY": "variable"})
        assert ["Bearer stored-key", "Bearer variable"] == [each.headers["authorization"] for each in server.requests]
        assert 0 == run("keys", "remove", "openai").returncode
        assert "no key is stored\n" == run("keys", "list").stdout

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("set", "opnai", "--value", "k"), "openai"),
            (("set", "local", "--value", "k"), "needs no key"),
            (("set",), "name a provider"),
            (("set", "openai"), "empty"),
            (("remove", "openai"), "no key"),
        ],
    )
    def test_what_is_wrong_is_said(self, words: tuple[str, ...], said: str) -> None:
        """In one line."""
        done = run("keys", *words)
        assert 1 == done.returncode
        assert said in done.stderr
        assert 1 == done.stderr.count("\n")

    def test_ctrl_d_gives_no_key(self) -> None:
        """At the question of a terminal."""
        ours, theirs = pty.openpty()
        command = [*COMMAND, "keys", "set", "openai"]
        with subprocess.Popen(
            command, stdin=theirs, stderr=subprocess.PIPE, env=environment(), start_new_session=True
        ) as process:
            os.close(theirs)
            assert process.stderr is not None
            said = b""
            while not said.endswith(b"key of openai: ") and process.poll() is None:
                said += os.read(process.stderr.fileno(), 1000)
            os.write(ours, b"\x04")
            rest = process.stderr.read()
        os.close(ours)
        assert (1, b"rxllm: the key is empty") == (process.returncode, rest.strip())

    def test_without_words_its_help_is_shown(self) -> None:
        """As people try first."""
        done = run("keys")
        assert (0, "") == (done.returncode, done.stderr)
        assert "{set,remove,list,path}" in done.stdout

    def test_a_folder_that_cannot_be_written_is_named(self, home: Path) -> None:
        """Not only that something failed."""
        (home / ".config").mkdir()
        (home / ".config" / "rxllm").symlink_to("/proc/nowhere")
        command = [*COMMAND, "keys", "set", "openai"]
        done = subprocess.run(command, input="k", env=environment(), capture_output=True, text=True, timeout=60)
        assert (1, 1) == (done.returncode, done.stderr.count("\n"))
        assert str(home / ".config") in done.stderr

    @pytest.mark.parametrize("is_known", [True, False])
    def test_a_home_that_is_not_a_folder_has_no_keys(
        self, server: LLMServer, monkeypatch: pytest.MonkeyPatch, is_known: bool
    ) -> None:
        """As of users of services and containers; the answer is not logged, which is said."""
        monkeypatch.setenv("HOME", os.devnull)
        if not is_known:

            def home() -> Path:
                raise RuntimeError("could not determine home directory")

            monkeypatch.setattr(Path, "home", home)
        done = ask(server, "Hi")
        assert (0, "Hi\n", 1) == (done.returncode, done.stdout, done.stderr.count("\n"))
        assert "cannot use the log" in done.stderr

    def test_a_broken_file_is_said(self, home: Path) -> None:
        """With its path."""
        path = Path(run("keys", "path").stdout.strip())
        path.parent.mkdir(parents=True)
        path.write_text("{")
        assert str(path) in run("Hi").stderr


class TestConversations:
    """`rxllm chat --load`."""

    @pytest.mark.parametrize("content", [None, "{", "\x80", '[{"role": "nobody"}]'])
    def test_a_file_that_is_no_conversation_is_said(
        self, server: LLMServer, tmp_path: Path, content: str | None
    ) -> None:
        """In one line."""
        pytest.importorskip("rich", reason="the package rich is not installed")
        path = tmp_path / "kept.json"
        if content is not None:
            path.write_text(content, encoding="latin-1")
        done = run("chat", "-m", "openai-compatible:m", "--base-url", server.base_url(), "--load", str(path))
        assert (1, 1) == (done.returncode, done.stderr.count("\n"))
        assert f"cannot load {path}" in done.stderr


class TestLogs:
    """`-c` and `rxllm logs`."""

    def test_a_conversation_is_continued(self, server: LLMServer) -> None:
        """With its instructions and its model; the log has both answers."""
        server.enqueue("Ada", "Ada, I said")
        model = ("--model", "openai-compatible:m", "--base-url", server.base_url())
        run(*model, "--system", "Be brief", "Who are you?")
        assert "Ada, I said\n" == run("-c", *model, "Again?").stdout
        sent = [(each["role"], each["content"]) for each in server.requests[1].json["messages"]]
        assert sent == [("system", "Be brief"), ("user", "Who are you?"), ("assistant", "Ada"), ("user", "Again?")]
        shown = run("logs").stdout
        assert shown.index("Who are you?") < shown.index("Again?")
        assert 2 == shown.count("conversation 1")

    def test_the_log_is_sqlite_that_only_its_owner_can_read(self, server: LLMServer) -> None:
        """`--no-log` leaves an answer out."""
        ask(server, "Kept")
        ask(server, "--no-log", "Not kept")
        path = Path(run("logs", "--path").stdout.strip())
        assert 0o600 == path.stat().st_mode & 0o777
        connection = sqlite3.connect(path)
        assert [("Kept", "Kept", "ollama:m")] == connection.execute(
            "SELECT prompt, answer, model FROM answers"
        ).fetchall()
        connection.close()

    def test_there_must_be_something_to_continue(self) -> None:
        """Else it is said."""
        for words in (("-c", "Go on"), ("chat", "-c")):
            done = run(*words)
            assert (1, 1) == (done.returncode, done.stderr.count("\n"))
            assert "log is empty" in done.stderr

    @pytest.mark.parametrize("words", [("-c", "Go on"), ("chat", "-c")])
    def test_a_conversation_of_another_version_is_said(self, server: LLMServer, words: tuple[str, ...]) -> None:
        """In one line."""
        ask(server, "Hi")
        with closing(sqlite3.connect(run("logs", "--path").stdout.strip())) as connection, connection:
            connection.execute("""UPDATE answers SET messages = '[{"role": "critic", "parts": []}]'""")
        done = run(*words)
        assert (1, 1) == (done.returncode, done.stderr.count("\n"))
        assert "conversation 1 of the log cannot be read" in done.stderr

    @pytest.mark.parametrize("count", ["0", "-1"])
    def test_a_number_of_answers_is_at_least_one(self, server: LLMServer, count: str) -> None:
        """Neither nothing nor all."""
        ask(server, "Hi")
        done = run("logs", "-n", count)
        assert (1, "") == (done.returncode, done.stdout)
        assert "-n" in done.stderr

    def test_a_log_that_cannot_be_written_costs_no_answer(self, server: LLMServer, home: Path) -> None:
        """A warning is enough."""
        (home / ".local").write_text("in the way")
        done = ask(server, "Hi")
        assert (0, "Hi\n") == (done.returncode, done.stdout)
        assert "cannot use the log" in done.stderr


class TestPrompts:
    """`-a`, `--schema` and `-t`."""

    def test_files_go_with_the_question(self, server: LLMServer, tmp_path: Path) -> None:
        """By their kind."""
        (tmp_path / "cat.png").write_bytes(b"picture")
        (tmp_path / "report.pdf").write_bytes(b"document")
        model = ("--model", "openai:gpt-x", "--base-url", server.base_url())
        assert 0 == run(*model, "-a", str(tmp_path / "cat.png"), "-a", str(tmp_path / "report.pdf"), "What?").returncode
        body = server.requests[0].body.decode()
        assert "data:image/png;base64,cGljdHVyZQ==" in body
        assert "data:application/pdf;base64,ZG9jdW1lbnQ=" in body

    @pytest.mark.parametrize(
        ("name", "said"),
        [("none.png", "No such file"), ("noext", "extension"), ("~unknown-user/cat.png", "No such file")],
    )
    def test_a_file_that_cannot_be_sent(self, server: LLMServer, tmp_path: Path, name: str, said: str) -> None:
        """Nothing is asked."""
        (tmp_path / "noext").write_bytes(b"?")
        given = name if name.startswith("~") else str(tmp_path / name)
        assert said in ask(server, "-a", given, "Hi").stderr
        assert [] == server.requests

    def test_a_schema(self, server: LLMServer, tmp_path: Path) -> None:
        """In the argument or in a file."""
        schema = {"type": "object", "properties": {"name": {"type": "string"}}}
        (tmp_path / "s.json").write_text(json.dumps(schema))
        for given in (json.dumps(schema), str(tmp_path / "s.json")):
            ask(server, "--schema", given, "Hi")
        assert [schema, schema] == [request.json["format"] for request in server.requests]
        for wrong in ("{", "[]", "/nowhere.json", '{"a":' * 5000 + "1" + "}" * 5000):
            done = ask(server, "--schema", wrong, "Hi")
            assert (1, 1) == (done.returncode, done.stderr.count("\n"))
        done = run("-m", "openai", "--schema", '{"a": 1}', "Hi", variables={"OPENAI_API_KEY": "k"})
        assert "rxllm: --schema is not something 'openai' can do" in done.stderr
        assert 'its root is not an object ("type": "object")' in done.stderr

    def test_a_template(self, server: LLMServer, home: Path) -> None:
        """With its values and its instructions; a missing value is named."""
        folder = home / ".config" / "rxllm" / "templates"
        folder.mkdir(parents=True)
        (folder / "translate.toml").write_text('prompt = "To $language: $input"\nsystem = "Translate."\n')
        ask(server, "-t", "translate", "-p", "language", "French", "Good day")
        sent = server.requests[0].json["messages"]
        assert ["Translate.", "To French: Good day"] == [each["content"] for each in sent]
        assert "-p language VALUE" in ask(server, "-t", "translate", "Good day").stderr
        (folder / "price.toml").write_text('prompt = "Is $5 cheap?"')
        assert "write $$" in ask(server, "-t", "price", "Good day").stderr
        assert "translate: To $language" in run("templates").stdout
        assert "there is no question" in ask(server, "-t", "translate", "-p", "language", "French").stderr
        assert "there is no template" in ask(server, "-t", "nothing", "Hi").stderr
        message = ask(server, "-p", "tone", "warm", "Hi").stderr
        assert "-p tone: the template (-t) has no such name; it has $input" in message

    def test_files_of_windows(self, server: LLMServer, home: Path) -> None:
        """The mark at the beginning, by which its editors know UTF-8, is not text."""
        folder = home / ".config" / "rxllm" / "templates"
        folder.mkdir(parents=True)
        (folder / "ask.toml").write_text('prompt = "Please: $input"', encoding="utf-8-sig")
        (home / "s.json").write_text('{"type": "object"}', encoding="utf-8-sig")
        ask(server, "-t", "ask", "--schema", str(home / "s.json"), stdin="\ufeffHi")
        assert ("Please: Hi", {"type": "object"}) == (server.requests[0].prompt, server.requests[0].json["format"])

    @pytest.mark.parametrize("text", ["", "prompt = [", "prompt = ''", "colour = 1"])
    def test_a_wrong_template_does_not_hide_the_others(self, home: Path, text: str) -> None:
        """Its line says what is wrong."""
        folder = home / ".config" / "rxllm" / "templates"
        folder.mkdir(parents=True)
        (folder / "a.toml").write_text(text)
        (folder / "b.toml").write_text("prompt = '''Be $tone:\n$input'''")
        done = run("templates")
        assert (0, "") == (done.returncode, done.stderr)
        assert ["a", "b"] == [line.partition(": ")[0] for line in done.stdout.splitlines()[:2]]
        assert "b: Be $tone:\n" in done.stdout


class TestOutput:
    """Events as JSON, and output that cannot be written."""

    def test_an_error_is_the_last_line_of_json(self, server: LLMServer) -> None:
        """With its class and what had arrived."""
        server.enqueue(Reply("one two three", fault=Drop(2)))
        done = ask(server, "--json", "Hi")
        last = json.loads(done.stdout.splitlines()[-1])
        assert 1 == done.returncode
        assert ("error", "StreamInterruptedError", "one two") == (last["type"], last["kind"], last["partial"]["text"])
        last = json.loads(run("--json", "-m", "openai", "Hi").stdout)
        assert ("error", "ConfigurationError") == (last["type"], last["kind"])

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
    def test_a_full_disk_is_said(self, server: LLMServer) -> None:
        """In one line, with status 1."""
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [*COMMAND, "--model", "openai-compatible:m", "--base-url", server.base_url(), "Hi"],
                stdout=full, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=environment(),
            )  # fmt: skip
        assert (1, "rxllm: cannot write: No space left on device\n") == (done.returncode, done.stderr)

    @pytest.mark.skipif(os.name == "nt", reason="a shell closes it")
    def test_closed_output_is_said(self, server: LLMServer) -> None:
        """Nothing is asked."""
        words = " ".join(f"'{word}'" for word in (*COMMAND, "--base-url", server.base_url(), "--model", "m", "Hi"))
        done = subprocess.run(["sh", "-c", f"{words} >&-"], stderr=subprocess.PIPE, text=True, env=environment())
        assert (1, "rxllm: standard output is closed\n") == (done.returncode, done.stderr)
        assert [] == server.requests
