"""The Gemini generateContent wire: the arguments of function calls, at once and leaf by leaf."""

from __future__ import annotations

import json

import pytest

from rxllm import errors
from rxllm.events import ToolCallDelta, ToolCallEnd
from rxllm.providers.gemini import GeminiDecoder
from tests.providers.gemini.test_decoder import Payload, answer, chunk, decoded, frames, leaf
from tests.providers.recordings import play_frames


def grows(piece: str) -> Payload:
    """A piece of a string of which more is to come."""
    return {"jsonPath": "$.a", "stringValue": piece, "willContinue": True}


class TestArguments:
    """Pieces of arguments to calls."""

    def test_arguments_that_come_leaf_by_leaf(self) -> None:
        """Vertex streams them under JSON paths; they are emitted when they are whole."""
        payloads = [
            chunk({"functionCall": {"name": "cook", "willContinue": True}, "thoughtSignature": "s"}),
            chunk(leaf("$.steps[0].text", stringValue="Boil ", willContinue=True)),
            chunk(leaf("$.steps[0].text", stringValue='"water".', willContinue=True)),
            chunk(leaf("$.steps[0].text", stringValue="")),
            chunk(leaf("$.steps[0].minutes", numberValue=3)),
            chunk({"functionCall": {"willContinue": True}}),
            chunk(leaf("$.steps[1]['text']", stringValue="Eat.")),
            chunk(leaf("$.hot", boolValue=True)),
            chunk(leaf("$.note", nullValue="NULL_VALUE")),
            chunk({"functionCall": {}}),
            chunk({"functionCall": {"name": "serve"}}),
            chunk({"text": ""}, finish="STOP"),
        ]
        events = decoded(*payloads)
        arguments = {"steps": [{"text": 'Boil "water".', "minutes": 3}, {"text": "Eat."}], "hot": True, "note": None}
        pieces = [event.arguments for event in events if isinstance(event, ToolCallDelta) and event.index == 0]
        assert [json.loads(piece) for piece in pieces] == [arguments]
        assert [(call.name, call.arguments) for call in answer(*payloads).tool_calls] == [
            ("cook", arguments),
            ("serve", {}),
        ]

    @pytest.mark.parametrize(
        "last",
        [
            chunk(leaf("$.b", more=False, stringValue="2")),
            chunk(leaf("$.b", stringValue="2")),
            chunk(leaf("$.b", stringValue="2", willContinue=True)),
        ],
    )
    def test_the_end_of_streamed_arguments_may_never_come(self, last: Payload) -> None:
        """The empty functionCall that ends them is left out at times; STOP ends them too."""
        payloads = [
            chunk({"functionCall": {"name": "cook", "willContinue": True}}),
            chunk(leaf("$.a", stringValue="1")),
            last,
        ]
        response = answer(*payloads, chunk({"text": ""}, finish="STOP"))
        assert [call.arguments for call in response.tool_calls] == [{"a": "1", "b": "2"}]
        assert answer(*payloads, chunk({"functionCall": {"name": "x"}}, finish="STOP")).tool_calls[0].name == "cook"

    @pytest.mark.parametrize("ending", [[], [chunk(finish="MAX_TOKENS")], [chunk(finish="MALFORMED_FUNCTION_CALL")]])
    def test_streamed_arguments_that_are_cut_are_no_call(self, ending: list[Payload]) -> None:
        """Neither at the end of the body, nor at the end of the tokens."""
        payloads = [
            chunk({"functionCall": {"name": "cook", "willContinue": True}}),
            chunk(leaf("$.a", stringValue="1", willContinue=True)),
            *ending,
        ]
        played = play_frames(GeminiDecoder("gemini"), frames(*payloads))
        assert played.response.tool_calls == ()
        assert not [event for event in played.events if isinstance(event, ToolCallEnd)]

    def test_leaves_that_jump_back_are_right_in_the_call(self) -> None:
        """In whatever order they come."""
        payloads = [
            chunk({"functionCall": {"name": "cook", "willContinue": True}}),
            chunk(leaf("$.a.x", stringValue="1")),
            chunk(leaf("$.b", stringValue="2")),
            chunk(leaf("$.a.y", stringValue="3")),
            chunk({"functionCall": {}}, finish="STOP"),
        ]
        assert answer(*payloads).tool_calls[0].arguments == {"a": {"x": "1", "y": "3"}, "b": "2"}

    def test_strings_that_grow_in_turns_are_whole_in_the_call(self) -> None:
        """Each piece goes to its own string."""
        payloads = [
            chunk({"functionCall": {"name": "cook", "willContinue": True}}),
            chunk(leaf("$.a", stringValue="bo", willContinue=True)),
            chunk(leaf("$.b", stringValue="ri", willContinue=True)),
            chunk(leaf("$.a", stringValue="il")),
            chunk(leaf("$['b']", more=False, stringValue="ce"), finish="STOP"),
        ]
        assert answer(*payloads).tool_calls[0].arguments == {"a": "boil", "b": "rice"}

    def test_leaves_beside_whole_arguments(self) -> None:
        """What came whole comes first; the leaves go on after it, or into it."""
        whole = {"functionCall": {"name": "cook", "args": {"n": 1, "s": [2]}, "willContinue": True}}
        payloads = [chunk(whole), chunk(leaf("$.a", stringValue="rice")), chunk({"functionCall": {}}, finish="STOP")]
        pieces = [event.arguments for event in decoded(*payloads) if isinstance(event, ToolCallDelta)]
        assert answer(*payloads).tool_calls[0].arguments == {"n": 1, "s": [2], "a": "rice"}
        assert "".join(pieces) == '{"n":1,"s":[2],"a":"rice"}'
        payloads[1] = chunk(leaf("$.s[1]", numberValue=3))
        assert answer(*payloads).tool_calls[0].arguments == {"n": 1, "s": [2, 3]}

    def test_a_string_that_goes_on_keeps_its_call_open(self) -> None:
        """Though the call itself does not say so."""
        payloads = [
            chunk({"functionCall": {"name": "cook", "partialArgs": [grows("bo")]}}),
            chunk({"functionCall": {"partialArgs": [{"jsonPath": "$.a", "stringValue": "il"}]}}, finish="STOP"),
        ]
        assert [call.arguments for call in answer(*payloads).tool_calls] == [{"a": "boil"}]

    def test_a_name_that_comes_again_begins_no_other_call(self) -> None:
        """As long as nothing but the name came; after that, it does."""
        named = {"name": "cook", "willContinue": True}
        payloads = [
            chunk({"functionCall": named}),
            chunk({"functionCall": {**named, "partialArgs": [grows("bo")]}}),
            chunk(leaf("$.a", stringValue="il")),
            chunk({"functionCall": {}}),
            chunk({"functionCall": {"name": "cook"}}, finish="STOP"),
        ]
        assert [call.arguments for call in answer(*payloads).tool_calls] == [{"a": "boil"}, {}]

    @pytest.mark.parametrize("signed", [0, 1, 2])
    def test_the_signature_may_be_beside_any_piece(self, signed: int) -> None:
        """It goes back with the call."""
        call = {"functionCall": {"name": "cook", "id": "c1", "willContinue": True}}
        pieces = [call, leaf("$.a", numberValue=1), {"functionCall": {}}]
        pieces[signed] = {**pieces[signed], "thoughtSignature": "s"}
        (cook,) = answer(*map(chunk, pieces), chunk(finish="STOP")).tool_calls
        assert cook.vendor == {"gemini": {"functionCall": {"id": "c1"}, "thoughtSignature": "s"}}
        assert cook.arguments == {"a": 1}

    @pytest.mark.parametrize("leaves", ['{"a', {"a": 1}, 7])
    def test_leaves_that_are_no_list_are_a_protocol_error(self, leaves: object) -> None:
        """They are not lost in silence."""
        with pytest.raises(errors.ProtocolError, match="not a list"):
            decoded(chunk({"functionCall": {"name": "cook", "partialArgs": leaves, "willContinue": True}}))

    @pytest.mark.parametrize("path", ["$", "a", "$.a[", "$[0]", "$.a[7]", "$.s.t", "$.l.x", None])
    def test_paths_that_lead_nowhere_are_protocol_errors(self, path: str | None) -> None:
        """No path, no object at the root, a list with holes, a leaf inside a leaf, a key of a list."""
        payloads = [
            chunk({"functionCall": {"name": "cook", "willContinue": True}}),
            chunk(leaf("$.s", stringValue="1")),
            chunk(leaf("$.l[0]", stringValue="1")),
            chunk({"functionCall": {"partialArgs": [{"jsonPath": path, "stringValue": "1"}]}}),
        ]
        with pytest.raises(errors.ProtocolError):
            decoded(*payloads)

    def test_a_piece_of_a_call_that_never_began_says_nothing(self) -> None:
        """An ending without a beginning is passed over."""
        assert answer(chunk({"functionCall": {}}, finish="STOP")).tool_calls == ()

    @pytest.mark.parametrize("call", [{"args": {"a": 1}}, {"name": "", "args": {"a": 1}}, {"partialArgs": [{"x": 1}]}])
    def test_arguments_of_no_call_are_a_protocol_error(self, call: Payload) -> None:
        """They are not lost in silence."""
        with pytest.raises(errors.ProtocolError, match="no name"):
            decoded(chunk({"functionCall": call}, finish="STOP"))

    @pytest.mark.parametrize("args", ['{"word": ', "rx", [1]])
    def test_arguments_that_are_no_object_are_a_protocol_error(self, args: object) -> None:
        """A finished answer with a call that cannot be made is not a good one."""
        with pytest.raises(errors.ProtocolError, match="look_up"):
            decoded(chunk({"functionCall": {"name": "look_up", "args": args}}, finish="STOP"))
