"""Applications for servers of their own process: streams without end, or without a word."""

from __future__ import annotations

import reactivex
from reactivex import Observable, abc
from reactivex import operators as rx
from reactivex.disposable import Disposable

from rxllm.events import TextDelta
from rxllm.web import ChatRequest, Service
from rxllm.web.asgi import asgi_app
from rxllm.web.wsgi import wsgi_app

live: set[object] = set()


def quiet(request: ChatRequest) -> Observable[object]:
    """Say nothing, or one word if the prompt is "talk"; be counted until disposed."""

    def subscribe(observer: abc.ObserverBase[object], _: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        key = object()
        live.add(key)
        if request.messages[-1].text == "talk":
            observer.on_next(TextDelta("a"))
        return Disposable(lambda: live.discard(key))

    return reactivex.create(subscribe)


def endless(request: ChatRequest) -> Observable[object]:
    """Say a word every 50 ms."""
    return reactivex.interval(0.05).pipe(rx.map(lambda number: TextDelta(f"w{number} ")))


endless_asgi = asgi_app(Service({"m": endless}), drain_seconds=0.3)

_quiet_wsgi = wsgi_app(Service({"m": quiet}), keep_alive=0.5)


def quiet_wsgi(environ: dict[str, object], start_response: object) -> object:
    """Serve `quiet`, and at /live how many of its streams there are."""
    if environ["PATH_INFO"] == "/live":
        start_response("200 OK", [("content-type", "text/plain")])  # type: ignore[operator]  # as WSGI has it
        return [str(len(live)).encode()]
    return _quiet_wsgi(environ, start_response)  # type: ignore[arg-type]  # as given
