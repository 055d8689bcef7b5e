"""Tool calls in chat completion streams: told apart whatever the vendor leaves out."""

from __future__ import annotations

import json

import pytest

from rxllm.errors import ProtocolError, StreamInterruptedError
from rxllm.events import ToolCallDelta, ToolCallEnd, ToolCallStart, VendorEvent
from rxllm.messages import ToolCall
from rxllm.providers._answer_builder import arguments_of
from rxllm.providers.openai_chat import tool_calls as _openai_calls
from tests.providers.openai_chat.streams import DONE, calls, chunk, events, played, tool


class TestToolCalls:
    """Told apart whatever is left out."""

    def test_in_pieces(self) -> None:
        """Id and name first, then the arguments bit by bit; ended when the answer is."""
        said = events(
            tool(id="t1", name="add", arguments=""), tool(arguments='{"a":'), tool(arguments="1}"),
            chunk(finish="tool_calls"), DONE,
        )  # fmt: skip
        assert said == (
            ToolCallStart(0, "t1", "add"),
            ToolCallDelta(0, '{"a":'),
            ToolCallDelta(0, "1}"),
            ToolCallEnd(0, ToolCall("t1", "add", {"a": 1})),
        )

    def test_parallel_calls_whose_pieces_take_turns(self) -> None:
        """The index tells them apart; it may begin at 1 and leave gaps."""
        assert calls(
            tool(1, id="x", name="f"), tool(4, id="y", name="g"), tool(1, arguments='{"n":1'),
            tool(4, arguments='{"n":2'), tool(1, arguments="}"), tool(4, arguments="}"), chunk(finish="stop"), DONE,
        ) == (("x", "f", {"n": 1}), ("y", "g", {"n": 2}))  # fmt: skip

    @pytest.mark.parametrize("later", [{"id": "", "name": ""}, {"id": None, "name": None}, {"id": "t1", "name": "f"}])
    def test_empty_or_repeated_names_and_ids(self, later: dict[str, object]) -> None:
        """They neither begin another call nor grow the name."""
        assert calls(
            tool(id="t1", name="f", arguments='{"a":'), tool(**later, arguments="1}"), chunk(finish="tool_calls"), DONE
        ) == (("t1", "f", {"a": 1}),)

    def test_a_new_id_on_every_piece(self) -> None:
        """Without a name it is still the same call; its first id holds."""
        assert calls(
            tool(id="a", name="f", arguments="{"), tool(id="b", arguments="}"), chunk(finish="tool_calls"), DONE
        ) == (("a", "f", {}),)

    @pytest.mark.parametrize("index", [None, 0])
    @pytest.mark.parametrize("ids", [("a", "b"), ("", ""), (None, None)])
    def test_whole_calls_without_an_index_of_their_own(self, index: int | None, ids: tuple[str | None, ...]) -> None:
        """One a chunk, all with the same index or with none, with ids or without; each is a call."""
        made = calls(
            tool(index, id=ids[0], name="f", arguments='{"n":1}'),
            tool(index, id=ids[1], name="f", arguments='{"n":1}'),
            chunk(finish="tool_calls"),
            DONE,
        )
        assert made == tuple((given or f"call_{at}", "f", {"n": 1}) for at, given in enumerate(ids))

    def test_whole_calls_in_one_list_on_the_finishing_chunk(self) -> None:
        """Without index and type they are numbered by position."""
        listed = [{"id": name, "function": {"name": name, "arguments": "{}"}} for name in "fg"]
        assert calls(chunk({"tool_calls": listed}, "tool_calls"), DONE) == (("f", "f", {}), ("g", "g", {}))

    def test_the_same_id_at_two_indexes(self) -> None:
        """The index is the key: ids need not be unique."""
        payloads = [tool(index, id="0", name="f", arguments=f'{{"n":{index}}}') for index in (0, 1)]
        assert calls(*payloads, chunk(finish="tool_calls"), DONE) == (("0", "f", {"n": 0}), ("0", "f", {"n": 1}))

    def test_a_finished_call_told_again(self) -> None:
        """The same call once more, whole, is the same call."""
        whole = tool(id="t1", name="f", arguments='{"a":1}')
        assert calls(tool(id="t1", name="f", arguments='{"a":'), tool(arguments="1}"), whole, whole, DONE) == (
            ("t1", "f", {"a": 1}),
        )

    @pytest.mark.parametrize("arguments", [{}, {"arguments": ""}, {"arguments": None}, {"arguments": "null"}])
    def test_no_arguments(self, arguments: dict[str, object]) -> None:
        """Nothing, the empty text, null and "null" all mean none."""
        assert calls(tool(id="t", name="now", **arguments), chunk(finish="tool_calls"), DONE) == (("t", "now", {}),)

    def test_arguments_that_come_parsed(self) -> None:
        """Some servers send the object itself."""
        assert calls(tool(id="t", name="f", arguments={"a": [1]}), DONE) == (("t", "f", {"a": [1]}),)

    def test_a_name_that_comes_after_the_id(self) -> None:
        """The call begins when its name is known, and loses nothing that came before."""
        said = events(tool(id="t", arguments="{"), tool(name="f", arguments="}"), chunk(finish="tool_calls"), DONE)
        assert said[:3] == (ToolCallStart(0, "t", "f"), ToolCallDelta(0, "{"), ToolCallDelta(0, "}"))

    def test_a_call_without_an_id_or_arguments(self) -> None:
        """A name alone is a call, though nothing more comes."""
        assert calls(tool(name="now"), chunk(finish="tool_calls"), DONE) == (("call_0", "now", {}),)

    def test_the_old_function_call(self) -> None:
        """The form before tools."""
        old = chunk({"function_call": {"name": "f", "arguments": "{}"}})
        result = played(old, chunk(finish="function_call"), DONE)
        assert result.response.tool_calls == (ToolCall("call_0", "f", {}),)
        assert result.response.finish_reason == "tool_calls"

    @pytest.mark.parametrize("finish", ["length", "content_filter", "something_new"])
    def test_cut_arguments_never_become_a_call(self, finish: str) -> None:
        """An answer that says it was cut off ends well, without the call."""
        result = played(tool(id="t", name="f", arguments='{"a":"b'), chunk(finish=finish), DONE)
        assert (result.error, result.response.tool_calls) == (None, ())

    def test_a_gateway_that_hides_the_cut(self) -> None:
        """The upstream's own word, where it is told, shows that the arguments were cut off."""
        end = json.dumps({"choices": [{"delta": {}, "finish_reason": "tool_calls", "native_finish_reason": "length"}]})
        result = played(tool(id="t", name="f", arguments='{"a":"b'), end, DONE)
        assert (result.response.finish_reason, result.response.raw_finish_reason) == ("length", "tool_calls")

    @pytest.mark.parametrize("piece", ['{"a":"b', "[1]", '{"a":1}}'])
    def test_broken_arguments_of_an_answer_that_claims_to_be_whole(self, piece: str) -> None:
        """They are an error: a call that nobody sees would be silence."""
        result = played(tool(id="t", name="f", arguments=piece), chunk(finish="tool_calls"), DONE)
        assert isinstance(result.error, ProtocolError)
        assert "'f'" in str(result.error)

    def test_cut_arguments_before_a_bare_done(self) -> None:
        """Gateways say [DONE] after an upstream that broke off."""
        result = played(tool(id="t", name="f", arguments='{"a":"b'), DONE)
        assert isinstance(result.error, StreamInterruptedError)

    def test_a_call_that_is_no_list(self) -> None:
        """The one call there is, in place of a list of one."""
        call = {"index": 0, "id": "t", "function": {"name": "f", "arguments": "{}"}}
        assert calls(chunk({"tool_calls": call}), chunk(finish="tool_calls"), DONE) == (("t", "f", {}),)

    def test_a_custom_tool(self) -> None:
        """Its input is free text: no call of a function, but told, piece by piece."""
        first = {"index": 0, "id": "t", "type": "custom", "custom": {"name": "sql", "input": "SEL"}}
        second = {"index": 0, "custom": {"input": "ECT 1"}}
        said = events(chunk({"tool_calls": [first]}), chunk({"tool_calls": [second]}), chunk(finish="tool_calls"), DONE)
        assert said == (VendorEvent("custom_tool_call", first), VendorEvent("custom_tool_call", second))

    def test_lists_of_pieces_without_index_or_id(self) -> None:
        """Each belongs to the call at its place in the list before (Moonshot)."""
        begun = [{"id": f"t{at}", "function": {"name": name, "arguments": ""}} for at, name in enumerate("fg")]
        pieces = [[{"function": {"arguments": piece}} for piece in row] for row in (('{"a":', '{"b":'), ("1}", "2}"))]
        said = calls(*(chunk({"tool_calls": row}) for row in (begun, *pieces)), chunk(finish="tool_calls"), DONE)
        assert said == (("t0", "f", {"a": 1}), ("t1", "g", {"b": 2}))

    def test_an_index_that_is_told_only_later(self) -> None:
        """It counts the calls as they began."""
        begun = [{"id": f"t{at}", "function": {"name": name, "arguments": '{"a":'}} for at, name in enumerate("fg")]
        pieces = [{"index": at, "function": {"arguments": f"{at}}}"}} for at in (1, 0)]
        said = calls(chunk({"tool_calls": begun}), chunk({"tool_calls": pieces}), chunk(finish="tool_calls"), DONE)
        assert said == (("t0", "f", {"a": 0}), ("t1", "g", {"a": 1}))

    def test_arguments_at_another_index_than_the_name(self) -> None:
        """Without a name and an id they are of the call that lacks them."""
        assert calls(
            tool(0, id="x", name="f", arguments=""), tool(1, name="", arguments='{"n":'), tool(2, arguments="1}"),
            tool(1, id="y", name="g"), tool(2, arguments='{"n":2}'), chunk(finish="tool_calls"), DONE,
        ) == (("x", "f", {"n": 1}), ("y", "g", {"n": 2}))  # fmt: skip

    def test_the_cost_of_a_call_does_not_grow_with_its_square(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A server may repeat id and name with every piece: the arguments are not read anew for each."""
        read: list[str] = []

        def counted(text: str) -> dict[str, object] | None:
            read.append(text)
            return arguments_of(text)

        monkeypatch.setattr(_openai_calls, "arguments_of", counted)
        pieces = ['{"a":"', *("x" * 10 for _ in range(500)), '"}']
        repeated = [tool(id="t1", name="f", arguments=piece) for piece in pieces]
        assert calls(*repeated, chunk(finish="tool_calls"), DONE) == (("t1", "f", {"a": "x" * 5000}),)
        assert len(read) <= 2

    def test_numbers_of_any_size(self) -> None:
        """A call without an index comes after all others, whatever theirs are."""
        huge = 2**64 - 1
        said = events(
            tool(huge, id="x", name="f"), tool(None, id="y", name="g"), tool(-5, id="z", name="h"),
            chunk(finish="tool_calls"), DONE,
        )  # fmt: skip
        assert [event.index for event in said if isinstance(event, ToolCallStart)] == [huge, huge + 1, -5]
