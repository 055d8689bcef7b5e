// Markdown to DOM nodes as it streams. Nothing a model writes is ever parsed as HTML: every node is made here,
// every text is a text node, links go to http, https and mailto only, images become links.

// However odd a text is, the work stays in proportion to it: patterns see short pieces, nesting has a limit.
const LONGEST_LINE = 2000;
const LONGEST_SPAN = 2000;
const DEEPEST = 8;

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^\s`]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const BARE_ITEM = /^(\s*)([-*+]|\d{1,9}[.)])()\s*$/; // the text is still to come
const RULE = /^ {0,3}([-*_])(\s*\1){2,}\s*$/;
const DIVIDER = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;

/** Render `source` into `target`, keeping the nodes of the blocks that have not changed. */
export function render(target, source, depth = 0) {
  const blocks = depth < DEEPEST ? split(source) : [{ kind: "paragraph", lines: [source], raw: source }];
  const known = target.blocks ?? [];
  let same = 0;
  while (same < blocks.length && same < known.length && known[same] === blocks[same].raw) same += 1;
  while (target.childNodes.length > same) target.lastChild.remove();
  for (const block of blocks.slice(same)) target.append(node(block, depth));
  target.blocks = blocks.map((block) => block.raw);
}

/** Cut the text into top-level blocks; the last one may be unfinished. */
function split(source) {
  const lines = source.split("\n");
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (!lines[at].trim()) { at += 1; continue; }
    const start = at;
    const kind = kindAt(lines, at);
    at = ends[kind](lines, at);
    blocks.push({ kind, lines: lines.slice(start, at), raw: `${kind}\n${lines.slice(start, at).join("\n")}` });
  }
  return blocks;
}

function kindAt(lines, at) {
  const line = lines[at];
  if (/^ {0,3}>/.test(line)) return "quote";
  if (line.length < LONGEST_LINE) {
    if (FENCE.test(line)) return "code";
    if (HEADING.test(line)) return "heading";
    if (RULE.test(line)) return "rule";
    if (line.includes("|") && isDivider(lines[at + 1])) return "table";
  }
  if (ITEM.test(line)) return "list";
  return "paragraph";
}

const isDivider = (line) => line !== undefined && line.length < LONGEST_LINE && line.includes("-") && DIVIDER.test(line);

const single = (lines, at) => at + 1;
function whileTrue(lines, at, test) {
  at += 1;
  while (at < lines.length && test(lines[at], at)) at += 1;
  return at;
}
const ends = {
  heading: single,
  rule: single,
  code: (lines, at) => {
    const mark = FENCE.exec(lines[at])[1];
    const close = new RegExp(`^ {0,3}\\${mark[0]}{${mark.length},}\\s*$`);
    at += 1;
    while (at < lines.length && !close.test(lines[at])) at += 1;
    return Math.min(at + 1, lines.length);
  },
  list: (lines, at) => whileTrue(lines, at, (line, here) =>
    ITEM.test(line) || BARE_ITEM.test(line) || /^\s{2,}\S/.test(line) || (!line.trim() && here + 1 < lines.length && (ITEM.test(lines[here + 1]) || /^\s{2,}\S/.test(lines[here + 1])))),
  quote: (lines, at) => whileTrue(lines, at, (line) => /^ {0,3}>/.test(line)),
  table: (lines, at) => whileTrue(lines, at, (line) => line.includes("|")),
  paragraph: (lines, at) => whileTrue(lines, at, (line, here) => line.trim() && kindAt(lines, here) === "paragraph"),
};

function make(tag, ...children) {
  const element = document.createElement(tag);
  element.append(...children);
  return element;
}

function node({ kind, lines }, depth) {
  switch (kind) {
    case "code": return code(lines);
    case "heading": {
      const [, marks, text] = HEADING.exec(lines[0]);
      return make(`h${marks.length}`, ...inline(text));
    }
    case "rule": return make("hr");
    case "quote": {
      const quote = make("blockquote");
      render(quote, lines.map((line) => line.replace(/^ {0,3}> ?/, "")).join("\n"), depth + 1);
      return quote;
    }
    case "list": return list(lines, depth);
    case "table": return table(lines);
    default: return make("p", ...inline(lines.join("\n")));
  }
}

function code(lines) {
  const mark = FENCE.exec(lines[0])[1];
  const closed = lines.length > 1 && lines.at(-1).trim().startsWith(mark);
  const text = lines.slice(1, closed ? -1 : undefined).join("\n");
  const copy = make("button", "Copy");
  copy.type = "button";
  copy.setAttribute("aria-label", "Copy the code");
  copy.addEventListener("click", () => navigator.clipboard?.writeText(text));
  const box = make("div", make("pre", make("code", text)), copy);
  box.className = "code";
  return box;
}

function list(lines, depth) {
  const [, indent, mark] = ITEM.exec(lines[0]);
  const ordered = /\d/.test(mark);
  const items = [];
  for (const line of lines) {
    const match = ITEM.exec(line) ?? BARE_ITEM.exec(line);
    if (match && match[1].length <= indent.length + 1) items.push([match[3]]);
    else items.at(-1).push(line.replace(new RegExp(`^\\s{0,${indent.length + (ordered ? 3 : 2)}}`), ""));
  }
  const element = make(ordered ? "ol" : "ul");
  if (ordered) element.start = parseInt(mark, 10);
  for (const item of items) {
    const entry = make("li");
    const inner = item.join("\n");
    if (item.length === 1) entry.append(...inline(inner));
    else render(entry, inner, depth + 1);
    element.append(entry);
  }
  return element;
}

function table(lines) {
  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
  const row = (line, tag) => make("tr", ...cells(line).map((cell) => make(tag, ...inline(cell))));
  const body = make("tbody", ...lines.slice(2).map((line) => row(line, "td")));
  const box = make("div", make("table", make("thead", row(lines[0], "th")), body));
  box.className = "table";
  return box;
}

const SPANS = [
  [/^\*\*(?=\S)([\s\S]*?\S)\*\*/, (match) => make("strong", ...inline(match[1]))],
  [/^__(?=\S)([\s\S]*?\S)__(?!\w)/, (match) => make("strong", ...inline(match[1]))],
  [/^~~(?=\S)([\s\S]*?\S)~~/, (match) => make("s", ...inline(match[1]))],
  [/^\*(?=[^\s*])([^*]*?[^\s*])\*(?!\*)/, (match) => make("em", ...inline(match[1]))],
  [/^_(?=[^\s_])([^_]*?[^\s_])_(?!\w)/, (match) => make("em", ...inline(match[1]))],
  [/^!?\[([^\]\n]*)\]\(\s*<?([^\s)>]+)>?(?:\s+"[^"\n]*")?\s*\)/, (match) => link(match[2], match[1] || match[2], match[0])],
  [/^<(https?:\/\/[^\s<>]+)>/, (match) => link(match[1], match[1], match[0])],
  [/^https?:\/\/[^\s<>"')\]]*[^\s<>"')\].,;:!?]/, (match) => link(match[0], match[0], match[0])],
];

/** The nodes of a run of text. */
function inline(text) {
  const nodes = [];
  let plain = "";
  let at = 0;
  while (at < text.length) {
    const character = text[at];
    if (character === "\\" && /[\\`*_{}[\]()#+\-.!|<>~]/.test(text[at + 1] ?? "")) {
      plain += text[at + 1];
      at += 2;
      continue;
    }
    if (character === "`") {
      const found = codeSpan(text, at);
      if (found.node) {
        nodes.push(plain, found.node);
        plain = "";
      } else {
        plain += text.slice(at, found.end);
      }
      at = found.end;
      continue;
    }
    const begins = "*_~![<h".includes(character) && !((character === "_" || character === "h") && /\w/.test(text[at - 1] ?? ""));
    const found = begins ? span(text.slice(at, at + LONGEST_SPAN)) : null;
    if (found) {
      nodes.push(plain, found.node);
      plain = "";
      at += found.length;
    } else {
      const start = at;
      do at += 1; while (begins && text[at] === character); // a run of marks that mark nothing
      plain += text.slice(start, at);
    }
  }
  nodes.push(plain);
  return nodes.filter((item) => item !== "");
}

/** Code between two runs of as many backticks; without a second one, the first is text. */
function codeSpan(text, at) {
  let start = at;
  while (text[start] === "`") start += 1;
  const mark = text.slice(at, start);
  for (let close = text.indexOf(mark, start); close >= 0 && close - start < LONGEST_SPAN;) {
    let end = close;
    while (text[end] === "`") end += 1;
    if (end - close === mark.length) return { node: make("code", text.slice(start, close).replace(/^ (.+) $/, "$1")), end };
    close = text.indexOf(mark, end);
  }
  return { node: null, end: start };
}

function span(rest) {
  for (const [pattern, build] of SPANS) {
    const match = pattern.exec(rest);
    if (match) return { node: build(match), length: match[0].length };
  }
  return null;
}

function link(address, text, source) {
  let url;
  try {
    url = new URL(address);
  } catch {
    return source;
  }
  if (!["http:", "https:", "mailto:"].includes(url.protocol)) return source;
  const anchor = make("a", text);
  anchor.href = url.href;
  anchor.rel = "noopener noreferrer nofollow";
  anchor.target = "_blank";
  return anchor;
}
