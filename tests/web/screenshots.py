"""Makes docs/screenshots/web-*.png from the real page: ``python -m tests.web.screenshots``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, sync_playwright

from rxllm.testing import ErrorReply, Gate, LLMServer, Reply
from rxllm.web import Service

from .running import model_of, running

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "screenshots"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]

ANSWER = """## Cold and hot streams

An *Observable* is **cold** when each subscription makes its own request, as `model.stream()` does:

| kind | who pays | replay |
|---|---|---|
| cold | each subscriber | no |
| `broadcast()` | once | yes |

```python
events = model.stream("Explain AI")
events.pipe(ops.text()).subscribe(print)
```

1. Subscribe, and the request is made.
2. Dispose, and the connection is closed:
   - at once,
   - from any thread.

> You pay only for text that has been written. See [ReactiveX](https://reactivex.io).
"""


def shoot(browser: Browser, llm: LLMServer, url: str, scheme: Literal["light", "dark"]) -> None:
    """The page in one colour scheme: while it streams, when it is done, stopped, and after an error."""
    page = browser.new_page(viewport={"width": 1100, "height": 800}, color_scheme=scheme)
    page.goto(url)

    def ask(text: str) -> None:
        page.get_by_label("Your message").fill(text)
        page.keyboard.press("Enter")

    def save(name: str) -> None:
        page.screenshot(path=FOLDER / f"web-{scheme}-{name}.png")

    gate = Gate(66)
    llm.enqueue(Reply(ANSWER, reasoning="They ask about streams: explain cold against hot.", gate=gate))
    ask("What is the difference between cold and hot streams?")
    page.locator("article .answer ol").wait_for()
    save("streaming")
    gate.open()
    page.locator("article[aria-busy=false]").last.wait_for()
    page.get_by_text("Reasoning").click()
    save("done")
    gate = Gate(4)
    llm.enqueue(Reply("One, two, three, four, and so on without end", gate=gate))
    ask("Count")
    page.locator("article .answer", has_text="four").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("main").get_by_text("Stopped.").wait_for()
    save("stopped")
    llm.enqueue(ErrorReply(429, "too many requests: try again in a minute"))
    ask("And now?")
    page.locator("article .error").wait_for()
    save("error")
    page.set_viewport_size({"width": 390, "height": 760})
    save("phone")
    page.close()


def main() -> None:
    """Make them all."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with LLMServer() as llm, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        models = {"openai:gpt-5.4-mini": model_of(llm), "local:smollm2-135m-instruct": model_of(llm)}
        with running(Service(models)) as url:
            shoot(browser, llm, url, "light")
            shoot(browser, llm, url, "dark")
        browser.close()


if __name__ == "__main__":
    main()
