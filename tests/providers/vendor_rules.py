"""What vendors refuse in a request, as their guides and their answers say it: each function lists the faults of a body.

Written from the sources, by other means than the encoders: a test that uses it proves that both agree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

Json: TypeAlias = dict[str, object]


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


STRICT_BANNED = words(
    "oneOf allOf not if then else dependentRequired dependentSchemas prefixItems patternProperties "
    "propertyNames contains minContains maxContains uniqueItems minProperties maxProperties "
    "unevaluatedProperties unevaluatedItems default minLength maxLength nullable"
)
STRICT_FORMATS = words("date-time time date duration email hostname ipv4 ipv6 uuid")
ANTHROPIC_BANNED = words(
    "minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength maxItems "
    "uniqueItems pattern oneOf prefixItems patternProperties not if then else discriminator"
)
ANTHROPIC_FORMATS = STRICT_FORMATS | {"uri"}
GEMINI_KEYWORDS = words(
    "$id $defs $ref $anchor type format title description enum items prefixItems minItems maxItems "
    "minimum maximum anyOf oneOf properties additionalProperties required propertyOrdering"
)
TYPED = words("type $ref anyOf enum const")
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
GEMINI_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}")


def nodes(schema: object, at: str = "$") -> Iterator[tuple[str, Json]]:
    """Yield each schema inside a schema with its place; names of properties are no keywords."""
    if not isinstance(schema, dict):
        return
    yield at, schema
    for key in ("properties", "$defs", "patternProperties"):
        for name, inner in (schema.get(key) or {}).items():
            yield from nodes(inner, f"{at}.{key}.{name}")
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for index, inner in enumerate(schema.get(key) or ()):
            yield from nodes(inner, f"{at}.{key}.{index}")
    for key in ("items", "additionalProperties"):
        yield from nodes(schema.get(key), f"{at}.{key}")


def _types(schema: Json) -> list[object]:
    kind = schema.get("type")
    return kind if isinstance(kind, list) else [kind]


def strict_faults(schema: Json) -> list[str]:
    """Source: https://developers.openai.com/api/docs/guides/structured-outputs#supported-schemas."""
    faults = [] if schema.get("type") == "object" and "anyOf" not in schema else ["$: the root must be an object"]
    for at, node in nodes(schema):
        faults += [f"{at}: {key} is not permitted" for key in node if key in STRICT_BANNED]
        if "$ref" in node and set(node) - {"$ref", "$defs"}:
            faults.append(f"{at}: $ref cannot have keywords {sorted(set(node) - {'$ref'})}")
        if "$ref" in node and not re.fullmatch(r"#|#/\$defs/\w+", str(node["$ref"])):
            faults.append(f"{at}: $ref {node['$ref']!r}")
        if not TYPED & set(node):
            faults.append(f"{at}: schema must have a 'type' key")
        if "array" in _types(node) and not isinstance(node.get("items"), dict):
            faults.append(f"{at}: array schema missing items")
        if "object" in _types(node):
            properties = node.get("properties")
            if not isinstance(properties, dict):
                faults.append(f"{at}: object schema missing properties")
            elif sorted(node.get("required") or ()) != sorted(properties):  # type: ignore[call-overload]  # a list
                faults.append(f"{at}: 'required' must name every property")
            if node.get("additionalProperties") is not False:
                faults.append(f"{at}: 'additionalProperties' must be false")
        if isinstance(node.get("format"), str) and node["format"] not in STRICT_FORMATS:
            faults.append(f"{at}: format {node['format']!r}")
        if re.search(r"\(\?<?[=!]", str(node.get("pattern") or "")):
            faults.append(f"{at}: pattern looks around")
    return faults


def anthropic_faults(schema: Json) -> list[str]:
    """Source: https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations."""
    faults: list[str] = []
    for at, node in nodes(schema):
        faults += [f"{at}: {key} is not supported" for key in node if key in ANTHROPIC_BANNED]
        if "$ref" in node and set(node) - {"$ref", "$defs"}:
            faults.append(f"{at}: keywords beside $ref")
        if not TYPED & set(node):
            faults.append(f"{at}: no type")
        if "object" in _types(node) and node.get("additionalProperties") is not False:
            faults.append(f"{at}: additionalProperties must be false")
        if isinstance(node.get("format"), str) and node["format"] not in ANTHROPIC_FORMATS:
            faults.append(f"{at}: format {node['format']!r}")
        if node.get("minItems") not in (None, 0, 1):
            faults.append(f"{at}: minItems")
    defs = {name: {str(n.get("$ref")) for _, n in nodes(inner)} for name, inner in (schema.get("$defs") or {}).items()}  # type: ignore[attr-defined]
    reached = {name: set(map(_name, refs)) for name, refs in defs.items()}
    for _ in reached:
        reached = {name: refs.union(*(reached.get(ref, set()) for ref in refs)) for name, refs in reached.items()}
    return faults + [f"{name} is recursive" for name, refs in reached.items() if name in refs]


def gemini_faults(schema: Json) -> list[str]:
    """Source: https://ai.google.dev/api/generate-content#v1beta.GenerationConfig."""
    faults: list[str] = []
    for at, node in nodes(schema):
        faults += [f"{at}: {key} is not known" for key in node if key not in GEMINI_KEYWORDS]
        if "$ref" in node and any(not key.startswith("$") for key in node):
            faults.append(f"{at}: keywords beside $ref")
        values = node.get("enum")
        if isinstance(values, list) and not all(
            isinstance(v, str | int | float) and not isinstance(v, bool) and v != "" for v in values
        ):
            faults.append(f"{at}: enum {values!r}")
        required = node.get("required")
        if isinstance(required, list) and not set(required) <= set(node.get("properties") or ()):  # type: ignore[call-overload]  # a dict
            faults.append(f"{at}: required names no property")
    return faults


def _name(reference: str) -> str:
    return reference.removeprefix("#/$defs/")


def root_faults(schema: object) -> list[str]:
    """What every vendor refuses in a tool's parameters."""
    if not isinstance(schema, dict):
        return ["no schema"]
    faults = [f"$: {key} at the top level" for key in ("anyOf", "oneOf", "allOf", "$ref") if key in schema]
    faults += [] if schema.get("type") == "object" else ["$: type: Field required"]
    return faults + ([] if isinstance(schema.get("properties"), dict) else ["$: object schema missing properties"])


# Conversations ------------------------------------------------------------------------------------------------------

CHAT_FIELDS: Mapping[str, frozenset[str]] = {
    "openai": frozenset(),
    "azure": frozenset(),
    "groq": frozenset({"reasoning"}),
    "cerebras": frozenset({"reasoning"}),
    "mistral": frozenset(),
    "deepseek": frozenset({"reasoning_content"}),
    "xai": frozenset(),
    "together": frozenset(),
    "fireworks": frozenset({"reasoning_content"}),
    "vllm": frozenset({"reasoning", "reasoning_content"}),
    "llamacpp": frozenset({"reasoning_content"}),
    "lmstudio": frozenset({"reasoning_content"}),
    "openrouter": frozenset({"reasoning", "reasoning_details"}),
}
"""The fields of an assistant message beside role, content and tool_calls that each vendor takes."""


def chat_faults(provider: str, body: Json) -> list[str]:
    """OpenAI Chat Completions and its dialects: each rule is a 400 of at least one of them."""
    messages: list[Json] = body["messages"]  # type: ignore[assignment]
    faults: list[str] = []
    open_calls: list[object] = []
    for at, message in enumerate(messages):
        calls: list[Json] = message.get("tool_calls") or []  # type: ignore[assignment]
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                faults.append(f"{at}: a result without its call")
            else:
                open_calls.remove(message["tool_call_id"])
            continue
        if open_calls:
            faults.append(f"{at}: calls without results: {open_calls}")
        open_calls = [call["id"] for call in calls]
        if message["role"] == "assistant":
            faults += [f"{at}: {fault}" for fault in _assistant_faults(provider, message, calls)]
        if provider == "mistral" and message["role"] == "user" and at and messages[at - 1]["role"] == "tool":
            faults.append(f"{at}: Unexpected role 'user' after role 'tool'")
    return faults


def _assistant_faults(provider: str, message: Json, calls: Sequence[Json]) -> list[str]:
    faults = [] if message["content"] or calls else ["an empty message"]
    if isinstance(message["content"], str) and not message["content"].strip() and not calls:
        faults.append("a blank message")
    allowed = {"role", "content", "tool_calls", *CHAT_FIELDS[provider]}
    faults += [f"property {name!r} is unsupported" for name in message if name not in allowed]
    for call in calls:
        faults += [f"property {name!r} of a call is unsupported" for name in set(call) - {"id", "type", "function"}]
        function: Json = call["function"]  # type: ignore[assignment]
        if not NAME.fullmatch(str(function["name"])) or not isinstance(json.loads(str(function["arguments"])), dict):
            faults.append("a call's name or arguments")
        if provider == "mistral" and not re.fullmatch("[a-zA-Z0-9]{9}", str(call["id"])):
            faults.append(f"tool call id {call['id']!r}")
        if provider in ("openai", "azure") and len(str(call["id"])) > 40:
            faults.append("tool call id is longer than 40")
    if provider == "deepseek" and calls and "reasoning_content" not in message:
        faults.append("The reasoning_content in the thinking mode must be passed back")
    return faults


def responses_faults(_: str, body: Json) -> list[str]:
    """Source: https://developers.openai.com/api/reference/resources/responses."""
    faults: list[str] = []
    called: set[object] = set()
    answered: set[object] = set()
    for at, item in enumerate(body["input"]):  # type: ignore[arg-type, var-annotated]  # a list
        kind = item.get("type", "message")
        if kind == "function_call":
            called.add(item["call_id"])
            faults += [] if NAME.fullmatch(item["name"]) and len(item["call_id"]) <= 64 else [f"{at}: name or call_id"]
        elif kind == "function_call_output":
            answered.add(item["call_id"])
        elif kind == "message":
            faults += [] if item["content"] else [f"{at}: an empty message"]
        elif kind == "reasoning":
            faults += (
                [] if "summary" in item and ("encrypted_content" in item or "content" in item) else [f"{at}: reasoning"]
            )
        if "id" in item and kind in ("message", "function_call", "web_search_call"):
            faults.append(f"{at}: Item with id {item['id']!r} not found")
    return faults + ([] if called == answered else [f"calls {called} but outputs {answered}"])


def messages_faults(provider: str, body: Json) -> list[str]:
    """Source: https://platform.claude.com/docs/en/api/messages and its 400s."""
    turns: list[Json] = body["messages"]  # type: ignore[assignment]
    faults: list[str] = []
    for at, turn in enumerate(turns):
        blocks: list[Json] = turn["content"]  # type: ignore[assignment]
        if not blocks:
            faults.append(f"{at}: an empty turn")
        if at and turns[at - 1]["role"] == turn["role"]:
            faults.append(f"{at}: roles must alternate")
        if turn["role"] == "assistant" and blocks and blocks[-1]["type"] in ("thinking", "redacted_thinking"):
            faults.append(f"{at}: The final block in an assistant message cannot be `thinking`")
        for block in blocks:
            faults += [f"{at}: {fault}" for fault in _block_faults(provider, block)]
        uses = [block["id"] for block in blocks if block["type"] == "tool_use"]
        following: list[Json] = turns[at + 1]["content"] if at + 1 < len(turns) else []  # type: ignore[assignment]
        results = [block["tool_use_id"] for block in following if block["type"] == "tool_result"]
        if uses and (sorted(map(str, uses)) != sorted(map(str, results)) or following[0]["type"] != "tool_result"):
            faults.append(f"{at}: tool_use ids were found without tool_result blocks immediately after")
    return faults


def _block_faults(_: str, block: Json) -> list[str]:
    match block["type"]:
        case "text":
            return [] if str(block["text"]).strip() else ["text content blocks must contain non-whitespace text"]
        case "thinking":
            return [] if "signature" in block else ["thinking without a signature"]
        case "tool_use":
            fits = re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", str(block["id"])) and NAME.fullmatch(str(block["name"]))
            return [] if fits else ["id or name of a tool_use"]
        case "tool_result":
            empty = block.get("is_error") and not block["content"]
            return ["content cannot be empty if is_error is true"] if empty else []
        case "server_tool_use" | "web_search_tool_result" | "redacted_thinking" | "image" | "document":
            return []
        case kind:
            return [f"unknown block {kind!r}"]


def gemini_contents_faults(_: str, body: Json) -> list[str]:
    """Source: https://ai.google.dev/gemini-api/docs/thought-signatures and its 400s."""
    contents: list[Json] = body["contents"]  # type: ignore[assignment]
    faults: list[str] = []
    for at, turn in enumerate(contents):
        parts: list[Json] = turn["parts"]  # type: ignore[assignment]
        calls = [part for part in parts if "functionCall" in part]
        faults += [] if parts else [f"{at}: an empty turn"]
        faults += [
            f"{at}: an empty part" for part in parts if part.get("text") == "" and "thoughtSignature" not in part
        ]
        if at and contents[at - 1]["role"] == turn["role"]:
            faults.append(f"{at}: roles must alternate")
        if calls and "thoughtSignature" not in calls[0]:
            faults.append(f"{at}: Function call is missing a thought_signature")
        following: list[Json] = contents[at + 1]["parts"] if at + 1 < len(contents) else []  # type: ignore[assignment]
        responses = [part for part in following if "functionResponse" in part]
        if len(calls) != len(responses):
            faults.append(f"{at}: the number of function response parts must equal that of function call parts")
        names = [part["functionCall"]["name"] for part in calls]  # type: ignore[index]
        faults += [f"{at}: Invalid function name {name!r}" for name in names if not GEMINI_NAME.fullmatch(name)]
    return faults


def ollama_faults(_: str, body: Json) -> list[str]:
    """Source: https://docs.ollama.com/api/chat."""
    messages: list[Json] = body["messages"]  # type: ignore[assignment]
    return [
        f"{at}: an empty assistant message"
        for at, message in enumerate(messages)
        if message["role"] == "assistant" and not (str(message["content"]).strip() or message.get("tool_calls"))
    ]


FAULTS: Mapping[str, Callable[[str, Json], list[str]]] = {
    **dict.fromkeys(CHAT_FIELDS, chat_faults),
    "openai-responses": responses_faults,
    "anthropic": messages_faults,
    "gemini": gemini_contents_faults,
    "ollama": ollama_faults,
}
