"""The chat page in a real browser, used as a person uses it: by keyboard, by mouse, by a screen reader's tree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from reactivex import Observable

from rxllm.assistant import Assistant
from rxllm.messages import ToolCall
from rxllm.testing import Drop, ErrorReply, Gate, LLMServer, Reply
from rxllm.web import ChatRequest, Guard, Service

from .running import model_of, running

sync_api = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
expect = sync_api.expect

ANSWER = "article.assistant:last-child"


@pytest.fixture
def page(browser, url: str) -> Iterator[object]:
    """The page, open; at its end, nothing was asked of other hosts, and no script failed."""
    context = browser.new_context()
    made = context.new_page()
    made.set_default_timeout(20_000)
    asked: list[str] = []
    failures: list[str] = []
    made.on("request", lambda request: asked.append(request.url))
    made.on("pageerror", lambda error: failures.append(str(error)))
    made.goto(url)
    expect(made.locator("#model option")).not_to_have_count(0)
    yield made
    context.close()
    assert [] == failures
    assert [] == [address for address in asked if not address.startswith(url)]


def ask(page, text: str) -> None:
    page.get_by_label("Your message").fill(text)
    page.keyboard.press("Enter")


class TestAnswers:
    """Asking, and seeing the answer."""

    def test_tokens_appear_as_they_come(self, llm: LLMServer, page) -> None:
        """Not all at the end."""
        gate = Gate(2)
        llm.enqueue(Reply("one two three", gate=gate))
        ask(page, "Count")
        answer = page.locator(f"{ANSWER} .answer")
        expect(answer).to_have_text("one two")
        expect(page.locator(ANSWER)).to_have_attribute("aria-busy", "true")
        gate.open()
        expect(answer).to_have_text("one two three")
        expect(page.locator(ANSWER)).to_have_attribute("aria-busy", "false")
        expect(page.get_by_role("status")).to_have_text("Answer complete")

    def test_stopping_closes_the_connection_to_the_provider(self, llm: LLMServer, page) -> None:
        """With the button; what had come stays."""
        gate = Gate(1)
        llm.enqueue(Reply("one two three", gate=gate))
        ask(page, "Count")
        expect(page.locator(f"{ANSWER} .answer")).to_have_text("one")
        page.get_by_role("button", name="Stop").click()
        assert llm.wait_for_request().closed.wait(60)
        expect(page.locator(ANSWER)).to_contain_text("Stopped.")
        expect(page.locator(f"{ANSWER} .answer")).to_have_text("one")

    def test_a_reload_loses_nothing(self, llm: LLMServer, page) -> None:
        """The rest comes to the page that is loaded anew, from the one request."""
        gate = Gate(1)
        llm.enqueue(Reply("one two three", gate=gate))
        ask(page, "Count")
        expect(page.locator(f"{ANSWER} .answer")).to_have_text("one")
        page.reload()
        expect(page.locator(f"{ANSWER} .answer")).to_have_text("one")
        gate.open()
        expect(page.locator(f"{ANSWER} .answer")).to_have_text("one two three")
        expect(page.locator(ANSWER)).to_have_attribute("aria-busy", "false")
        assert 1 == len(llm.requests)

    def test_stopping_works_after_a_reload_too(self, llm: LLMServer, page) -> None:
        """Resuming and stopping are no alternatives."""
        gate = Gate(1)
        llm.enqueue(Reply("one two three", gate=gate))
        ask(page, "Count")
        expect(page.locator(f"{ANSWER} .answer")).to_have_text("one")
        page.reload()
        expect(page.locator(f"{ANSWER} .answer")).to_have_text("one")
        page.keyboard.press("Escape")
        assert llm.wait_for_request().closed.wait(60)
        expect(page.locator(ANSWER)).to_contain_text("Stopped.")

    def test_reasoning_is_folded(self, llm: LLMServer, page) -> None:
        """And there for who wants it."""
        llm.enqueue(Reply("Yes", reasoning="let me see"))
        ask(page, "Well?")
        reasoning = page.get_by_text("let me see")
        expect(page.locator(f"{ANSWER} .answer")).to_have_text("Yes")
        expect(reasoning).to_be_hidden()
        page.get_by_text("Reasoning").click()
        expect(reasoning).to_be_visible()

    @pytest.mark.parametrize(
        ("reply", "said"), [(ErrorReply(400, "too odd"), "too odd"), (Reply("one two", fault=Drop(1)), "was closed")]
    )
    def test_an_error_is_shown_where_the_answer_is(self, llm: LLMServer, page, reply, said: str) -> None:
        """With what had come before; asking again asks the same."""
        llm.enqueue(reply, "Now it works")
        ask(page, "Well?")
        expect(page.locator(f"{ANSWER} .error")).to_contain_text(said)
        page.get_by_role("button", name="Ask again").click()
        expect(page.locator(f"{ANSWER} .answer")).to_have_text("Now it works")
        expect(page.locator("article")).to_have_count(2)
        assert ["Well?", "Well?"] == [request.prompt for request in llm.requests]

    def test_a_conversation_is_sent_as_a_whole(self, llm: LLMServer, page) -> None:
        """The model hears what it said."""
        llm.enqueue("I am Ada", "Ada")
        ask(page, "Who are you?")
        expect(page.locator(f"{ANSWER} .answer")).to_have_text("I am Ada")
        ask(page, "Again?")
        expect(page.locator(f"{ANSWER} .answer")).to_have_text("Ada")
        said = [(message["role"], message["content"]) for message in llm.requests[1].json["messages"]]
        assert [("user", "Who are you?"), ("assistant", "I am Ada"), ("user", "Again?")] == said


class TestTools:
    """An assistant that asks before it does something."""

    @pytest.fixture
    def service(self, llm: LLMServer) -> Service:
        def weather(city: str) -> str:
            """Say what the weather is like in a city."""
            if city == "<b>Nowhere</b>":
                raise ValueError("no such city")
            return "sun"

        def careful(request: ChatRequest) -> Observable[object]:
            return Assistant(model_of(llm), tools=[weather], approve=request.approve).stream(request.messages)

        return Service({"careful": careful})

    def test_the_user_sees_what_is_to_be_done_and_decides(self, llm: LLMServer, page) -> None:
        """With the keyboard alone: the next question has the focus, then the prompt; the steps' texts stand apart."""
        cities = ("Oslo", "Rome", "<b>Nowhere</b>")
        calls = tuple(ToolCall(f"c{n}", "weather", {"city": city}) for n, city in enumerate(cities))
        llm.enqueue(Reply("Let me look.", tool_calls=calls), "Sunny in Oslo.")
        ask(page, "Weather?")
        expect(page.get_by_role("button", name="Allow")).to_have_count(3)
        expect(page.get_by_role("status")).to_have_text("weather waits for approval")
        page.get_by_role("button", name='Allow weather {"city":"Oslo"}').focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name='Allow weather {"city":"Rome"}')).to_be_focused()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name=re.compile("Allow.*Nowhere"))).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_label("Your message")).to_be_focused()
        expect(page.locator(f"{ANSWER} .answer p")).to_have_text(["Let me look.", "Sunny in Oslo."])
        lines = page.locator(f"{ANSWER} .tool")
        expect(lines.nth(0)).to_contain_text("done")
        expect(lines.nth(1)).to_contain_text("refused")
        expect(lines.nth(2)).to_contain_text('weather {"city":"<b>Nowhere</b>"}')
        expect(lines.nth(2)).to_contain_text("no such city")

    def test_a_question_outlives_a_reload_but_not_the_stream(self, llm: LLMServer, page) -> None:
        """Nothing is to be allowed once the answer is stopped."""
        llm.enqueue(Reply("", tool_calls=(ToolCall("c", "weather", {"city": "Oslo"}),)))
        ask(page, "Weather?")
        expect(page.get_by_role("button", name="Allow")).to_be_visible()
        page.reload()
        expect(page.get_by_role("button", name="Allow")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator(ANSWER)).to_contain_text("Stopped.")
        expect(page.get_by_role("button", name="Allow")).to_have_count(0)


class TestSafety:
    """What a model writes is shown, never run."""

    def test_markup_is_text(self, llm: LLMServer, page) -> None:
        """In text, in code, in links, in reasoning and in errors."""
        attack = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
        links = (
            "[a](javascript:alert(1)) [b](data:text/html,x) <javascript:alert(1)> ![c](https://tracker.example/c.png)"
        )
        llm.enqueue(Reply(f"{attack}\n\n- {attack}\n\n| {attack} | b |\n|---|---|\n\n{links}", reasoning=attack))
        ask(page, attack)
        expect(page.locator(ANSWER)).to_have_attribute("aria-busy", "false")
        assert page.locator(f"{ANSWER} .answer").inner_text().count("<script>document.title=2</script>") == 3
        assert 0 == page.locator("article img, article script, article iframe, article [onerror]").count()
        hrefs = [link.get_attribute("href") for link in page.locator("article a").all()]
        assert ["https://tracker.example/c.png"] == hrefs
        assert page.title().endswith("rxllm")

    @pytest.mark.parametrize("piece", ["`", "*a ", "**a ", ">", "[", "| ", "- "])
    def test_odd_text_does_not_freeze_the_page(self, llm: LLMServer, page, piece: str) -> None:
        """The work is in proportion to the text."""
        llm.enqueue(Reply(pieces=(piece * 20_000, " end")))
        ask(page, "Be odd")
        expect(page.locator(ANSWER)).to_have_attribute("aria-busy", "false")
        expect(page.locator(f"{ANSWER} .answer")).to_contain_text("end")

    def test_a_token_is_needed_where_there_is_one(self, llm: LLMServer, browser) -> None:
        """It comes with the address, and does not stay there."""
        service = Service({"m": model_of(llm)}, guard=Guard(token="s3cret"))
        with running(service) as url, browser.new_context() as context:
            page = context.new_page()
            page.goto(url)
            expect(page.locator("#empty")).to_contain_text("token")
            page.goto(f"{url}/?again#token=s3cret")
            expect(page.locator("#model option")).to_have_count(1)
            assert "s3cret" not in page.url
            llm.enqueue("Welcome")
            ask(page, "Hi")
            expect(page.locator(f"{ANSWER} .answer")).to_have_text("Welcome")


class TestMarkdown:
    """How an answer looks."""

    def test_blocks_and_spans(self, llm: LLMServer, page) -> None:
        """What models write."""
        source = """# Title

Some **bold**, *slanted*, ~~gone~~ and `code` with <https://example.com/>.

1. first
2. second
   - inner

> quoted

| a | b |
|---|---|
| 1 | 2 |

```python
print("<hi>")
```"""
        llm.enqueue(source)
        ask(page, "Show")
        answer = page.locator(f"{ANSWER} .answer")
        expect(page.locator(ANSWER)).to_have_attribute("aria-busy", "false")
        shape = {
            "h1": "Title",
            "strong": "bold",
            "em": "slanted",
            "s": "gone",
            "p > code": "code",
            "a": "https://example.com/",
            "ol > li:nth-child(2) li": "inner",
            "blockquote": "quoted",
            "td:nth-child(2)": "2",
            "pre": 'print("<hi>")',
        }
        assert shape == {place: answer.locator(place).inner_text() for place in shape}


class TestConversations:
    """Several, kept in the browser."""

    def test_each_has_its_own_place(self, llm: LLMServer, page) -> None:
        """New, back, reload, delete."""
        llm.enqueue("Red", "Blue")
        ask(page, "First question")
        expect(page.locator(f"{ANSWER} .answer")).to_have_text("Red")
        page.get_by_role("button", name="New conversation").first.click()
        ask(page, "Second question")
        expect(page.locator(f"{ANSWER} .answer")).to_have_text("Blue")
        page.reload()
        page.get_by_role("button", name="First question", exact=True).click()
        expect(page.locator(f"{ANSWER} .answer")).to_have_text("Red")
        page.get_by_role("button", name="Delete First question").click()
        expect(page.get_by_role("heading", name="Second question")).to_be_visible()
        page.reload()
        expect(page.locator("#conversations li")).to_have_count(1)

    def test_an_answer_goes_on_while_another_conversation_is_shown(self, llm: LLMServer, page) -> None:
        """And is there on return."""
        gate = Gate(1)
        llm.enqueue(Reply("one two three", gate=gate))
        ask(page, "Count")
        expect(page.locator(f"{ANSWER} .answer")).to_have_text("one")
        page.get_by_role("button", name="New conversation").first.click()
        expect(page.locator("article")).to_have_count(0)
        expect(page.get_by_role("button", name="Send")).to_be_visible()
        gate.open()
        page.get_by_role("button", name="Count", exact=True).click()
        expect(page.locator(f"{ANSWER} .answer")).to_have_text("one two three")

    def test_the_model_is_chosen(self, llm: LLMServer, browser) -> None:
        """And the choice is kept."""
        service = Service({"first": model_of(llm), "second": model_of(llm)})
        with running(service) as url, browser.new_context() as context:
            page = context.new_page()
            page.goto(url)
            page.get_by_label("Model").select_option("second")
            ask(page, "Hi")
            expect(page.locator(f"{ANSWER} .who")).to_have_text("second")
            page.reload()
            expect(page.get_by_label("Model")).to_have_value("second")


class TestEverybody:
    """With the keyboard alone, and with a screen reader."""

    def test_the_keyboard_reaches_everything(self, llm: LLMServer, page) -> None:
        """The prompt has the focus; Tab goes on to the rest."""
        page.keyboard.type("Hi")
        page.keyboard.press("Shift+Enter")
        page.keyboard.type("there")
        page.keyboard.press("Enter")
        expect(page.locator(f"{ANSWER} .answer")).to_have_text(re.compile("Hi\\s+there"))
        reached = set()
        for _ in range(16):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
        assert {"new", "model", "scroll", "Retry", "Copy", "prompt", "send"} <= reached

    def test_roles_and_names(self, llm: LLMServer, page) -> None:
        """What a screen reader finds."""
        expect(page.get_by_role("navigation", name="Conversations")).to_be_visible()
        expect(page.get_by_role("main", name="Conversation")).to_be_visible()
        expect(page.get_by_role("combobox", name="Model")).to_be_visible()
        expect(page.get_by_role("textbox", name="Your message")).to_be_focused()
        expect(page.get_by_role("log")).to_be_attached()


def test_every_file_of_the_page_is_served_and_refers_to_no_other_host() -> None:
    """Plain files, in the package."""
    folder = Path(__file__).resolve().parents[2] / "rxllm" / "web" / "page"
    texts = [path.read_text() for path in folder.iterdir() if path.suffix != ".svg"]
    assert 5 < len(list(folder.iterdir()))
    assert not [text for text in texts if re.search(r"""(src|href|url|import)\W{1,3}https?://""", text)]
