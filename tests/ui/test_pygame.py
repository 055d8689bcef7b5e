"""What is pygame's own: a pane of text, a loop that is the program's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import reactivex
from reactivex import operators

import rxllm
from rxllm.testing import Gate, LLMServer, Reply
from rxllm.ui._bind import Binding

from .host_pygame import PygameHost
from .hosts import LIMIT_SECONDS, Stop
from .kinds import TOOLKIT, make_host
from .programs.run import run_program

pytestmark = pytest.mark.skipif(TOOLKIT not in {None, "pygame"}, reason="another toolkit has this process")


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[PygameHost]:
    """A loop of pygame's."""
    host = make_host("pygame", monkeypatch)
    assert isinstance(host, PygameHost)
    yield host
    host.close()


def make_pane(host: PygameHost, width: int = 200, rows: int = 5) -> Any:
    """A pane of so many lines."""
    font = host.pygame.font.Font(None, 20)
    return host.ui.TextPane(font, width, rows * font.get_linesize())


def shown(host: PygameHost, pane: Any, *items: rxllm.TokenEvent | str, error: Exception | None = None) -> Any:
    """The pane, once the stream of these items is over."""
    ending = reactivex.throw(error) if error else reactivex.empty()
    stream = reactivex.from_iterable(items).pipe(operators.concat(ending))
    host.run(lambda stop: host.ui.bind_text(pane, stream).running.subscribe(on_completed=stop))
    return pane


def lines_drawn(host: PygameHost, pane: Any) -> list[bool]:
    """For each line of the pane, whether something stands there."""
    height = pane._font.get_linesize()
    surface = host.pygame.Surface((300, 5 * height))
    surface.fill("white")
    pane.draw(surface)
    return [_has_ink(surface, top, height) for top in range(0, 5 * height, height)]


def _has_ink(surface: Any, top: int, height: int) -> bool:
    return any(
        surface.get_at((x, y))[:3] != (255, 255, 255)
        for x in range(surface.get_width())
        for y in range(top, top + height)
    )


def test_text_is_wrapped_and_drawn(host: PygameHost) -> None:
    """Nothing of it is lost, no line is wider than the pane."""
    text = "A long line that fits into no pane of this width, then " + "x" * 80 + "\n\ttabbed\0"
    pane = shown(host, make_pane(host), *text)
    assert pane.text == text
    lines = [line for line, _ in pane._lines]
    assert "".join(lines) == text.replace("\n", "").replace("\t", "    ").replace("\0", "\N{REPLACEMENT CHARACTER}")
    assert all(pane._font.size(line)[0] <= 200 for line in lines)
    assert lines == [line for line, _ in shown(host, make_pane(host), text)._lines], "however it was cut"
    assert lines_drawn(host, pane) == [True] * 5


def test_answers_follow_each_other(host: PygameHost) -> None:
    """Each is appended; a reset takes back what its own stream has added, and an error stands below."""
    pane = make_pane(host)
    shown(host, pane, "first ")
    shown(host, pane, rxllm.TextDelta("void"), rxllm.StreamReset("again"), rxllm.TextDelta("second"))
    assert pane.text == "first second"
    shown(host, pane, error=ValueError("no more"))
    assert pane.text == "first second\n⚠ no more"
    assert lines_drawn(host, pane) == [True, True, False, False, False]


def test_the_view_follows_the_end_only_if_it_was_there(host: PygameHost) -> None:
    """What is in view stays where the user has scrolled up."""
    pane = shown(host, make_pane(host), "line\n" * 20, "the end")
    assert pane.at_end
    pane.scroll(-1000)
    assert lines_drawn(host, pane) == [True] * 5
    shown(host, pane, "\n" * 20)
    assert not pane.at_end
    assert lines_drawn(host, pane) == [True] * 5
    pane.scroll(1000)
    assert pane.at_end
    assert lines_drawn(host, pane) == [False] * 5


def test_a_hundred_thousand_deltas_at_full_speed(host: PygameHost) -> None:
    """All there, in order, while the loop goes on."""
    deltas = [rxllm.TextDelta(f"token {n}{' ' if n % 12 else chr(10)}") for n in range(100_000)]
    events: reactivex.Subject[rxllm.TokenEvent] = reactivex.Subject()
    pane = make_pane(host, width=600)
    ticks: list[int] = []

    def produce() -> None:
        for delta in deltas:
            events.on_next(delta)
        events.on_completed()

    def body(stop: Stop) -> None:
        host.every(1 / 60, lambda: ticks.append(len(pane.text)))
        host.ui.bind_text(pane, events).running.subscribe(on_completed=stop)
        threading.Thread(target=produce).start()

    host.run(body)
    assert "".join(delta.text for delta in deltas) == pane.text
    assert len(set(ticks)) > 3


@pytest.mark.parametrize("end", ["dispose", "quit"])
def test_stopping(end: str, host: PygameHost, llm_server: LLMServer) -> None:
    """By the program, or by pygame's end: the connection is closed."""
    llm_server.enqueue(Reply("one two three", gate=Gate(1)))
    model = rxllm.create_streaming_model("openai", model="scripted", base_url=llm_server.base_url())
    pane = make_pane(host)

    def body(stop: Stop) -> None:
        answer: Binding = host.ui.bind_text(pane, model.stream("Hi"))
        ends: dict[str, Callable[[], object]] = {"dispose": answer.dispose, "quit": stop}

        def look(*_: object) -> None:
            if pane.text:
                answer.running.subscribe(on_completed=stop)
                ends[end]()
            else:
                host.scheduler.schedule_relative(0.005, look)

        look()

    host.run(body)
    if end == "quit":
        host.close()
    assert llm_server.wait_for_request().closed.wait(LIMIT_SECONDS)
    assert pane.text == "one"


def test_each_item_can_be_shown_in_the_programs_own_way(host: PygameHost) -> None:
    """On the loop's thread, in order."""
    seen: list[int] = []
    host.run(lambda stop: host.ui.bind_each(seen.append, reactivex.of(1, 2, 3)).running.subscribe(on_completed=stop))
    assert seen == [1, 2, 3]


def test_without_a_display(host: PygameHost) -> None:
    """The scheduler says what is missing; and there is another one for the next run of pygame."""
    before = host.scheduler
    assert host.ui.PygameScheduler() is before
    host.pygame.quit()
    with pytest.raises(rxllm.ConfigurationError, match=r"call pygame\.init\(\) first"):
        host.ui.PygameScheduler()
    host.pygame.init()
    assert host.ui.PygameScheduler() is not before


def test_quitting_ends_the_stream_in_silence() -> None:
    """The connection is closed, and nothing is printed."""
    quiet = {"SDL_VIDEODRIVER": "dummy", "PYGAME_HIDE_SUPPORT_PROMPT": "1"}
    assert run_program("close_pygame", **quiet) == ("one True True", "")
