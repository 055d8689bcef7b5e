"""The vendors' APIs for their own clients: OpenAI's Chat Completions and Responses, Anthropic's Messages.

An answer is disposed with its client: these APIs have no way to come back to it, and its id opens nothing.
"""

from __future__ import annotations

import secrets
import time
from functools import partial
from typing import NamedTuple

import msgspec

from .._json import object_at
from .._schema import converted
from ..errors import ConfigurationError
from ..model import StreamingModel
from ..providers._answer_writer import AnswerHead, AnswerWriter
from ..providers.anthropic.answer_writer import MessagesWriter
from ..providers.openai_chat.answer_writer import ChatCompletionsWriter
from ..providers.openai_responses.answer_writer import ResponsesWriter
from .approvals import Approvals
from .chat_request import check_size
from .formats.errors import ANTHROPIC_ERRORS, OPENAI_ERRORS, ErrorDialect
from .formats.vendor_wire import VendorDocument, VendorStream
from .http import HttpRequest, HttpResponse, StreamBody, json_response
from .model_service import Service
from .vendor_requests import anthropic, openai_chat, openai_responses
from .vendor_requests.vendor_request import VendorReader

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
    errors: ErrorDialect


_CHAT = _Api(openai_chat.READER, ChatCompletionsWriter, OPENAI_ERRORS)
_RESPONSES = _Api(openai_responses.READER, ResponsesWriter, OPENAI_ERRORS)
_MESSAGES = _Api(anthropic.READER, MessagesWriter, ANTHROPIC_ERRORS)


def models(service: Service, http: HttpRequest, _: str) -> HttpResponse:
    """Return the models on offer, in OpenAI's form or, for an Anthropic client, in Anthropic's."""
    data = [_model(name, http) for name in service.offers]
    if "anthropic-version" in http.headers:
        return json_response({"data": data, "has_more": False, "first_id": data[0]["id"], "last_id": data[-1]["id"]})
    return json_response({"object": "list", "data": data})


def model(service: Service, http: HttpRequest, name: str) -> HttpResponse:
    """Return one model; raises `NotFoundError` (404)."""
    return json_response(_model(service.offered(name), http))


def chat_format(name: str, *, usage: bool, tools: bool) -> VendorStream:
    """Return the format of a Chat Completions stream for an endpoint of the application's own.

    Args:
        name: The model's name, as the client reads it.
        usage: Whether the stream ends with the token counts.
        tools: Whether the client gets tool calls.
    """
    return VendorStream(_writer(_CHAT, name, usage=usage), OPENAI_ERRORS, tools=tools)


def _answer(api: _Api, service: Service, http: HttpRequest, _: str) -> HttpResponse:
    """Return the response to a request of this API, streamed or whole; what its client may not ask for is refused."""
    body = http.json()
    check_size(body)
    extra = api.reader.extra_in(body)
    asked = converted(body, _Asked, "the request")
    name = service.offered(asked.model)
    if extra and isinstance(service.offers[name], StreamingModel):  # a function on offer may use them
        raise ConfigurationError(f"unknown parameters: {', '.join(sorted(extra))}")
    messages, options = api.reader.messages_in(body), api.reader.options_in(body)
    approvals = Approvals(refusal=_NO_APPROVALS)
    stream = service.start(http, name, messages, options, extra=extra, approvals=approvals)
    size = sum(len(message.text) for message in messages)
    usage = api is not _CHAT or object_at(body, "stream_options").get("include_usage") is True
    writer = _writer(api, name, usage=usage, input_tokens=max(1, size // _CHARS_PER_TOKEN))
    tools = bool(options.get("tools"))
    form = VendorStream(writer, api.errors, tools=tools) if asked.stream else VendorDocument(writer, tools=tools)
    return HttpResponse(200, body=StreamBody(stream, form, error_response=api.errors.response, whole=not asked.stream))


chat_completions = partial(_answer, _CHAT)
"""Answers a request of OpenAI's Chat Completions API."""

responses = partial(_answer, _RESPONSES)
"""Answers a request of OpenAI's Responses API."""

messages = partial(_answer, _MESSAGES)
"""Answers a request of Anthropic's Messages API."""


def _writer(api: _Api, name: str, *, usage: bool, input_tokens: int = 0) -> AnswerWriter:
    unique = api.writer.id_prefix + secrets.token_urlsafe(16)
    return api.writer(AnswerHead(unique, name, int(time.time()), usage, input_tokens))


def _model(name: str, http: HttpRequest) -> dict[str, object]:
    if "anthropic-version" in http.headers:
        return {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"}
    return {"id": name, "object": "model", "created": 0, "owned_by": "rxllm"}
