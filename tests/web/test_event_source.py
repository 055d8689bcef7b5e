"""`EventSource` of a real browser, on a stream whose connection is cut: it goes on by itself, and stops at the end."""

from __future__ import annotations

from rxllm.testing import Gate, LLMServer, Reply
from rxllm.web import Service

from .balancing import Balancer
from .running import model_of

READ = """
(address) => {
    window.seen = [];
    window.source = new EventSource(address);
    source.onmessage = (event) => seen.push(JSON.parse(event.data));
    source.addEventListener("end", (event) => seen.push(JSON.parse(event.data)));
}
"""


def test_a_cut_connection_and_the_end(llm: LLMServer, service: Service, url: str, browser) -> None:
    """Each event is seen once; after the end, the browser's request is refused, so that it stops connecting."""
    gate = Gate(1)
    llm.enqueue(Reply("one two three", gate=gate))
    balancer = Balancer(url)
    context = browser.new_context(bypass_csp=True)  # so that this test may run scripts
    try:
        page = context.new_page()
        page.goto(balancer.url)
        stream = service.publish(model_of(llm).stream("Count"))
        page.evaluate(READ, f"{balancer.url}/api/streams/{stream.id}")
        page.wait_for_function("seen.some((event) => event.type === 'text_delta')")
        balancer.choose(url)
        gate.open()
        page.wait_for_function("seen.some((event) => event.type === 'end' && event.seq === undefined)")
        page.wait_for_function("source.readyState === EventSource.CLOSED")
        seen = page.evaluate("seen")
    finally:
        context.close()
        balancer.close()
    numbers = [event["seq"] for event in seen if "seq" in event]
    assert numbers == sorted(set(numbers))
    assert "one two three" == "".join(event["text"] for event in seen if event["type"] == "text_delta")
