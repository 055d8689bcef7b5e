"""The vendors' APIs for their own clients: OpenAI's Chat Completions and Responses, Anthropic's Messages.

An answer is disposed with its client: these APIs have no way to come back to it, and its id opens nothing.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from .._json import object_at
from ..providers._writer import AnswerHead, AnswerWriter
from ..providers.anthropic.writer import MessagesWriter
from ..providers.openai_chat.writer import ChatCompletionsWriter
from ..providers.openai_responses.writer import ResponsesWriter
from .approvals import Approvals
from .chat_request import check_size, offered
from .formats.errors import (
    ErrorBody,
    anthropic_error_body,
    anthropic_error_type,
    openai_error_body,
    openai_error_type,
)
from .formats.vendor_wire import VendorDocument, VendorStream
from .http import HttpRequest, HttpResponse, json_response
from .options import converted
from .stream_body import StreamBody
from .stream_factory import StreamFactory
from .vendor_requests import anthropic, openai_chat, openai_responses
from .vendor_requests.vendor_request import VendorReader, refuse_unsupported

_CHARS_PER_TOKEN = 4
_NO_APPROVALS = "this tool needs the user's approval, for which the client's API has no way to ask"


class _Asked(msgspec.Struct, frozen=True):
    """What all these APIs call by the same names."""

    model: str | None = None
    stream: bool | None = None


class _Api(NamedTuple):
    """How one API is read and written."""

    reader: VendorReader
    writer: type[AnswerWriter]
    error_type: Callable[[int], str]
    error_body: Callable[[Exception], ErrorBody]


_CHAT = _Api(openai_chat, ChatCompletionsWriter, openai_error_type, openai_error_body)
_RESPONSES = _Api(openai_responses, ResponsesWriter, openai_error_type, openai_error_body)
_MESSAGES = _Api(anthropic, MessagesWriter, anthropic_error_type, anthropic_error_body)


def chat_completions(factory: StreamFactory, http: HttpRequest, _: str) -> HttpResponse:
    """Answer a request of OpenAI's Chat Completions API, streamed or whole."""
    return _answer(_CHAT, factory, http)


def responses(factory: StreamFactory, http: HttpRequest, _: str) -> HttpResponse:
    """Answer a request of OpenAI's Responses API, streamed or whole."""
    return _answer(_RESPONSES, factory, http)


def messages(factory: StreamFactory, http: HttpRequest, _: str) -> HttpResponse:
    """Answer a request of Anthropic's Messages API, streamed or whole."""
    return _answer(_MESSAGES, factory, http)


def models(factory: StreamFactory, http: HttpRequest, _: str) -> HttpResponse:
    """Return the models on offer, in OpenAI's form or, for an Anthropic client, in Anthropic's."""
    data = [_model(name, http) for name in factory.offers]
    if "anthropic-version" in http.headers:
        return json_response({"data": data, "has_more": False, "first_id": data[0]["id"], "last_id": data[-1]["id"]})
    return json_response({"object": "list", "data": data})


def model(factory: StreamFactory, http: HttpRequest, name: str) -> HttpResponse:
    """Return one model; raises `NotFoundError` (404)."""
    found, _ = offered(factory.offers, name)
    return json_response(_model(found, http))


def chat_format(name: str, *, usage: bool, tools: bool) -> VendorStream:
    """Return the format of a Chat Completions stream for an endpoint of the application's own.

    Args:
        name: The model's name, as the client reads it.
        usage: Whether the stream ends with the token counts.
        tools: Whether the client gets tool calls.
    """
    return VendorStream(_writer(_CHAT, name, usage=usage), _CHAT.error_type, tools=tools)


def _answer(api: _Api, factory: StreamFactory, http: HttpRequest) -> HttpResponse:
    """Return the response to a request of this API; what its client may not ask for is refused."""
    body = http.json()
    check_size(body)
    refuse_unsupported(body, api.reader.NEUTRAL)
    asked = converted(body, _Asked, "the request")
    messages, options = api.reader.messages_in(body), api.reader.options_in(body)
    extra = {name: value for name, value in body.items() if name not in api.reader.KNOWN}
    approvals = Approvals(refusal=_NO_APPROVALS)
    stream = factory.start(http, asked.model, messages, options, extra=extra, refuse_extra=True, approvals=approvals)
    name, _ = offered(factory.offers, asked.model)
    size = sum(len(message.text) for message in messages)
    usage = api is not _CHAT or object_at(body, "stream_options").get("include_usage") is True
    writer = _writer(api, name, usage=usage, input_tokens=max(1, size // _CHARS_PER_TOKEN))
    tools = bool(options.get("tools"))
    if asked.stream:
        form: VendorStream | VendorDocument = VendorStream(writer, api.error_type, tools=tools)
    else:
        form = VendorDocument(writer, tools=tools)
    return HttpResponse(200, body=StreamBody(stream, form, error_body=api.error_body, whole=not asked.stream))


def _writer(api: _Api, name: str, *, usage: bool, input_tokens: int = 0) -> AnswerWriter:
    unique = api.writer.id_prefix + secrets.token_urlsafe(16)
    return api.writer(AnswerHead(unique, name, int(time.time()), usage, input_tokens))


def _model(name: str, http: HttpRequest) -> dict[str, object]:
    if "anthropic-version" in http.headers:
        return {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"}
    return {"id": name, "object": "model", "created": 0, "owned_by": "rxllm"}
