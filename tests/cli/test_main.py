"""The command line, used as a user uses it: arguments, pipes, a terminal, Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from itertools import repeat
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import pytest

from rxllm.cli.main import main
from rxllm.events import StreamEnd, TextDelta, event_from_json
from rxllm.testing import Drop, ErrorReply, Gate, Hang, LLMServer, Reply

from ..embedded_model import needs_embedded_model

pty = pytest.importorskip("pty", reason="Windows has no pseudo-terminals")

# Test runners that work in the background leave Ctrl-C ignored, and children inherit that.
COMMAND = [
    sys.executable,
    "-c",
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "from rxllm.cli.main import main; sys.exit(main())",
]
PROVIDERS = ["openai", "openai-responses", "anthropic", "gemini", "ollama"]


@pytest.fixture
def server() -> Iterator[LLMServer]:
    with LLMServer() as running:
        yield running


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The command keeps keys and logs there."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def environment(**variables: str) -> dict[str, str]:
    """A machine on which no provider is set up, but for `variables`."""
    names = ("PATH", "HOME", "PYTHONPATH", "SYSTEMROOT", "LD_LIBRARY_PATH")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return {**kept, "OLLAMA_HOST": "http://127.0.0.1:9", "PYTHONUTF8": "1", **variables}


def run(*words: str, stdin: str = "", variables: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command to its end in this process, with its environment and its pipes: a process takes time to start."""
    reader, writer = os.pipe()
    os.write(writer, stdin.encode())
    os.close(writer)
    with (
        open(reader, encoding="utf-8") as given,
        tempfile.TemporaryFile("w+", encoding="utf-8") as out,
        tempfile.TemporaryFile("w+", encoding="utf-8") as err,
        patch.dict(os.environ, environment(**(variables or {})), clear=True),
        patch.multiple(sys, stdin=given, stdout=out, stderr=err),
    ):
        try:
            status: Any = main(words)
        except SystemExit as ended:  # of argparse
            status = ended.code
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(words, status, out.read(), err.read())


def ask(server: LLMServer, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command with the scripted server as its provider."""
    return run("--provider", "ollama", "--model", "m", "--base-url", server.url, *words, stdin=stdin)


def asking(server: LLMServer, *words: str) -> list[str]:
    """Return the command that asks the scripted server."""
    return [*COMMAND, "--provider", "ollama", "--model", "m", "--base-url", server.url, *words, "Hi"]


def start(server: LLMServer, *words: str) -> subprocess.Popen[bytes]:
    """Begin to ask the scripted server."""
    return subprocess.Popen(
        asking(server, *words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )


class TestAsking:
    """`rxllm "prompt"`."""

    @pytest.mark.parametrize("provider", PROVIDERS)
    def test_the_answer_of_every_kind_of_provider_is_written(self, server: LLMServer, provider: str) -> None:
        """And a new line after it, since the shell's prompt comes next."""
        server.enqueue("Hello there, 世界")
        words = ("--provider", provider, "--model", "m", "--base-url", server.base_url(provider), "Hi")
        finished = run(*words)
        assert (finished.returncode, finished.stdout, finished.stderr) == (0, "Hello there, 世界\n", "")

    def test_the_options_reach_the_provider(self, server: LLMServer) -> None:
        """System message, temperature and length are asked for."""
        ask(server, "--system", "Be brief", "--temperature", "0.25", "--max-tokens", "7", "Why", "so?")
        asked = server.requests[0].json
        assert asked["messages"] == [
            {"role": "system", "content": "Be brief"},
            {"role": "user", "content": "Why so?"},
        ]
        assert asked["options"] == {"temperature": 0.25, "num_predict": 7}

    def test_the_provider_may_be_named_with_the_model(self, server: LLMServer) -> None:
        """`--model openai:gpt-x` names both."""
        run("--model", "openai:gpt-x:y", "--base-url", server.base_url("openai"), "Hi")
        assert (server.requests[0].wire, server.requests[0].model) == ("openai-chat", "gpt-x:y")

    def test_an_address_alone_means_an_openai_compatible_server(self, server: LLMServer) -> None:
        """As most servers are."""
        assert run("--base-url", server.base_url(), "--model", "m", "Hi").stdout == "Hi\n"

    @pytest.mark.parametrize("words", [("modles",), ("modles", "openai"), ("key", "set")])
    def test_a_command_that_is_misspelt_is_no_question(self, words: tuple[str, ...]) -> None:
        """It would be sent to a model."""
        done = run(*words)
        assert done.returncode == 2
        assert "Did you mean `rxllm " in done.stderr

    def test_a_word_like_a_command_can_be_asked(self, server: LLMServer) -> None:
        """Behind two dashes, or with more words."""
        assert ask(server, "--", "modles").stdout == "modles\n"
        assert ask(server, "key", "of", "C", "major?").stdout == "key of C major?\n"

    @pytest.mark.skipif(sys.platform == "win32", reason="its command lines are text, not bytes")
    def test_words_in_another_encoding_are_asked_and_logged(self, server: LLMServer, tmp_path: Path) -> None:
        """UTF-8 in a C locale is read as UTF-8; bytes that are no UTF-8 become marks, also in names of files."""
        (tmp_path / "caf\udce9.txt").write_text("black")
        words = ("-m", "ollama:m", "--base-url", server.base_url("ollama"))
        for word, sent in (("höher", "höher"), (b"caf\xe9", "caf\ufffd")):
            plain = {**environment(), "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
            done = subprocess.run([*COMMAND, *words, word], env=plain, capture_output=True, stdin=subprocess.DEVNULL)
            assert (done.returncode, done.stderr, server.requests[-1].prompt) == (0, b"", sent)
        attached = run("--base-url", server.base_url(), "-m", "m", "-a", str(tmp_path / "caf\udce9.txt"), "Read it")
        assert (attached.returncode, attached.stderr) == (0, "")

    def test_an_ollama_that_does_not_run_is_to_be_started(self) -> None:
        """The error names the command."""
        done = run("-m", "ollama:m", "--base-url", "http://127.0.0.1:9", "Hi")
        assert done.returncode == 1
        assert "ollama serve" in done.stderr

    def test_json_is_one_event_a_line(self, server: LLMServer) -> None:
        """For programs: the events as this package reads them back."""
        server.enqueue("a b")
        finished = ask(server, "--json", "Hi")
        events = [event_from_json(line) for line in finished.stdout.splitlines()]
        assert [event.text for event in events if isinstance(event, TextDelta)] == ["a", " b"]
        assert isinstance(events[-1], StreamEnd)
        assert events[-1].response.text == "a b"

    def test_stats_are_told_beside_the_answer(self, server: LLMServer) -> None:
        """On stderr, so that the answer can be piped on."""
        server.enqueue(Reply("a b c", model="llama-test"))
        finished = ask(server, "--stats", "How are you?")
        assert finished.stdout == "a b c\n"
        for said in ("ollama:llama-test", "first token", "tokens/s", "3 in, 3 out", "finish stop"):
            assert said in finished.stderr

    def test_it_is_installed_as_a_script(self) -> None:
        """`rxllm` on the shell is this command."""
        (point,) = entry_points(group="console_scripts", name="rxllm")
        assert point.value == "rxllm.cli.main:main"


class TestStandardInput:
    """The prompt may come through a pipe."""

    def test_without_words_it_is_the_prompt(self, server: LLMServer) -> None:
        """`echo Hi | rxllm`."""
        assert ask(server, stdin="Hi from a pipe\n").stdout == "Hi from a pipe\n"

    def test_with_words_it_comes_after_them(self, server: LLMServer) -> None:
        """`cat notes | rxllm "Summarise"`."""
        ask(server, "Summarise this:", stdin="The notes.\n")
        assert server.requests[0].prompt == "Summarise this:\n\nThe notes."

    def test_a_dash_says_where_it_goes(self, server: LLMServer) -> None:
        """`rxllm "Is this right:" - "Say yes or no."`."""
        ask(server, "Is this right:", "-", "Say yes or no.", stdin="1 + 1 = 3")
        assert server.requests[0].prompt == "Is this right:\n\n1 + 1 = 3\n\nSay yes or no."

    def test_a_dash_reads_what_you_type(self, server: LLMServer) -> None:
        """Up to Ctrl-D; without the dash there is no question, and nothing waits for one."""
        ours, theirs = pty.openpty()
        os.write(ours, b"Hi from a keyboard\n\x04")
        command = [*COMMAND, "--base-url", server.base_url(), "--model", "m"]
        for words, said in ((["-"], b"Hi from a keyboard\n"), ([], b"")):
            done = subprocess.run(
                [*command, *words], stdin=theirs, env=environment(), timeout=60, check=False, capture_output=True
            )
            assert done.stdout == said
        os.close(ours)
        os.close(theirs)
        assert len(server.requests) == 1

    def test_a_file_is_read(self, server: LLMServer, tmp_path: Path) -> None:
        """`rxllm "Summarise" < notes`."""
        notes = tmp_path / "notes"
        notes.write_text("From a file.")
        command = [*COMMAND, "--base-url", server.base_url(), "--model", "m", "Summarise"]
        with notes.open() as stdin:
            subprocess.run(command, stdin=stdin, env=environment(), timeout=60, check=True, capture_output=True)
        assert server.requests[0].prompt == "Summarise\n\nFrom a file."

    def test_a_pipe_in_which_nothing_comes_does_not_hang_it(self, server: LLMServer) -> None:
        """Whoever started us may have left us one: it is left out, and said to be."""
        command = [*COMMAND, "--base-url", server.base_url(), "--model", "m", "Hi"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.read() == b"Hi\n"
            assert b"ask with -" in process.stderr.read()

    def test_nothing_to_ask_is_an_error(self, server: LLMServer) -> None:
        """Rather than an empty question."""
        finished = ask(server, stdin=" \n")
        assert finished.returncode == 1
        assert "no question" in finished.stderr
        assert server.requests == []


class TestErrors:
    """Errors are one line on stderr, and exit status 1."""

    @pytest.mark.parametrize(
        ("reply", "said", "text"),
        [
            (ErrorReply(401, "wrong key"), "wrong key", ""),
            (ErrorReply(400, "no\x1b[2Jway"), "no␛[2Jway", ""),
            (Reply("one two three", fault=Drop(2)), "closed in the middle", "one two\n"),
        ],
    )
    def test_what_the_server_gets_wrong(
        self, server: LLMServer, reply: Reply | ErrorReply, said: str, text: str
    ) -> None:
        """What had arrived stays, the message follows, and no traceback."""
        server.enqueue(reply)
        finished = ask(server, "Hi")
        assert (finished.returncode, finished.stdout) == (1, text)
        assert finished.stderr.startswith("rxllm: ")
        assert said in finished.stderr
        assert finished.stderr.count("\n") == 1

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--provider", "opnai", "Hi"], "Did you mean 'openai'?"),
            (["--model", "opnai:gpt-5.4-mini", "Hi"], "Did you mean 'openai'?"),
            (["--model", "gpt-5.4-mini", "Hi"], "-m openai:gpt-5.4-mini"),
            (["--provider", "openai", "Hi"], "store one with `rxllm keys set openai`, or set OPENAI_API_KEY"),
            (["--provider", "vllm", "Hi"], "pass --model"),
            (["--provider", "openai-compatible", "--model", "m", "Hi"], "needs --base-url"),
            (["--provider", "ollama", "Hi"], "127.0.0.1"),
            (["--model", "/nowhere/model.gguf", "Hi"], "/nowhere/model.gguf"),
        ],
    )
    def test_what_is_wrong_here(self, words: list[str], said: str) -> None:
        """The message names it."""
        finished = run(*words)
        assert (finished.returncode, finished.stdout) == (1, "")
        assert said in finished.stderr
        assert "Traceback" not in finished.stderr

    def test_wrong_usage_is_status_2(self) -> None:
        """As of any command."""
        finished = run("--temperature", "warm", "Hi")
        assert finished.returncode == 2
        assert "--temperature" in finished.stderr


class TestInterrupts:
    """Ctrl-C, and readers that leave."""

    @pytest.mark.parametrize("json_lines", [False, True])
    def test_ctrl_c_closes_the_connection_and_leaves_what_arrived(self, server: LLMServer, json_lines: bool) -> None:
        """The server sees the close; the exit status is 130; nothing is on stderr."""
        gate = Gate(2)
        server.enqueue(Reply("one two three", gate=gate))
        with start(server, *(["--json"] if json_lines else [])) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            seen = b""
            while b"two" not in seen:
                seen += os.read(process.stdout.fileno(), 1000)
            process.send_signal(signal.SIGINT)
            assert server.requests[0].closed.wait(60)
            rest = process.stdout.read()
            assert process.stderr.read() == b""
        assert process.returncode == 130
        assert (seen + rest).endswith(b'two"}\n' if json_lines else b"one two\n")

    def test_ctrl_c_while_nothing_has_come(self, server: LLMServer) -> None:
        """Before the headers too."""
        server.enqueue(Hang())
        with start(server) as process:
            request = server.wait_for_request(timeout=60)
            process.send_signal(signal.SIGINT)
            assert request.closed.wait(60)
            assert process.communicate() == (b"", b"")
        assert process.returncode == 130

    def test_a_reader_that_leaves_ends_it_quietly(self, server: LLMServer) -> None:
        """`rxllm ... | head -1`."""
        server.enqueue(Reply(pieces=repeat("word\n")))
        with start(server) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == b"word\n"
            process.stdout.close()
            assert process.stderr.read() == b""
        assert process.returncode == 141
        assert server.requests[0].closed.wait(60)


class TestTerminal:
    """What a model says cannot command the terminal."""

    HOSTILE = "\x1b]0;title\x07 \x1b[2J\x9b31m \x1b]52;c;Y29weQ==\x07 fine\rover \u202eback"

    def test_control_sequences_are_made_visible(self, server: LLMServer) -> None:
        """On a terminal no escape, bell, C1 control or lone carriage return arrives."""
        server.enqueue(Reply(pieces=[*self.HOSTILE, "\n\ttab"]))
        seen = _on_a_terminal(asking(server)).replace("\r\n", "\n")
        assert seen == "␛]0;title␇ ␛[2J\ufffd31m ␛]52;c;Y29weQ==␇ fineover \ufffdback\n\ttab\n"

    def test_json_on_a_terminal_is_harmless_too(self, server: LLMServer) -> None:
        """JSON escapes what is below the space, but not the C1 controls."""
        server.enqueue(Reply(pieces=["\x9b31m"]))
        assert "\x9b" not in _on_a_terminal(asking(server, "--json"))

    def test_a_pipe_gets_the_text_as_it_is(self, server: LLMServer) -> None:
        """Another program may want every character."""
        server.enqueue(Reply(pieces=[self.HOSTILE]))
        with start(server) as process:
            assert process.communicate()[0].decode() == self.HOSTILE + "\n"


class TestChoosing:
    """Who is asked where none was named."""

    def test_the_first_provider_with_a_key(self, server: LLMServer) -> None:
        """Its own variables give the key and the address."""
        variables = {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": server.url, "GROQ_API_KEY": "k"}
        assert run("Hi", variables=variables).stdout == "Hi\n"
        assert (server.requests[0].wire, server.requests[0].headers["x-api-key"]) == ("anthropic", "k")

    def test_an_ollama_that_runs_with_its_favourite_model(self) -> None:
        """The default model if it is installed, else the first that is."""
        for models, chosen in ((("qwen3", "llama3.2:latest"), "llama3.2:latest"), (("qwen3", "phi4"), "qwen3")):
            with LLMServer(models=models) as server:
                assert run("Hi", variables={"OLLAMA_HOST": server.url}).stdout == "Hi\n"
                assert (server.requests[0].wire, server.requests[0].model) == ("ollama", chosen)

    @pytest.mark.parametrize("name", ["gemni:pro", "nosuch:pro", "OpenAI:pro"])
    def test_an_unknown_provider_is_not_a_model_of_the_first(self, name: str) -> None:
        """The providers are named, and how to ask for a model of such a name; nothing is sent."""
        done = run("-m", name, "Hi", variables={"GROQ_API_KEY": "k"})
        assert (done.returncode, done.stdout) == (1, "")
        assert f"there is no provider {name.partition(':')[0]!r}" in done.stderr
        assert "openrouter" in done.stderr
        assert f"-m groq:{name}" in done.stderr

    @pytest.mark.parametrize("name", ["ft:gpt-5.4-mini:me", "meta/llama:free", "eu.llama:0", "qwen3"])
    def test_names_of_models_have_colons_too(self, server: LLMServer, name: str) -> None:
        """Of fine-tuned models, and with the maker's name."""
        with patch.dict("rxllm.providers.vendors._vendors") as vendors:
            vendors["openai"] = msgspec.structs.replace(vendors["openai"], base_url=server.base_url())
            assert run("-m", name, "Hi", variables={"OPENAI_API_KEY": "k"}).stdout == "Hi\n"
        assert server.requests[0].model == name

    def test_names_with_tags_are_of_ollama(self) -> None:
        """If it has another of that name, or with its name before; also behind an address of yours."""
        with LLMServer(models=("qwen3:latest",)) as server:
            ollama = {"OLLAMA_HOST": server.url}
            behind = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": server.base_url("openai")}
            for name, variables in (("qwen3:8b", ollama), ("ollama:phi4:14b", ollama), ("phi4:14b", behind)):
                assert run("-m", name, "Hi", variables=variables).stdout == "Hi\n"
                assert server.requests[-1].model == name.removeprefix("ollama:")
            assert "there is no provider 'phi4'" in run("-m", "phi4:14b", "Hi", variables=ollama).stderr
            assert len(server.requests) == 3

    @needs_embedded_model
    def test_else_the_embedded_model(self) -> None:
        """A fresh machine gets an answer; an Ollama without a model is passed over."""
        with LLMServer(models=()) as server:
            finished = run("--max-tokens", "3", "--stats", "Hi", variables={"OLLAMA_HOST": server.url})
        assert finished.returncode == 0
        assert finished.stdout.strip()
        assert "local:smollm2-135m-instruct" in finished.stderr

    def test_nothing_at_all_says_what_to_do(self) -> None:
        """A key, Ollama, or the command that installs the embedded model."""
        script = "import sys; sys.modules['xllamacpp'] = None; from rxllm.cli.main import main; sys.exit(main(['Hi']))"
        finished = subprocess.run(
            [sys.executable, "-c", script],
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert finished.returncode == 1
        for said in ("OPENAI_API_KEY", "Ollama", 'pip install "rxllm[local]"', "rxllm providers"):
            assert said in finished.stderr


class TestProviders:
    """`rxllm providers`."""

    def test_each_is_listed_with_what_it_needs(self, server: LLMServer) -> None:
        """And whether it could be used as it is."""
        finished = run("providers", variables={"MISTRAL_API_KEY": "k", "OLLAMA_HOST": server.url})
        assert finished.returncode == 0
        rows = {line.split()[0]: line for line in finished.stdout.splitlines()}
        ready = {name for name, row in rows.items() if row.split()[1] == "yes"}
        assert ready & {"openai", "mistral", "ollama"} == {"mistral", "ollama"}
        assert "OPENAI_API_KEY" in rows["openai"]
        assert "AZURE_OPENAI_ENDPOINT" in rows["azure"]
        assert "pip install" in rows["local"]
        assert "server at" in rows["vllm"]
        assert server.requests == []

    def test_an_embedded_model_whose_library_cannot_be_loaded_is_not_ready(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As where the system lacks libgomp."""
        (tmp_path / "xllamacpp").mkdir()
        (tmp_path / "xllamacpp" / "__init__.py").touch()
        (tmp_path / "xllamacpp" / "xllamacpp.abi3.so").write_bytes(b"no library")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "xllamacpp", raising=False)
        (row,) = (line for line in run("providers").stdout.splitlines() if "local " in line)
        assert row.split()[:2] == ["local", "no"]
        asked = run("Hi")
        assert asked.returncode == 1
        assert "no provider can be used" in asked.stderr

    def test_models_are_listed_with_what_is_known(self) -> None:
        """`rxllm models`, of all providers or one; an unknown provider is said to be one."""
        finished = run("models", "openai-responses")
        (row,) = [line for line in finished.stdout.splitlines() if line.startswith("openai:gpt-4o-mini ")]
        assert ["openai:gpt-4o-mini", "128,000", "16,384"] == row.split()[:3]
        assert "vision" in row
        assert "anthropic:" not in finished.stdout
        assert "anthropic:" in run("models").stdout
        assert (1, "") == ((refused := run("models", "opnai")).returncode, refused.stdout)
        assert "openai" in refused.stderr

    def test_models_are_readable_on_80_columns(self) -> None:
        """No line is broken by the terminal."""
        seen = _on_a_terminal([*COMMAND, "models"], COLUMNS="80")
        assert "anthropic:" in seen
        assert max(map(len, seen.splitlines())) <= 80

    def test_the_word_can_be_asked_too(self, server: LLMServer) -> None:
        """After `--`, or with other words."""
        assert ask(server, "--", "providers").stdout == "providers\n"

    def test_help_lists_the_commands(self) -> None:
        """So that they are found."""
        assert "rxllm providers" in run("--help").stdout
        assert run("help").stdout == run("--help").stdout
        assert "list the providers" in run("providers", "--help").stdout
        assert run("--version").stdout.startswith("rxllm ")


def _on_a_terminal(command: Sequence[str], **variables: str) -> str:
    """All that the command writes to a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.PIPE, env=environment(**variables)
    ) as process:
        os.close(theirs)
        pieces: list[bytes] = []
        try:
            while piece := os.read(ours, 10_000):
                pieces.append(piece)
        except OSError:
            pass  # how Linux says that the other end is closed
        os.close(ours)
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 0
    return b"".join(pieces).decode()
