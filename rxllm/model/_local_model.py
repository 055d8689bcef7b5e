"""The embedded model. A module of its own, because it needs operators, whose import takes longer than all the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Unpack

import msgspec
from reactivex import Observable

from .._core.retry import waiting_within
from .._protocol import Wire, WireRequest
from .._runtime.platform import after_fork
from ..events import TokenEvent
from ..operators.resilience.limits import MaxConcurrent
from ..options import CallOptions, timeout_of
from ..prompt import Prompt
from ..providers.local import LocalServer, release_engine
from ..providers.openai_chat import OpenAIChat
from ..providers.vendors import Vendor
from ._provider_model import ModelSettings, ProviderModel

_slot_limits: dict[LocalServer, MaxConcurrent] = {}
after_fork(_slot_limits.clear)

_NO_ADDRESS_YET = "http://127.0.0.1/v1"


def _local_wire(vendor: Vendor, headers: Mapping[str, str]) -> Wire:
    """Return the wire to the embedded model, whose address is known only when its server has started."""
    return OpenAIChat(
        provider=vendor.name, base_url=_NO_ADDRESS_YET, api_key=None, headers=headers, dialect=vendor.dialect
    )


class LocalModel(ProviderModel):
    """The embedded model. Its server starts on the producing thread, with the first request."""

    def __init__(self, settings: ModelSettings, server: LocalServer) -> None:
        server.check()
        self._server = server
        super().__init__(settings._replace(wire_with=partial(_local_wire, settings.vendor)))

    def stream(self, prompt: Prompt, **options: Unpack[CallOptions]) -> Observable[TokenEvent]:
        server = self._server_of(options.get("model") or self.model)
        # Streams wait for a slot here, where the wait counts against none of their time limits but `total`.
        limit = _slot_limits.setdefault(server, MaxConcurrent(server.slots))
        events = limit(super().stream(prompt, **options))
        total = timeout_of(options.get("timeout") or self._settings.defaults.get("timeout")).total
        return events if total is None else waiting_within(events, total)

    def _server_of(self, model: str) -> LocalServer:
        server = msgspec.structs.replace(self._server, model=model)
        server.check()
        return server

    def _prepared(self, request: WireRequest, model: str) -> Callable[[], WireRequest]:
        """Return what starts the engine, if it does not run, and completes the request with its address and key."""
        server = self._server_of(model)

        def with_address() -> WireRequest:
            engine = server.engine(self)
            engine.check(request.body)
            url = f"{engine.address}/v1{request.url.removeprefix(_NO_ADDRESS_YET)}"
            key = {"authorization": f"Bearer {server.key}"} if server.key else {}
            return msgspec.structs.replace(request, url=url, headers={**request.headers, **key})

        return with_address

    def close(self) -> None:
        """Close the idle connections, and stop the engine if no other model uses it, when its last stream has ended."""
        super().close()
        release_engine(self)
