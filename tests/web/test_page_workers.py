"""The chat page on one of several servers, and then on another: nobody sees the difference."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rxllm.testing import Gate, LLMServer, Reply

from ..relay.processes import RedisServer, needs_redis
from .balancing import Balancer, balanced
from .serving import of, served

pytestmark = needs_redis
sync_api = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
expect = sync_api.expect
ANSWER = "article.assistant:last-child"
LIMIT = 60_000


@pytest.fixture
def servers(llm: LLMServer, redis_server: RedisServer) -> Iterator[tuple[Balancer, str]]:
    """One address for two `rxllm serve` processes, and the second one's own."""
    words = (*of(llm), "--redis", redis_server.url)
    with served(*words) as (_, first), served(*words) as (_, second), balanced(first) as balancer:
        yield balancer, second


@pytest.fixture
def page(browser, servers: tuple[Balancer, str]) -> Iterator[object]:
    context = browser.new_context()
    made = context.new_page()
    made.set_default_timeout(LIMIT)
    made.goto(servers[0].url)
    expect(made.locator("#model option")).not_to_have_count(0)
    yield made
    context.close()


def ask(page, text: str) -> None:
    page.get_by_label("Your message").fill(text)
    page.keyboard.press("Enter")


def test_a_reload_on_another_server(llm: LLMServer, servers: tuple[Balancer, str], page) -> None:
    """Two conversations, both under way: one is read to its end, the other stopped."""
    balancer, other = servers
    gate = Gate(1)
    llm.enqueue(Reply("one two three", gate=gate), Reply("red green blue", gate=Gate(1)))
    ask(page, "Count")
    expect(page.locator(f"{ANSWER} .answer")).to_have_text("one", timeout=LIMIT)
    page.get_by_role("button", name="New conversation").first.click()
    ask(page, "Colours")
    expect(page.locator(f"{ANSWER} .answer")).to_have_text("red", timeout=LIMIT)
    balancer.choose(other)
    page.reload()
    expect(page.locator(f"{ANSWER} .answer")).to_have_text("red", timeout=LIMIT)
    page.get_by_role("button", name="Stop").click()
    assert llm.wait_for_request(2).closed.wait(60)
    expect(page.locator(ANSWER)).to_contain_text("Stopped.")
    page.get_by_role("button", name="Count", exact=True).click()
    expect(page.locator(f"{ANSWER} .answer")).to_have_text("one", timeout=LIMIT)
    gate.open()
    expect(page.locator(f"{ANSWER} .answer")).to_have_text("one two three", timeout=LIMIT)
    expect(page.locator(ANSWER)).to_have_attribute("aria-busy", "false")
    assert 2 == len(llm.requests)


def test_a_connection_that_is_moved(llm: LLMServer, servers: tuple[Balancer, str], page) -> None:
    """Without a reload: the page goes on at the other server, and repeats nothing."""
    balancer, other = servers
    gate = Gate(1)
    llm.enqueue(Reply("one two three", gate=gate))
    ask(page, "Count")
    expect(page.locator(f"{ANSWER} .answer")).to_have_text("one", timeout=LIMIT)
    with page.expect_request(lambda request: "/api/streams/" in request.url):
        balancer.choose(other)
    gate.open()
    expect(page.locator(f"{ANSWER} .answer")).to_have_text("one two three", timeout=LIMIT)
    expect(page.locator(ANSWER)).to_have_attribute("aria-busy", "false")
