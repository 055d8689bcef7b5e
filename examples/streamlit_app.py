"""A chat with Streamlit whose answers survive reruns: a click in the middle of an answer sends no new request.

    streamlit run examples/streamlit_app.py                              the embedded model, no key needed
    streamlit run examples/streamlit_app.py -- -m openai:gpt-5.4-mini     any other

Needs: pip install "rxllm[local]" streamlit.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import streamlit as st
from shared import models_from_command_line

import rxllm

load_models = st.cache_resource(models_from_command_line)
state = st.session_state
messages: list[rxllm.Message] = state.setdefault("messages", [])


def remembering(texts: Iterator[str]) -> Iterator[str]:
    """The texts, and what has come of them in the session's state."""
    state.so_far = ""
    for text in texts:
        state.so_far += text
        yield text


def finish() -> None:
    """The answer is over: it ended, or the user has stopped it. What has come of it is kept."""
    rxllm.forget_shared_stream(state.pop("pending"))
    messages.append(rxllm.Message.assistant(state.pop("so_far", "")))


st.title("rxllm chat")
models = load_models("A chat with Streamlit.")
model = models[st.sidebar.selectbox("Model", list(models))]
st.sidebar.slider("Something else that reruns the script", 0, 10, key="other")

if text := st.chat_input("Say something"):
    if "pending" in state:
        finish()
    messages.append(rxllm.Message.user(text))
    state.pending = uuid.uuid4()

for message in messages:
    st.chat_message(message.role).write(message.text)

if "pending" in state:
    st.button("Stop", on_click=finish)
    with st.chat_message("assistant"):
        try:
            st.write_stream(
                remembering(rxllm.iter_text(rxllm.shared_stream(state.pending, lambda: model.stream(messages))))
            )
        except rxllm.LLMError as error:
            st.error(str(error))
    finish()
    st.rerun()
