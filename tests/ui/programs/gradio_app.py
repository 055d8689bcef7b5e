"""Gradio's chat over an Observable: python gradio_app.py. Prints what it shows, and "stopped" if its stop disposes."""

import os
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import gradio
import reactivex
from gradio_client import Client
from reactivex import operators as rx

import rxllm
from rxllm import operators as ops

asked, disposed = threading.Event(), threading.Event()


async def growing(message: str, history: list[Any]) -> AsyncIterator[str]:
    words = reactivex.of(*(rxllm.TextDelta(f"{number} ") for number in ("one", "two", "three")))
    async for so_far in rxllm.aio.events(words.pipe(ops.accumulate())):
        yield so_far


async def silent(message: str, history: list[Any]) -> AsyncIterator[str]:
    stream: Any = reactivex.never().pipe(rx.do_action(), rx.finally_action(disposed.set))
    asked.set()
    async for so_far in rxllm.aio.events(stream):
        yield so_far


def client(answer: Callable[..., AsyncIterator[str]]) -> Client:
    app = gradio.ChatInterface(answer, api_name="chat")
    app.queue()
    app.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", inbrowser=False)
    return Client(app.local_url, verbose=False)


print(client(growing).predict("Hi", api_name="/chat"))
job = client(silent).submit("Hi", api_name="/chat")
assert asked.wait(100)
job.cancel()
print("stopped" if disposed.wait(100) else "still running", flush=True)
os._exit(0)
