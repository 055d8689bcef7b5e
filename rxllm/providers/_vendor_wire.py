"""`VendorWire`, the base of all wires: what their requests have in common.

A wire turns a conversation and options into one request, by `_body`; the rest is here: address, headers, the repair
of conversations, the options that every API has under some name, tools, and refusals of what an API cannot take.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from .._json import Json
from .._protocol import Framing, WireRequest
from ..errors import ConfigurationError
from ..messages import ImagePart, MediaPart, Message, Part
from ..options import JsonFormat, Options, Tool
from ._answer_builder import AnswerDecoder
from ._conversation import with_fitting_media, with_results_behind_calls
from ._endpoint import TOOL_NAME, Endpoint
from ._request import body_bytes, endpoint_url, header_fields, refuse_options, unsupported_option, without_none
from ._schemas.rewriter import Rewriter, SchemaError, format_name
from ._schemas.strict import StrictSchema
from ._schemas.tools import inlined_parameters, tool_parameters

_OPTIONS = (
    *("temperature", "max_tokens", "top_p", "top_k"),
    *("frequency_penalty", "presence_penalty", "stop", "seed"),
)
"""The options that are one field of a request each."""


def option_fields(*same: str, **renamed: str) -> Mapping[str, str]:
    """Return the fields for options: those with the `same` name, and those of another one."""
    return {**{name: name for name in same}, **renamed}


class VendorWire(ABC):
    """The wire to a vendor's API at one address.

    Args:
        provider: The provider's name, for errors and answers.
        base_url: The address; a version, or a pasted path of the API, at its end is recognised.
        api_key: The key; None sends none.
        headers: Further headers; they override those of the wire.
    """

    decoder_class: ClassVar[type[AnswerDecoder]]
    version: ClassVar[str] = ""
    """The part of the path that base URLs may leave out."""
    path: ClassVar[str]
    """The rest of the path."""
    pasted: ClassVar[str] = ""
    """A regular expression of what else people paste at the end of an address."""
    key_header: str = "Authorization"
    """The header for the key; in Authorization it is a bearer token, elsewhere it stands alone."""
    more_headers: ClassVar[Mapping[str, str]] = {}
    framing: ClassVar[Framing] = "sse"
    if_refused: ClassVar[str] = ""
    """Advice if no server listens at the address."""
    option_names: Mapping[str, str]
    """The fields for the `_OPTIONS` that the API has."""
    call_ids: str = ".*"
    """A pattern of the tool calls' ids that the API takes."""
    tool_names: ClassVar[str] = TOOL_NAME
    refuses_orphans: ClassVar[bool] = True
    """Whether the API refuses a tool result without its call."""
    media_in_results: ClassVar[bool] = False
    """Whether a tool result may hold images and files."""

    def __init__(self, *, provider: str, base_url: str, api_key: str | None, headers: Mapping[str, str]) -> None:
        self._provider = provider
        self._base_url = base_url
        self._endpoint = Endpoint(self.decoder_class.wire, provider, self._url(), tool_names=self.tool_names)
        key = f"Bearer {api_key}" if api_key and self.key_header == "Authorization" else api_key
        accept = "text/event-stream" if self.framing == "sse" else "application/x-ndjson"
        self._headers = header_fields({self.key_header: key or None, **self.more_headers, "Accept": accept}, headers)

    def request(self, messages: Sequence[Message], model: str, options: Options) -> WireRequest:
        """Build the request for one streamed answer; raise `ConfigurationError` naming what the API cannot take."""
        body = body_bytes(self._body(messages, model, options), options.extra_body)
        return WireRequest(self._url(model), dict(self._headers), body, self.framing, self.if_refused)

    def decoder(self) -> AnswerDecoder:
        """Return a new decoder for one answer."""
        return self.decoder_class(self._provider, self._endpoint)

    @abstractmethod
    def _body(self, messages: Sequence[Message], model: str, options: Options) -> Json:
        """Return the fields of the body, those with the value None to be left out."""

    @abstractmethod
    def _media(self, part: MediaPart) -> object:
        """Return an image, a document or a sound in the form of the API; raise if it takes none."""

    def _url(self, model: str = "") -> str:
        """Return the address of requests to a model; here it is the same for all."""
        return endpoint_url(self._base_url, self.version, self.path, pasted=self.pasted)

    def _repaired(self, messages: Sequence[Message], *, stored: bool = False) -> Sequence[Message]:
        """Return the conversation with each result behind its call, and its media where the API takes them.

        If it is `stored` by the server, a result may have its call there.
        """
        provider = self._provider if self.refuses_orphans and not stored else None
        messages = with_results_behind_calls(messages, provider, self.call_ids)
        return with_fitting_media(messages, self._media, in_results=self.media_in_results)

    def _option_fields(self, options: Options) -> Json:
        """Return the fields of the given options; raise if the API has none for one of them."""
        refused = [option for option in _OPTIONS if option not in self.option_names]
        refuse_options(refused, options, self._provider, "its API has no such field (extra_body= sends any field)")
        given = {name: getattr(options, option) for option, name in self.option_names.items()}
        return {name: value for name, value in given.items() if value not in (None, ())}

    def _refuse_format_beside_tools(self, options: Options) -> None:
        """Raise if both an answer format and tools are given; for APIs that then call no tool."""
        if options.response_format is not None and options.tools and options.tool_choice != "none":
            raise self._unsupported("response_format", "it calls no tools beside it; give one or the other")

    def _tool_fields(self, tool: Tool, field: str, rewriter: type[Rewriter] | None = None, **fields: object) -> Json:
        """Return a tool's name, description, and schema under the name `field`; and the `fields` that have a value.

        Raises `ConfigurationError` if the `rewriter` cannot write the schema; by default its references are inlined.
        """
        try:
            schema = tool_parameters(tool)
            schema = inlined_parameters(schema) if rewriter is None else rewriter(schema).rewritten()
        except (SchemaError, RecursionError) as error:
            strict = " with strict=True" if tool.strict else ""
            raise ConfigurationError(
                f"{self._provider!r} cannot take the tool {tool.name!r}{strict}: {_reason(error)}",
                provider=self._provider,
            ) from error
        name = self._endpoint.wire_name(tool.name)
        return without_none(name=name, description=tool.description or None, **{field: schema}, **fields)

    def _openai_tool(self, tool: Tool, *, strict: bool | None) -> Json:
        """Return a tool as both APIs of OpenAI take it."""
        return self._tool_fields(tool, "parameters", StrictSchema if tool.strict else None, strict=strict)

    def _tool_choice(self, options: Options, words: Mapping[str, object], named: Callable[[str], object]) -> object:
        """Return the API's word for `tool_choice`, or what `named` makes of the API's name of the one tool.

        Raises `ConfigurationError` if there is no such tool.
        """
        choice = options.tool_choice
        if choice is None or choice in words:
            return words.get(choice or "")
        if choice not in [tool.name for tool in options.tools]:
            raise ConfigurationError(f'tool_choice is "auto", "none", "required" or the name of a tool; got {choice!r}')
        return named(self._endpoint.wire_name(choice))

    def _format_schema(self, wanted: JsonFormat, rewriter: type[Rewriter]) -> Json | None:
        """Return the rewritten schema of an answer, if it has one; raise `ConfigurationError` if that cannot be."""
        try:
            return None if wanted.schema is None else rewriter(wanted.schema).rewritten()
        except (SchemaError, RecursionError) as error:
            raise self._unsupported_format(wanted, f"{_reason(error)}; a tool can take it") from error

    def _openai_format(self, wanted: JsonFormat, *, object_root: bool) -> Json:
        """Return the name and the schema of an answer; strict, if strict mode can take it without a loss."""
        schema = {"type": "object"} if wanted.schema is None else wanted.schema
        name = format_name(wanted.name)
        try:
            return {"name": name, "schema": StrictSchema(schema).rewritten(), "strict": True}
        except (SchemaError, RecursionError) as error:
            if object_root and schema.get("type") != "object":
                raise self._unsupported_format(wanted, _reason(error)) from error
            return {"name": name, "schema": schema}

    def _unsupported_format(self, wanted: JsonFormat, reason: str) -> ConfigurationError:
        return self._unsupported("response_format", f"the schema of {wanted.name}: {reason}")

    def _unsupported(self, option: str, advice: str) -> ConfigurationError:
        """Return the error for an option that the API does not support."""
        return unsupported_option(option, self._provider, advice)

    def _unsupported_part(self, part: Part, advice: str) -> ConfigurationError:
        """Return the error for a message part that the API does not support."""
        provider = self._provider
        return ConfigurationError(f"{provider!r} takes no such {type(part).__name__}: {advice}", provider=provider)

    def _refuse_detail(self, part: ImagePart) -> None:
        """Raise `ConfigurationError` if an image asks for a detail; for APIs that offer no such choice."""
        if part.detail in ("low", "high"):
            raise self._unsupported_part(part, f"it has no detail={part.detail!r}; resize the image instead")


def _reason(error: Exception) -> str:
    return "it is nested too deep" if isinstance(error, RecursionError) else str(error)
