"""What binding a stream to a widget promises, on every toolkit with widgets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
import reactivex
from reactivex import Observable, Observer, abc, operators
from reactivex.disposable import Disposable
from reactivex.subject import BehaviorSubject, Subject

import rxllm
from rxllm.testing import Fail, Gate, LLMServer, Reply
from rxllm.ui._binding import Binding, StreamBinding

from .hosts import LIMIT_SECONDS, Stop, TextWidget, WidgetHost
from .kinds import WITH_WIDGETS, make_host

T = TypeVar("T")


@pytest.fixture(params=WITH_WIDGETS)
def host(request: pytest.FixtureRequest, display: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[WidgetHost]:
    """A UI with widgets of each kind in turn."""
    host = make_host(request.param, monkeypatch)
    assert isinstance(host, WidgetHost)
    yield host
    host.close()


def asking(server: LLMServer) -> Observable[rxllm.TokenEvent]:
    """A stream from the server."""
    return rxllm.create_streaming_model("openai", model="scripted", base_url=server.base_url()).stream("Hi")


def produced(items: list[T]) -> Observable[T]:
    """The items, from a thread, at full speed."""

    def subscribe(observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        stopped = threading.Event()

        def run() -> None:
            for item in items:
                if stopped.is_set():
                    return
                observer.on_next(item)
            observer.on_completed()

        threading.Thread(target=run, daemon=True).start()
        return Disposable(stopped.set)

    return Observable(subscribe)


def when_over(binding: Binding, stop: Stop) -> None:
    """Stop the loop when the binding has ended."""
    binding.running.subscribe(on_completed=stop)


def when(host: WidgetHost, condition: Callable[[], bool], then: Callable[[], object]) -> None:
    """Do `then`, once, when `condition` holds."""

    def look(*_: object) -> None:
        if condition():
            then()
        else:
            host.scheduler.schedule_relative(0.005, look)

    look()


def test_a_models_answer_appears_in_the_widget(host: WidgetHost, llm_server: LLMServer) -> None:
    """Whole, after what was there; and the binding says when it runs and when it is over."""
    llm_server.enqueue(Reply("All is well.\nTruly.", reasoning="hm"))
    text = host.text()
    running: list[bool] = []
    idle: list[bool] = []

    def body(stop: Stop) -> None:
        binding = host.ui.bind_text(text.widget, asking(llm_server))
        binding.running.subscribe(running.append)
        binding.idle.subscribe(idle.append)
        when_over(binding, stop)

    host.run(body)
    assert text.content() == "All is well.\nTruly."
    assert running == [True, False]
    assert idle == [False, True]


def test_a_hundred_thousand_deltas_at_full_speed(host: WidgetHost) -> None:
    """All there, in order, while the loop's own timer goes on ticking."""
    deltas = [f"token {n}{' ' if n % 12 else chr(10)}" for n in range(100_000)]
    text = host.text()
    ticks: list[int] = []

    def body(stop: Stop) -> None:
        host.every(1 / 60, lambda: ticks.append(len(text.content())))
        when_over(host.ui.bind_text(text.widget, produced([rxllm.TextDelta(delta) for delta in deltas])), stop)

    host.run(body)
    assert "".join(deltas) == text.content()
    assert len(set(ticks)) > 3, "the text grew by the frame, not at once"


def test_strings_are_shown_as_they_are(host: WidgetHost) -> None:
    """What operators made of the events is shown, too."""
    text = host.text()
    words = ["one ", "two ", "three\n"] * 1000
    host.run(lambda stop: when_over(host.ui.bind_text(text.widget, produced(words)), stop))
    assert "".join(words) == text.content()


@pytest.mark.parametrize(("word", "least", "most"), [("word ", 60_000, 60_005), ("x" * 9, 64_000, 64_000)])
def test_a_very_long_line_is_cut(host: WidgetHost, word: str, least: int, most: int) -> None:
    """At a space, if there is one: a widget lays out a line of a megabyte again for each word, for seconds."""
    text = host.text()
    words = [word] * (150_000 // len(word))
    host.run(lambda stop: when_over(host.ui.bind_text(text.widget, produced(words)), stop))
    *lines, last = text.content().split("\n")
    assert {len(line) for line in lines} <= set(range(least, most + 1))
    assert {line[-1] for line in lines} == {word[-1]}
    assert "".join([*lines, last]) == "".join(words)
    assert len(last) <= most


def test_a_line_is_counted_anew_after_a_reset(host: WidgetHost) -> None:
    """Else it would be cut too early."""
    text = host.text()
    events = rxllm.TextDelta("x" * 59_999), rxllm.StreamReset("again"), rxllm.TextDelta("a line of words")
    host.run(lambda stop: when_over(host.ui.bind_text(text.widget, reactivex.of(*events)), stop))
    assert text.content() == "a line of words"


def test_answers_follow_each_other(host: WidgetHost) -> None:
    """Each is appended; a reset takes back what its own stream has added, and nothing else."""
    text = host.text()
    void = rxllm.TextDelta("void"), rxllm.StreamReset("again"), rxllm.TextDelta("second")

    def body(stop: Stop) -> None:
        def go_on(running: bool) -> None:
            if not running:
                when_over(host.ui.bind_text(text.widget, reactivex.of(*void)), stop)

        host.ui.bind_text(text.widget, reactivex.of("first ")).running.subscribe(go_on)

    host.run(body)
    assert text.content() == "first second"


def test_an_error_is_shown_where_the_user_looks(host: WidgetHost, llm_server: LLMServer) -> None:
    """Below what has come of the answer."""
    llm_server.enqueue(Reply("Half an", fault=Fail(message="the model broke down")))
    text = host.text()
    host.run(lambda stop: when_over(host.ui.bind_text(text.widget, asking(llm_server)), stop))
    answer, error = text.content().split("\n")
    assert answer == "Half an"
    assert error.startswith("⚠ ")
    assert "the model broke down" in error


def test_the_view_follows_the_end_only_if_it_was_there(host: WidgetHost) -> None:
    """A user who has scrolled up to read is left in peace."""
    text = host.text()
    lines = "".join(f"line {n}\n" for n in range(200))
    seen: list[bool] = []

    def body(stop: Stop) -> None:
        def first_shown(running: bool) -> None:
            if not running:
                seen.append(text.at_end())
                text.scroll_to_start()
                host.ui.bind_text(text.widget, reactivex.of(lines)).running.subscribe(second_shown)

        def second_shown(running: bool) -> None:
            if not running:
                seen.append(text.at_end())
                stop()

        host.ui.bind_text(text.widget, reactivex.of(lines)).running.subscribe(first_shown)

    host.run(body)
    assert seen == [True, False]


def test_a_paragraph_without_end_is_shown_whole(host: WidgetHost) -> None:
    """Though each piece of it is laid out slower than the one before: what waits is shown in greater pieces."""
    text = host.text()
    pieces = ["word "] * 10_000
    host.run(lambda stop: when_over(host.ui.bind_text(text.widget, produced(pieces)), stop))
    assert "".join(pieces) == text.content()


class TestStopping:
    """Whatever ends a binding closes its connection at once. Each test begins with one word and a stall."""

    def test_the_stop_button(self, host: WidgetHost, llm_server: LLMServer) -> None:
        """It can be clicked while the stream runs; what has been shown stays."""
        text = host.text()
        button = host.button(text)
        enabled = [host.enabled(button)]

        def act(binding: Binding, stop: Stop) -> None:
            enabled.append(host.enabled(button))
            host.click(button)
            when(host, lambda: not host.enabled(button), stop)

        self._run(host, llm_server, text, act, lambda binding: button.connect_to(binding))
        assert enabled == [False, True]
        assert text.content() == "one"

    def test_dispose(self, host: WidgetHost, llm_server: LLMServer) -> None:
        """By the program, from another thread."""

        def act(binding: Binding, stop: Stop) -> None:
            when_over(binding, stop)
            threading.Thread(target=binding.dispose).start()

        self._run(host, llm_server, host.text(), act)

    def test_the_window_is_destroyed(self, host: WidgetHost, llm_server: LLMServer) -> None:
        """And the widget with it."""
        text = host.text()

        def act(binding: Binding, stop: Stop) -> None:
            when_over(binding, stop)
            text.destroy()

        self._run(host, llm_server, text, act)

    def test_a_widget_that_cannot_show(self, host: WidgetHost, llm_server: LLMServer) -> None:
        """The toolkit hears of the error, and nobody pays for tokens that nobody sees."""
        text = host.text()

        class Broken(RuntimeError):
            pass

        def fail(_: str) -> None:
            raise Broken

        def act(binding: Binding, stop: Stop) -> None:
            seen = StreamBinding(asking(llm_server), host.scheduler, Observer(lambda event: fail("shown")))
            when_over(seen, stop)
            binding.dispose()

        llm_server.enqueue(Reply("one two three", gate=Gate(1)))
        self._run(host, llm_server, text, act)
        assert llm_server.wait_for_request(2).closed.wait(LIMIT_SECONDS)
        assert [type(error) for error in host.errors] == [Broken]

    def _run(
        self,
        host: WidgetHost,
        server: LLMServer,
        text: TextWidget,
        act: Callable[[Binding, Stop], object],
        watch: Callable[[Binding], object] = lambda binding: None,
    ) -> None:
        server.enqueue(Reply("one two three", gate=Gate(1)))

        def body(stop: Stop) -> None:
            binding = host.ui.bind_text(text.widget, asking(server))
            watch(binding)
            when(host, lambda: text.content() != "", lambda: act(binding, stop))

        host.run(body)
        assert server.wait_for_request().closed.wait(LIMIT_SECONDS)


class TestEnabling:
    """Widgets follow an Observable of bool."""

    def test_it_follows_from_any_thread(self, host: WidgetHost) -> None:
        """The last value holds."""
        button = host.button(host.text())

        def body(stop: Stop) -> None:
            wanted = BehaviorSubject(True)
            host.ui.bind_enabled(button, wanted)

            def disable() -> None:
                threading.Thread(target=wanted.on_next, args=(False,)).start()
                when(host, lambda: not host.enabled(button), stop)

            when(host, lambda: host.enabled(button), disable)

        host.run(body)

    def test_an_error_disables(self, host: WidgetHost) -> None:
        """Nobody knows any more whether it may be clicked."""
        button = host.button(host.text())
        unknown = reactivex.of(True).pipe(operators.concat(reactivex.throw(ValueError("unknown"))))

        def body(stop: Stop) -> None:
            when_over(host.ui.bind_enabled(button, unknown), stop)

        host.run(body)
        assert not host.enabled(button)


def test_a_label_shows_a_short_text(host: WidgetHost) -> None:
    """For captions and status lines; errors included."""
    text = host.text()
    label, read = host.label(text)
    events = reactivex.of(rxllm.TextDelta("x"), rxllm.StreamReset("again"), rxllm.TextDelta("Done"))
    failing = events.pipe(operators.concat(reactivex.throw(ValueError("or not"))))
    host.run(lambda stop: when_over(host.ui.bind_text(label, failing), stop))
    assert read() == "Done\n⚠ or not"


def test_text_of_others_in_a_label_stays(host: WidgetHost) -> None:
    """After the answer, when that goes on, and when it is taken back."""
    label, read = host.label(host.text())
    source: Subject[rxllm.TokenEvent] = Subject()

    def body(stop: Stop) -> None:
        host.ui.bind_text(label, source)
        source.on_next(rxllm.TextDelta("mine"))

        def add() -> None:
            change = label.setText if hasattr(label, "setText") else lambda text: label.configure(text=text)
            change("mine, OTHERS")
            source.on_next(rxllm.TextDelta(" too"))
            when(host, lambda: read() == "mine too, OTHERS", take_back)

        def take_back() -> None:
            source.on_next(rxllm.StreamReset("again"))
            when(host, lambda: read() == ", OTHERS", stop)

        when(host, lambda: read() == "mine", add)

    host.run(body)


def test_each_item_can_be_shown_in_the_programs_own_way(host: WidgetHost) -> None:
    """On the UI thread, in order; an error is for others to show."""
    text = host.text()
    seen: list[tuple[int, int]] = []
    failing: Observable[int] = produced([1, 2, 3]).pipe(operators.concat(reactivex.throw(ValueError("no more"))))

    def show(number: int) -> None:
        seen.append((number, threading.get_ident()))

    host.run(lambda stop: when_over(host.ui.bind_each(text.widget, show, failing), stop))
    assert seen == [(number, threading.get_ident()) for number in (1, 2, 3)]
    assert host.errors == []
