"""What the chat examples share: the command line, the conversation, and the line with speed and cost.

Nothing in here knows of a user interface.
"""

from __future__ import annotations

import argparse
from datetime import datetime
from decimal import Decimal

import reactivex
from reactivex import Observable
from reactivex import operators as rx

import rxllm
from rxllm import operators as ops
from rxllm.assistant import Assistant, ChatSession, FunctionTool, ask_user

INSTRUCTIONS = "You are a helpful assistant. Answer briefly, in Markdown."


def models_from_command_line(description: str) -> dict[str, rxllm.StreamingModel]:
    """Return the models that `-m` names, or the embedded model, which needs no key."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "-m",
        "--model",
        action="append",
        metavar="PROVIDER[:MODEL]",
        help='"local", "openai:gpt-5.4-mini", "ollama:llama3.2", ...; may be given several times (default: local)',
    )
    parser.add_argument("--base-url", help="where the provider is, if not where it usually is")
    options = parser.parse_args()
    names: list[str] = options.model or ["local"]
    return {name: rxllm.create_streaming_model(name, base_url=options.base_url) for name in names}


def clock(city: str) -> str:
    """Say what time it is.

    Args:
        city: The user's city.
    """
    return f"{datetime.now():%H:%M} in {city}"


def chat_session(model: rxllm.StreamingModel) -> ChatSession:
    """A conversation with the model, which may look at the clock if the user allows it (and if it knows of tools)."""
    tools = [] if model.provider == "local" else [FunctionTool(clock)]
    return ChatSession(Assistant(model, system=INSTRUCTIONS, tools=tools, approve=ask_user if tools else None))


class Conversation:
    """The messages so far, and the answer under way."""

    def __init__(self) -> None:
        self.messages: list[rxllm.Message] = []
        self._unfinished: list[str] = []

    def ask(self, model: rxllm.StreamingModel, text: str) -> Observable[rxllm.TokenEvent]:
        """The answer to what the user says."""
        self._keep_unfinished()
        self.messages.append(rxllm.Message.user(text))
        return self._answer(model)

    def ask_again(self, model: rxllm.StreamingModel) -> Observable[rxllm.TokenEvent]:
        """Another answer to what the user said last."""
        self._unfinished.clear()
        while self.messages and self.messages[-1].role != "user":
            self.messages.pop()
        return self._answer(model)

    def _answer(self, model: rxllm.StreamingModel) -> Observable[rxllm.TokenEvent]:
        prompt = [rxllm.Message.system(INSTRUCTIONS), *self.messages]
        return model.stream(prompt).pipe(rx.do_action(self._note))

    def _note(self, event: rxllm.TokenEvent) -> None:
        if isinstance(event, rxllm.TextDelta):
            self._unfinished.append(event.text)
        elif isinstance(event, rxllm.StreamReset):
            self._unfinished.clear()
        elif isinstance(event, rxllm.StreamEnd):
            self._unfinished.clear()
            self.messages.append(event.response.message)

    def _keep_unfinished(self) -> None:
        """An answer that was stopped or broke off is part of what was said."""
        if self._unfinished:
            self.messages.append(rxllm.Message.assistant("".join(self._unfinished)))
            self._unfinished.clear()


def status(answer: Observable[rxllm.TokenEvent], model: rxllm.StreamingModel) -> Observable[str]:
    """The line with speed and cost, ten times a second while events come, and at the end; empty at first."""
    free = model.provider in {"local", "ollama"}
    prices = (lambda response: Decimal(0)) if free else None  # None: the price list of genai-prices
    unknown = reactivex.of("price unknown")
    cost = answer.pipe(ops.cost(prices), rx.map(_price), rx.catch(unknown), rx.start_with(""))
    timing = answer.pipe(ops.timing())
    now_and_then = timing.pipe(rx.distinct_until_changed(_tenth_of_a_second))
    speed = reactivex.merge(now_and_then, timing.pipe(rx.last())).pipe(rx.map(_speed))
    return reactivex.combine_latest(speed, cost).pipe(rx.map("".join), rx.start_with(""))


def _tenth_of_a_second(timing: ops.StreamTiming) -> int:
    return int(timing.elapsed * 10)


def _speed(timing: ops.StreamTiming) -> str:
    tokens = timing.deltas if timing.tokens is None else timing.tokens
    rate = timing.tokens_per_second
    return f"{tokens} tokens, {rate:.{0 if rate >= 10 else 1}f} tokens/s" if rate else f"{tokens} tokens"


def _price(cost: ops.Cost) -> str:
    return ", price unknown" if cost.unpriced else f", ${cost.total:.4f}"
