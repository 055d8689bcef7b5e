"""JSON schemas from clients, before native code sees them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rxllm.errors import ConfigurationError
from rxllm.testing import LLMServer
from rxllm.web.schema_check import check_schema

from ..embedded_model import needs_embedded_model

DEEP: dict[str, object] = {"type": "string"}
for _ in range(40):
    DEEP = {"type": "array", "items": DEEP}

NODE = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/Node"}}}}
GOOD = [
    {},
    {"type": "object", "properties": {"city": {"type": "string", "description": "Where"}}, "required": ["city"]},
    {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}},
    {"$defs": {"Node": NODE}, "$ref": "#/$defs/Node"},
    {"type": "string", "pattern": "^[a-z]{2,10}$"},
    {"enum": ["a", 1, None]},
]
BAD = [
    ({"allOf": [{"$ref": "#/allOf/0"}]}, r"\$ref"),
    ({"$ref": "#"}, "refers to itself"),
    ({"anyOf": [{"$ref": "#"}]}, "refers to itself"),
    ({"$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"anyOf": [{"$ref": "#/$defs/A"}]}}}, "refers to itself"),
    ({"$ref": "http://evil.example/schema"}, r"\$ref"),
    ({"$ref": "file:///etc/passwd"}, r"\$ref"),
    ({"$ref": "#/$defs/Missing"}, r"\$ref"),
    (DEEP, "levels deep"),
    ({"anyOf": [{}] * 6000}, "subschemas"),
    ({"description": "x" * 200_000}, "bytes"),
    ({"type": "array", "maxItems": 10**9}, "maxItems"),
    ({"type": "string", "minLength": -1}, "minLength"),
    ({"minLength": 1000, "maxLength": 1}, "above"),
    ({"type": "integer", "minimum": 5, "maximum": 1}, "above"),
    ({"type": "string", "pattern": "(a{1,90}){1,90}"}, "multiply"),
    ({"type": "string", "pattern": "a" * 300}, "characters"),
    ({"type": "string", "pattern": "^*a"}, "regular expression"),
    ({"type": "string", "pattern": "(" * 30 + "a" + ")" * 30}, "groups"),
    ({"type": "wizard"}, "not a type"),
    ({"properties": ["a"]}, "not an object"),
    ({"items": 5}, "neither"),
    ({"$dynamicRef": "#x"}, "not supported"),
    ({"enum": []}, "enum"),
]


@pytest.mark.parametrize("schema", GOOD)
def test_schemas_that_people_use(schema: dict[str, object]) -> None:
    """Recursive ones included."""
    check_schema(schema)


@pytest.mark.parametrize(("schema", "named"), BAD)
def test_what_is_refused(schema: dict[str, object], named: str) -> None:
    """With what is wrong."""
    with pytest.raises(ConfigurationError, match=named):
        check_schema(schema)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"response_format": {"type": "json_schema", "json_schema": {"schema": BAD[0][0]}}}),
        ("/v1/chat/completions", {"tools": [{"type": "function", "function": {"name": "f", "parameters": BAD[0][0]}}]}),
        ("/api/chat", {"response_format": BAD[0][0]}),
        ("/v1/responses", {"input": "Hi", "text": {"format": {"type": "json_schema", "schema": BAD[0][0]}}}),
        ("/v1/responses", {"input": "Hi", "tools": [{"type": "function", "name": "f", "parameters": BAD[0][0]}]}),
        ("/v1/messages", {"max_tokens": 9, "tools": [{"name": "f", "input_schema": BAD[0][0]}]}),
        ("/v1/messages", {"max_tokens": 9, "output_format": {"type": "json_schema", "schema": BAD[0][0]}}),
    ],
)
def test_on_every_way_in(llm: LLMServer, url: str, path: str, body: dict[str, object]) -> None:
    """The model is not asked."""
    messages = [{"role": "user", "content": "Hi"}]
    response = requests.post(
        url + path, json={"messages": messages, **body} if "input" not in body else body, timeout=20
    )
    assert (400, []) == (response.status_code, llm.requests)
    assert "$ref" in response.json()["error"]["message"]


REFERENCES = st.sampled_from(["#", "#/$defs/A", "#/$defs/B", "#/allOf/0", "#/$defs/None"])
PATTERNS = st.sampled_from(
    ["^a+$", "(", "[", "a{1,1000}", "((a{1,30}){1,30}){1,2}", "^(a|b)*$", "\\", "(?=a)", "^[^\\]]$"]
)
LEAVES = st.one_of(
    st.builds(lambda reference: {"$ref": reference}, REFERENCES),
    st.builds(lambda pattern: {"type": "string", "pattern": pattern}, PATTERNS),
    st.builds(lambda count: {"type": "array", "minItems": count, "maxItems": count}, st.integers(-1, 3000)),
    st.builds(lambda bound: {"type": "integer", "minimum": bound, "maximum": bound}, st.integers(-(2**63), 2**63 - 1)),
    st.sampled_from([{}, True, False, {"type": "null"}, {"const": {"a": [1]}}, {"enum": ['\\"\n', 1e300]}]),
)
LISTS = st.sampled_from(["allOf", "anyOf", "oneOf", "prefixItems"])
ONE = st.sampled_from(["items", "not", "additionalProperties"])
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda keyword, items: {keyword: items}, LISTS, st.lists(inner, max_size=3)),
        st.builds(lambda keyword, item: {keyword: item}, ONE, inner),
        st.builds(lambda named: {"properties": named}, st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    ),
    max_leaves=12,
)
CHILD = """
import json, sys, requests
from rxllm.providers.local import LocalServer
url = LocalServer(api_key="").base_url() + "/chat/completions"
for line in sys.stdin:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": json.loads(line)}}
    body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1, "response_format": form}
    print(requests.post(url, json=body, timeout=100).status_code, flush=True)
"""


@needs_embedded_model
@pytest.mark.timeout(300)
def test_native_code_survives_what_passes() -> None:
    """The embedded model answers each schema that passes, in a process that is still there afterwards."""
    passed = []

    with subprocess.Popen([sys.executable, "-c", CHILD], stdin=-1, stdout=-1, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
        @given(SCHEMAS, SCHEMAS, SCHEMAS)
        def survives(root: object, first: object, second: object) -> None:
            schema = {**(root if isinstance(root, dict) else {}), "$defs": {"A": first, "B": second}}
            try:
                check_schema(schema)
            except ConfigurationError:
                return
            print(json.dumps(schema), file=child.stdin, flush=True)
            assert child.stdout.readline().strip() in ("200", "400"), schema
            passed.append(schema)

        survives()
        child.stdin.close()
        assert 0 == child.wait(60)
    assert passed
