"""The program of the child process that runs llama.cpp. It imports nothing of rxllm, so that it starts quickly.

It reads one line of JSON from stdin (the import path and the settings of the engine), writes one line to stdout (the
address and the engine's /props, or an error), and ends when stdin is closed or its parent process is gone. On a second
line in stdin it ends when its streams have ended.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from http.client import HTTPConnection
from importlib import import_module
from typing import Any, cast

CHECK_SECONDS = 1.0
"""How often the process checks that its parent lives. A forked sibling may keep stdin open when the parent has ended.

On Windows the id of the parent never changes, but nothing forks there: the end of stdin suffices.
"""


FINISH_SECONDS = 0.1
"""How often the process checks whether its streams have ended, after the parent has asked it to finish."""


def main() -> None:
    """Run the engine until the parent process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    parent = os.getppid()
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # native code may write to stdout
    request = json.loads(sys.stdin.buffer.readline())  # UTF-8, whatever the encoding of text is
    finish = threading.Event()
    threading.Thread(target=_watch_stdin, args=(finish,), daemon=True).start()
    sys.path[:] = request["sys_path"]
    key = request["api_key"]
    address = ""
    try:
        server = _start(request["settings"])  # runs until it is freed
        address = server.listening_address
        props = _get(address, "/props", key)
        kept = {name: props.get(name) for name in ("modalities", "chat_template_caps")}
        of_slot: Any = props.get("default_generation_settings") or {}
        kept["n_ctx"] = of_slot.get("n_ctx")
        reply = {"address": address, "props": kept}
    except Exception as error:
        reply = {"error": f"{type(error).__name__}: {error}"}
    answer.write(json.dumps(reply) + "\n")
    answer.close()
    while "error" not in reply and os.getppid() == parent:
        if not finish.wait(CHECK_SECONDS):
            continue
        if not any(slot["is_processing"] for slot in _get(address, "/slots", key)):
            break
        time.sleep(FINISH_SECONDS)
    os._exit(0)  # nothing is to be saved, and stopping the engine would wait for its streams


def _watch_stdin(finish: threading.Event) -> None:
    while sys.stdin.buffer.readline():
        finish.set()
    os._exit(0)


def _start(settings: dict[str, object]) -> Any:
    """Start a llama.cpp server in this process; a dotted name in `settings` sets a field of a nested object."""
    engine = import_module("xllamacpp")
    params = engine.CommonParams()
    cpu = engine.ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_CPU
    # llama.cpp loads the model once more, to count the layers that fit: a quarter of the start.
    params.fit_params = any(device["type"] != cpu for device in engine.get_device_info())
    for name, value in settings.items():
        target = params
        *parents, field = name.split(".")
        for parent in parents:
            target = getattr(target, parent)
        # The engine takes the aliases as a set, which JSON does not have.
        setattr(target, field, set(cast("list[str]", value)) if name == "model_alias" else value)
    return engine.Server(params)


def _get(address: str, path: str, api_key: str) -> Any:
    """Return the JSON that the engine's server answers."""
    connection = HTTPConnection(address.removeprefix("http://"))
    connection.request("GET", path, headers={"Authorization": f"Bearer {api_key}"})
    return json.loads(connection.getresponse().read())


if __name__ == "__main__":
    main()
