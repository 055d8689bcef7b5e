"""What was spent: the vendor's last word, else an estimate that says so."""

from __future__ import annotations

import pytest

import rxllm
from rxllm import Message, Response, Timeout, ToolCall, Usage
from rxllm._core.token_usage import add_usage, estimated_input, estimated_tokens, with_estimate
from rxllm._json import encode
from rxllm.testing import Drop, ErrorReply, LLMServer, RawReply, Reply, Stall

LONG = "The answer is a sentence of about ten tokens. " * 10


def failure(server: LLMServer, provider: str = "openai", prompt: object = "Hi", **options: object) -> rxllm.LLMError:
    """The error that a stream from `server` ends with."""
    model = rxllm.create_streaming_model(
        provider,
        model="m",
        api_key="k",
        base_url=server.base_url(provider),
        max_retries=0,
        **options,  # type: ignore[arg-type]  # any option
    )
    with model, pytest.raises(rxllm.LLMError) as caught:
        model.chat(prompt)  # type: ignore[arg-type]  # any prompt
    return caught.value


class TestEstimates:
    """Rough, cheap, and marked."""

    def test_english_is_about_four_characters_a_token(self) -> None:
        """The usual rule of thumb."""
        assert estimated_tokens(LONG) == 115

    def test_other_scripts_take_more_tokens(self) -> None:
        """Four Chinese characters are no single token."""
        assert estimated_tokens("你好世界你好") == 4

    def test_all_text_of_a_request_counts(self) -> None:
        """Messages, tools and the names of their parameters; settings and base64 do not."""
        schema = {"type": "object", "properties": {"city": {"type": "string", "description": "abcd"}}}
        body = {"model": "a-very-long-name", "messages": [{"role": "user", "content": "abcdefgh"}], "tools": [schema]}
        assert estimated_input(encode(body)) == 2 + 1 + 1 + 2  # abcdefgh, abcd, city, properties
        image = {"image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
        assert estimated_input(encode({"content": ["abcd", image]})) == 3  # abcd, image_url

    def test_what_is_no_json_counts_nothing(self) -> None:
        """An estimate never fails."""
        assert estimated_input(b"\xff{") == 0

    def test_tool_calls_are_output_too(self) -> None:
        """Their names and arguments were written by the model."""
        partial = Response(tool_calls=(ToolCall("1", "weather", {"city": "Oslo"}),))
        usage = with_estimate(partial, None).usage
        assert (usage.input_tokens, usage.output_tokens, usage.total_tokens, usage.estimated) == (None, 6, None, True)


class TestSums:
    """Two requests for one answer cost what both cost."""

    def test_known_counts_are_added(self) -> None:
        """Field by field; what neither said stays unknown."""
        total = add_usage(Usage(1, 2, 3, cached_input_tokens=1), Usage(10, 20, 30))
        assert Usage(11, 22, 33, cached_input_tokens=1) == total

    def test_a_request_that_said_nothing_leaves_the_other(self) -> None:
        """Nothing plus something is something, and no estimate."""
        assert Usage(1, 2, 3) == add_usage(Usage(), Usage(1, 2, 3)) == add_usage(Usage(1, 2, 3), Usage())

    def test_a_sum_that_lacks_a_count_is_an_estimate(self) -> None:
        """It is a lower bound, and says so."""
        assert Usage(11, 2, 33, estimated=True) == add_usage(Usage(1, 2, 3), Usage(10, None, 30))
        assert add_usage(Usage(1, 2, 3, estimated=True), Usage(1, 2, 3)).estimated


class TestCutStreams:
    """`error.partial.usage`, through the real road."""

    @pytest.mark.parametrize("provider", ["openai", "openai-responses", "gemini", "ollama"])
    def test_a_cut_before_any_count_is_estimated(self, provider: str) -> None:
        """By what was sent and what had arrived."""
        reply = Reply(pieces=[LONG, LONG, "never"], usage=None, fault=Drop(after=2))
        with LLMServer(reply) as server:
            error = failure(server, provider, LONG)
        assert error.partial is not None
        usage = error.partial.usage
        assert usage.estimated
        assert usage.output_tokens == 230
        assert usage.input_tokens is not None
        assert 115 <= usage.input_tokens <= 125
        assert usage.input_tokens + 230 == usage.total_tokens

    def test_the_vendor_has_the_last_word(self) -> None:
        """Anthropic counts at the start: that count stands, and is no estimate."""
        reply = Reply(pieces=["a", "b"], fault=Drop(after=1))
        with LLMServer(reply) as server:
            error = failure(server, "anthropic", "one two three")
        assert error.partial is not None
        assert error.partial.usage.input_tokens == 3
        assert not error.partial.usage.estimated

    def test_a_timeout_is_a_cut_too(self) -> None:
        """The stalled stream had cost all the same."""
        with LLMServer(Reply(pieces=["Hello"], fault=Stall(after=1))) as server:
            error = failure(server, timeout=Timeout(idle=1.0))
        assert error.partial is not None
        assert error.partial.usage.estimated

    @pytest.mark.parametrize(
        "answer", [ErrorReply(429, "slow down"), RawReply(b"<html>Log in</html>", content_type="text/html")]
    )
    def test_what_was_never_answered_cost_nothing(self, answer: ErrorReply | RawReply) -> None:
        """Nothing is made up for a request that was refused."""
        with LLMServer(answer) as server:
            error = failure(server)
        assert error.partial is not None
        assert Usage() == error.partial.usage

    def test_a_conversation_counts_whole(self) -> None:
        """All that was sent was read."""
        with LLMServer(Reply(pieces=["a", "b"], usage=None, fault=Drop(after=1))) as server:
            error = failure(server, prompt=[Message.system(LONG), Message.user(LONG)])
        assert error.partial is not None
        assert error.partial.usage.input_tokens is not None
        assert 230 <= error.partial.usage.input_tokens <= 245
