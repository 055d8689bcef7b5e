"""A forked process begins anew: it has its parent's memory, but none of its threads, and no right to its sockets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, threading
import rxllm
from rxllm.testing import LLMServer, reply

def answers(model):
    return model.chat("Hello").text

with LLMServer() as server:
    server.enqueue("before", "going ", "in the child", "after")
    model = rxllm.create_streaming_model("openai", model="m", base_url=server.base_url("openai"))
    assert answers(model) == "before"

    child = os.fork()
    if child == 0:
        assert threading.active_count() == 1
        stalled = rxllm.create_streaming_model("openai", model="m", base_url="http://127.0.0.1:9/v1", max_retries=0)
        try:
            answers(stalled)
        except rxllm.APIConnectionError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
"""
