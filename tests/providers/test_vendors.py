"""The vendors: which are known, with which key, where; and what is refused before anything is sent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import rxllm
from rxllm._protocol import Wire
from rxllm.errors import ConfigurationError
from rxllm.messages import Message
from rxllm.options import Options
from rxllm.providers.anthropic import Anthropic
from rxllm.providers.openai_chat.dialect import Dialect
from rxllm.providers.vendors import Vendor, register_provider, split_model, vendor_named, vendors, wire_for

NAMES = ["openai", "openai-responses", "anthropic", "gemini", "ollama", "local", "openai-compatible", "azure", "groq"]
NAMES += ["mistral", "deepseek", "xai", "openrouter", "together", "fireworks", "cerebras", "perplexity", "vllm"]
NAMES += ["llamacpp", "lmstudio"]
SECRET = "sk-s3cret"


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own keys and addresses play no part."""
    for vendor in vendors():
        for variable in (*vendor.key_variables, *vendor.base_url_variables):
            monkeypatch.delenv(variable, raising=False)


def asked(wire: Wire) -> tuple[str, dict[str, str]]:
    """Where a request goes, and its headers by lower-case name."""
    request = wire.request((Message.user("Hi"),), "m", Options(max_tokens=9))
    return request.url, {name.lower(): value for name, value in request.headers.items()}


def refused(name: str, **given: object) -> str:
    """The message of the refusal to make a wire."""
    with pytest.raises(ConfigurationError) as caught:
        wire_for(vendor_named(name), **given)  # type: ignore[arg-type]  # by name
    return str(caught.value)


class TestNames:
    """Who is known."""

    @pytest.mark.parametrize("name", NAMES)
    def test_every_promised_provider_is_there(self, name: str) -> None:
        """Under its own name, and in the list."""
        assert vendor_named(name).name == name
        assert vendor_named(name) in vendors()

    def test_an_unknown_name_is_answered_with_the_known_ones(self) -> None:
        """And with the one that was probably meant."""
        with pytest.raises(
            ConfigurationError, match=r"'antropic'. Did you mean 'anthropic'\? There are: anthropic, azure"
        ):
            vendor_named("antropic")

    @pytest.mark.parametrize(
        ("name", "split"),
        [
            ("openai", ("openai", None)),
            ("openai:", ("openai", None)),
            ("openai:gpt-4o-mini", ("openai", "gpt-4o-mini")),
            ("ollama:llama3.2:1b", ("ollama", "llama3.2:1b")),
            ("openrouter:z-ai/glm-4.6:free", ("openrouter", "z-ai/glm-4.6:free")),
        ],
    )
    def test_a_model_named_with_its_provider(self, name: str, split: tuple[str, str | None]) -> None:
        """Only the first colon counts."""
        assert split_model(name) == split


class TestAddresses:
    """Argument, else variable, else the vendor's own."""

    @pytest.mark.parametrize(
        ("name", "url"),
        [
            ("openai", "https://api.openai.com/v1/chat/completions"),
            ("openai-responses", "https://api.openai.com/v1/responses"),
            ("anthropic", "https://api.anthropic.com/v1/messages"),
            (
                "gemini",
                "https://generativelanguage.googleapis.com/v1beta/models/m:streamGenerateContent?alt=sse",
            ),
            ("ollama", "http://127.0.0.1:11434/api/chat"),
            ("groq", "https://api.groq.com/openai/v1/chat/completions"),
            ("mistral", "https://api.mistral.ai/v1/chat/completions"),
            ("deepseek", "https://api.deepseek.com/chat/completions"),
            ("xai", "https://api.x.ai/v1/chat/completions"),
            ("openrouter", "https://openrouter.ai/api/v1/chat/completions"),
            ("together", "https://api.together.xyz/v1/chat/completions"),
            ("fireworks", "https://api.fireworks.ai/inference/v1/chat/completions"),
            ("cerebras", "https://api.cerebras.ai/v1/chat/completions"),
            ("perplexity", "https://api.perplexity.ai/chat/completions"),
            ("vllm", "http://127.0.0.1:8000/v1/chat/completions"),
            ("llamacpp", "http://127.0.0.1:8080/v1/chat/completions"),
            ("lmstudio", "http://127.0.0.1:1234/v1/chat/completions"),
        ],
    )
    def test_the_vendors_own(self, name: str, url: str) -> None:
        """Where each one is."""
        assert asked(wire_for(vendor_named(name), api_key="k"))[0] == url

    @pytest.mark.parametrize(
        ("name", "variable"),
        [("openai", "OPENAI_BASE_URL"), ("anthropic", "ANTHROPIC_BASE_URL"), ("ollama", "OLLAMA_HOST")],
    )
    def test_from_the_environment(self, name: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The vendor's own variable, unless an argument says otherwise."""
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
        assert asked(wire_for(vendor_named(name), api_key="k"))[0].startswith("http://127.0.0.1:9/")
        given = wire_for(vendor_named(name), api_key="k", base_url="http://127.0.0.1:8")
        assert asked(given)[0].startswith("http://127.0.0.1:8/")

    @pytest.mark.parametrize(
        ("host", "root"),
        [
            ("127.0.0.1:11500", "http://127.0.0.1:11500"),
            ("0.0.0.0", "http://127.0.0.1:11434"),
            (":11500", "http://127.0.0.1:11500"),
            ("gpu.example", "http://gpu.example:11434"),
            ("[::1]", "http://[::1]:11434"),
            ("https://ollama.example", "https://ollama.example"),
        ],
    )
    def test_what_ollama_calls_a_host(self, host: str, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """With or without scheme and port, and the address that the server binds."""
        monkeypatch.setenv("OLLAMA_HOST", host)
        assert asked(wire_for(vendor_named("ollama")))[0] == f"{root}/api/chat"

    @pytest.mark.parametrize(
        ("endpoint", "url"),
        [
            ("https://me.openai.azure.com", "https://me.openai.azure.com/openai/v1/chat/completions"),
            (
                "https://me.openai.azure.com/openai/deployments/d",
                "https://me.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21",
            ),
            (
                "https://me.openai.azure.com/openai/deployments/d?api-version=2025-01-01",
                "https://me.openai.azure.com/openai/deployments/d/chat/completions?api-version=2025-01-01",
            ),
        ],
    )
    def test_azure(self, endpoint: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A resource, or one deployment of it with its api-version."""
        monkeypatch.delenv("OPENAI_API_VERSION", raising=False)
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", endpoint)
        address, headers = asked(wire_for(vendor_named("azure"), api_key="k"))
        assert (address, headers["api-key"]) == (url, "k")

    def test_azures_version_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The variable that Azure's own examples use."""
        monkeypatch.setenv("OPENAI_API_VERSION", "2026-01-01")
        wire = wire_for(vendor_named("azure"), api_key="k", base_url="https://a.example/openai/deployments/d?x=1")
        assert asked(wire)[0].endswith("/chat/completions?x=1&api-version=2026-01-01")

    @pytest.mark.parametrize(("name", "hint"), [("openai-compatible", "base_url="), ("azure", "AZURE_OPENAI_ENDPOINT")])
    def test_none_at_all(self, name: str, hint: str) -> None:
        """Says what to give."""
        assert hint in refused(name, api_key="k")

    @pytest.mark.parametrize(
        "url",
        [
            f"https://user:{SECRET}@a.example/v1",
            f"https://{SECRET}@a.example/v1",
            f"ftp://a.example/{SECRET}",
            f"https://a.example/{SECRET}\r\nHost: b.example",
            f"https://[a.example/{SECRET}",
            f"https://a.example:port/{SECRET}",
            f"https:///{SECRET}",
        ],
    )
    @pytest.mark.parametrize("name", ["openai", "ollama", "azure"])
    def test_what_is_no_address_to_send_a_key_to(self, name: str, url: str) -> None:
        """Refused, without showing it: it may hold a secret."""
        message = refused(name, api_key="k", base_url=url)
        assert "base_url" in message
        assert SECRET not in message

    def test_an_address_without_a_scheme(self) -> None:
        """Guessing could send a key in the clear."""
        assert "https://" in refused("openai", api_key="k", base_url="a.example/v1")

    @pytest.mark.parametrize("host", [f"user:{SECRET}@gpu.example", "[gpu", "gpu:port"])
    def test_an_ollama_host_that_is_none(self, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Refused like any address."""
        monkeypatch.setenv("OLLAMA_HOST", host)
        assert SECRET not in refused("ollama")

    def test_local_has_none_yet(self) -> None:
        """Its server is started by the model."""
        assert "local" in refused("local")


class TestDialects:
    """The server decides what is sent, whatever name the caller gives."""

    @pytest.mark.parametrize(
        ("name", "url", "fields"),
        [
            ("openai-compatible", "https://api.mistral.ai/v1", {"max_tokens", "random_seed"}),
            ("openai", "https://api.mistral.ai/v1", {"max_tokens", "random_seed"}),
            ("openai-compatible", "https://api.openai.com/v1", {"max_completion_tokens", "seed"}),
            ("openai-compatible", "https://gateway.example/v1", {"max_tokens", "seed"}),
            ("openai", "https://gateway.example/v1", {"max_completion_tokens", "seed"}),
            ("openai", "http://127.0.0.1:8000/v1", {"max_completion_tokens", "seed"}),
        ],
    )
    def test_that_of_the_address(self, name: str, url: str, fields: set[str]) -> None:
        """The name counts where the address is not known."""
        wire = wire_for(vendor_named(name), base_url=url, api_key="k")
        body = wire.request((Message.user("Hi"),), "m", Options(max_tokens=9, seed=7)).body
        assert fields == {name for name, value in json.loads(body).items() if value in (7, 9)}

    def test_a_row_of_your_own_wins(self) -> None:
        """At its own address, though that is also another's."""
        own = Vendor(name="own-mistral", wire="openai-chat", base_url="https://api.mistral.ai/v1", dialect=Dialect())
        body = wire_for(own, api_key="k").request((Message.user("Hi"),), "m", Options(seed=7)).body
        assert b'"seed":7' in body


class TestKeys:
    """Argument, else the vendor's own variable, else none where none is needed."""

    @pytest.mark.parametrize("name", [name for name in NAMES if name not in ("local", "openai-compatible")])
    def test_from_the_environment(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Every vendor has a variable; the argument goes first."""
        vendor = vendor_named(name)
        monkeypatch.setenv(vendor.key_variables[-1], SECRET)
        _, headers = asked(wire_for(vendor, base_url="https://a.example/v1"))
        assert any(SECRET in value for value in headers.values())
        _, headers = asked(wire_for(vendor, base_url="https://a.example/v1", api_key="mine"))
        assert not any(SECRET in value for value in headers.values())

    def test_the_first_variable_that_is_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """To something: an empty one is none."""
        monkeypatch.setenv("GEMINI_API_KEY", "")
        monkeypatch.setenv("GOOGLE_API_KEY", "second")
        assert "second" in asked(wire_for(vendor_named("gemini")))[1].values()

    @pytest.mark.parametrize(
        ("name", "variables"),
        [("openai", "OPENAI_API_KEY"), ("gemini", "GEMINI_API_KEY or GOOGLE_API_KEY"), ("groq", "GROQ_API_KEY")],
    )
    def test_a_missing_key(self, name: str, variables: str) -> None:
        """Named by its variable."""
        assert f"set {variables}" in refused(name)

    @pytest.mark.parametrize("host", ["127.0.0.1:8080", "127.9.9.9", "localhost:8080", "[::1]:8080", "api.localhost"])
    def test_none_is_needed_on_this_machine(self, host: str) -> None:
        """A loopback address is nobody else's."""
        _, headers = asked(wire_for(vendor_named("openai"), base_url=f"http://{host}/v1"))
        assert "authorization" not in headers

    @pytest.mark.parametrize("host", ["localhost.example.com", "128.0.0.1", "10.0.0.1", "0.0.0.0"])
    def test_one_is_needed_elsewhere(self, host: str) -> None:
        """What only looks local is not."""
        assert "OPENAI_API_KEY" in refused("openai", base_url=f"http://{host}/v1")

    def test_credentials_in_a_header(self) -> None:
        """A token that the caller brings stands for the key."""
        wire = wire_for(vendor_named("openai"), headers={"authorization": "Bearer mine"})
        assert asked(wire)[1]["authorization"] == "Bearer mine"

    def test_a_gateway_gets_no_other_vendors_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An unknown server is told only what it is meant to be told."""
        monkeypatch.setenv("OPENAI_API_KEY", SECRET)
        assert SECRET not in str(asked(wire_for(vendor_named("openai-compatible"), base_url="https://a.example/v1")))

    @pytest.mark.parametrize("spoiled", [f"{SECRET}\n", f"{SECRET}\r\nX: y", f"{SECRET}\0", f"{SECRET}…"])
    def test_what_no_header_can_hold(self, spoiled: str) -> None:
        """Line breaks and the like are refused, in keys and in headers, without showing them."""
        assert SECRET not in refused("openai", api_key=spoiled)
        with pytest.raises(ConfigurationError) as caught:
            rxllm.create_streaming_model("openai", api_key="k", headers={"X-A": spoiled})
        assert SECRET not in str(caught.value)

    def test_a_header_name_that_is_none(self) -> None:
        """Nothing can be smuggled in by a name."""
        with pytest.raises(ConfigurationError, match="the name or the value of the header"):
            rxllm.create_streaming_model("openai", api_key="k", headers={"X-A: b\r\nX-C": "d"})


class TestThirdParties:
    """Rows and wires from outside."""

    def test_a_vendor_that_speaks_a_known_wire(self) -> None:
        """A row is all there is to write; the same row again is no news."""
        acme = Vendor(name="acme", wire="openai-chat", base_url="https://acme.example/v1", key_variables=("ACME_KEY",))
        register_provider(acme)
        register_provider(acme)
        assert vendor_named("acme") in vendors()
        assert "ACME_KEY" in refused("acme")
        assert asked(wire_for(acme, api_key="k"))[0] == "https://acme.example/v1/chat/completions"

    def test_a_vendor_nobody_registered(self) -> None:
        """A row alone is enough, for a wire that is known."""
        row = Vendor(name="ad-hoc", wire="openai-chat", base_url="https://a.example/v1", needs_key=False)
        assert asked(wire_for(row))[0] == "https://a.example/v1/chat/completions"
        with pytest.raises(ConfigurationError, match="not registered"):
            wire_for(Vendor(name="ad-hoc", wire="smoke", base_url="https://a.example", needs_key=False))

    def test_a_wire_of_its_own(self) -> None:
        """A class with the constructor of a wire is what makes one."""

        class Telegraph(Anthropic):
            """A wire."""

        vendor = Vendor(name="western-union", wire="telegraph", base_url="https://wu.example", needs_key=False)
        register_provider(vendor, wire=Telegraph)
        assert isinstance(wire_for(vendor), Telegraph)

    @pytest.mark.parametrize(
        ("vendor", "wire", "hint"),
        [
            (Vendor(name="openai", wire="openai-chat", base_url="https://evil.example"), None, "already"),
            (Vendor(name="new", wire="no-such-wire"), None, "wire="),
            (Vendor(name="new", wire="gemini"), Anthropic, "another name"),
            (Vendor(name="new", wire="openai-chat"), Anthropic, "another name"),
            (Vendor(name="New:er", wire="openai-chat"), None, "New:er"),
        ],
    )
    def test_what_cannot_be_registered(self, vendor: Vendor, wire: type[Anthropic] | None, hint: str) -> None:
        """Nothing takes the place, and the keys, of what is there."""
        before = vendors()
        with pytest.raises(ConfigurationError, match=hint):
            register_provider(vendor, wire=wire)
        assert vendors() == before


class TestEntryPoints:
    """Plug-ins, found by name and loaded when asked for."""

    @staticmethod
    def install(folder: Path, name: str, code: str, target: str) -> None:
        """A distribution with one entry point, as pip would have put it there."""
        module = name.replace("-", "_")
        (folder / f"{module}_plugin.py").write_text(code)
        info = folder / f"{module}_plugin-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[rxllm.providers]\n{name} = {module}_plugin:{target}\n")

    def test_a_row(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An entry point that is a `Vendor`."""
        code = "from rxllm.providers.vendors import Vendor\n"
        code += "ROW = Vendor(name='plug-row', wire='openai-chat', base_url='https://plug.example')\n"
        self.install(tmp_path, "plug-row", code, "ROW")
        monkeypatch.syspath_prepend(tmp_path)
        assert vendor_named("plug-row").base_url == "https://plug.example"

    def test_a_function(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An entry point that registers by itself; the list of vendors finds it too."""
        code = "from rxllm.providers.vendors import Vendor, register_provider\n"
        code += "def add():\n    register_provider(Vendor(name='plug-call', wire='openai-chat'))\n"
        self.install(tmp_path, "plug-call", code, "add")
        monkeypatch.syspath_prepend(tmp_path)
        assert "plug-call" in [vendor.name for vendor in vendors()]

    def test_one_that_is_broken(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Asked for by name it is an error that says why; in the list it is left out, and logged."""
        self.install(tmp_path, "plug-broken", "raise RuntimeError('no engine')\n", "ROW")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(ConfigurationError, match="no engine"):
            vendor_named("plug-broken")
        assert "plug-broken" not in [vendor.name for vendor in vendors()]
        assert "no engine" in caplog.text
