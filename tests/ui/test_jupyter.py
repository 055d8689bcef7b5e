"""Streams in a notebook, on a real kernel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import nbclient
import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from rxllm.testing import Fail, Gate, LLMServer, Reply

LIMIT_SECONDS = 200

SETUP = """
import rxllm
from IPython.display import display
from rxllm.ui.jupyter import live
model = rxllm.create_streaming_model("openai", model="scripted", base_url={url!r}, max_retries=0)
"""

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # of Jupyter's own


class Notebook(nbclient.NotebookClient):
    """A notebook of these cells, whose messages are kept."""

    def __init__(self, *cells: str) -> None:
        super().__init__(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells]))
        self.timeout = LIMIT_SECONDS
        self.updates: list[str] = []
        self.on_shown: Callable[[str], None] = lambda text: None
        self._tasks: list[asyncio.Task[None]] = []

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        if msg["msg_type"] in {"display_data", "update_display_data"}:
            data = msg["content"]["data"]
            text = data["text/plain"]
            if msg["msg_type"] == "update_display_data":
                self.updates.append(text)
            self.on_shown(text)
        return super().process_message(msg, cell, cell_index)

    def execute(self, **options: Any) -> Any:
        """Run the cells; nbclient's own method leaves its event loop open."""
        return asyncio.run(self.async_execute(**options))

    def interrupt(self) -> None:
        """As the stop button does."""
        self._tasks.append(asyncio.get_running_loop().create_task(self.km.interrupt_kernel()))

    def displayed(self, cell: int) -> list[str]:
        """What the cell displays in the end, as Markdown."""
        return [output["data"]["text/plain"] for output in self.nb.cells[cell].outputs if "data" in output]

    def printed(self, cell: int) -> str:
        """What it prints."""
        return "".join(output["text"] for output in self.nb.cells[cell].outputs if output["output_type"] == "stream")


@pytest.fixture
def server() -> Iterator[LLMServer]:
    """A scripted model server."""
    with LLMServer() as server:
        yield server


def test_the_answer_is_written_in_place(server: LLMServer) -> None:
    """One output, updated as the answer grows; and the answer is there for the next line."""
    gate = Gate(1)
    server.enqueue(Reply("**All** is well.", gate=gate))
    notebook = Notebook(
        SETUP.format(url=server.base_url()),
        'answer = live(model.stream("Hi"))\ndisplay(answer)',
        "print(answer.response.text)",
    )
    notebook.on_shown = lambda text: gate.open() if text else None
    notebook.execute()
    assert notebook.displayed(1) == ["**All** is well."]
    assert notebook.updates[0] == "**All**"
    assert notebook.printed(2) == "**All** is well.\n"


def test_displaying_it_again_asks_nobody(server: LLMServer) -> None:
    """It shows what came of it."""
    notebook = Notebook(SETUP.format(url=server.base_url()), 'answer = live(model.stream("Hi"))\nanswer', "answer")
    notebook.execute()
    assert notebook.displayed(2) == notebook.displayed(1) == ["Hi"]
    assert len(server.requests) == 1


def test_an_error_is_shown_where_the_user_looks(server: LLMServer) -> None:
    """Below what has come of the answer; the program finds it, too."""
    server.enqueue(Reply("Half an", fault=Fail(message="the model broke down")))
    notebook = Notebook(
        SETUP.format(url=server.base_url()),
        'answer = live(model.stream("Hi"))\nanswer',
        "print(type(answer.error).__name__)",
    )
    notebook.execute()
    (shown,) = notebook.displayed(1)
    assert shown.startswith("Half an\n\n> ⚠ ")
    assert "the model broke down" in shown
    assert notebook.printed(2) == "ProviderStreamError\n"


def test_interrupting_the_kernel_stops_the_stream(server: LLMServer) -> None:
    """The connection is closed, what has come stays, and the cell ends as an interrupted cell does."""
    server.enqueue(Reply("one two three", gate=Gate(1)))
    notebook = Notebook(SETUP.format(url=server.base_url()), 'display(live(model.stream("Hi")))\nprint("unreached")')

    notebook.on_shown = lambda text: notebook.interrupt() if text == "one" else None
    with pytest.raises(CellExecutionError, match="KeyboardInterrupt"):
        notebook.execute()
    assert notebook.displayed(1) == ["one\n\n> ■ stopped"]
    assert notebook.printed(1) == ""
    assert server.wait_for_request().closed.wait(LIMIT_SECONDS)


def test_interrupting_a_loop_over_a_stream_stops_it(server: LLMServer) -> None:
    """Though the notebook keeps the traceback."""
    server.enqueue(Reply("one two three", gate=Gate(1)))
    notebook = Notebook(
        SETUP.format(url=server.base_url()),
        "from rxllm.sinks.iterate import iter_text\n"
        'for text in iter_text(model.stream("Hi")):\n    display({"text/plain": text}, raw=True)',
    )
    notebook.on_shown = lambda text: notebook.interrupt()
    with pytest.raises(CellExecutionError, match="KeyboardInterrupt"):
        notebook.execute()
    assert server.wait_for_request().closed.wait(LIMIT_SECONDS)


def test_text_that_operators_made_is_shown(server: LLMServer) -> None:
    """Strings as well as events; a stream begun anew begins anew."""
    notebook = Notebook(
        SETUP.format(url=server.base_url())
        + "import reactivex\nfrom rxllm import StreamReset, TextDelta\n"
        + 'display(live(reactivex.of("a", "b")))\n'
        + 'display(live(reactivex.of(TextDelta("void"), StreamReset("again"), TextDelta("new"))))',
    )
    notebook.execute()
    assert notebook.displayed(0) == ["ab", "new"]


def test_an_answer_loads_nothing(server: LLMServer) -> None:
    """An image is a link, and HTML is shown as text."""
    server.enqueue(Reply("**a** ![picture](http://127.0.0.1:9/p.png) <img src=x>"))
    notebook = Notebook(SETUP.format(url=server.base_url()), "live(model.stream('Hi'))")
    notebook.execute()
    (html,) = [output["data"]["text/html"] for output in notebook.nb.cells[1].outputs if "data" in output]
    assert "<b>a</b>" in html
    assert ">picture</a>" in html
    assert "&lt;img src=x&gt;" in html
    assert "<img" not in html


def test_several_streams_side_by_side(server: LLMServer) -> None:
    """The second one begins before the first one has ended, and what they say loads nothing."""
    first, second = Gate(1), Gate(1)
    server.enqueue(Reply("one two <img src=x>", gate=first), Reply("three **four** ![p](http://x/p.png)", gate=second))
    notebook = Notebook(SETUP.format(url=server.base_url()), "live(model.stream('a'), model.stream('b'))")

    def both(text: str) -> None:
        if "one" in text and "three" in text:
            first.open()
            second.open()

    notebook.on_shown = both
    notebook.execute()
    (html,) = [output["data"]["text/html"] for output in notebook.nb.cells[1].outputs if "data" in output]
    assert "one two &lt;img src=x&gt;" in html
    assert "three <b>four</b> " in html
    assert "<img" not in html
