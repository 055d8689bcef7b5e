import { copy } from "./clipboard.js";

// Markdown to DOM nodes as it streams. Nothing a model writes is ever parsed as HTML: every node is made here,
// every text is a text node, links go to http, https and mailto only, images become links.

// However odd a text is, the work stays in proportion to it: patterns see short pieces, nesting has a limit.
const LONGEST_LINE = 2000;
const LONGEST_SPAN = 2000;
const DEEPEST = 8;
const LINES_AT_ONCE = 100; // of code
const LONGEST_PIECE = 4000; // of a paragraph
const LONG_TABLE = 200; // rows

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^\s`]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const BARE_ITEM = /^(\s*)([-*+]|\d{1,9}[.)])()\s*$/; // the text is still to come
const RULE = /^ {0,3}([-*_])(\s*\1){2,}\s*$/;
const DIVIDER = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;

/** Render `source` into `target`; of a text that has grown, only what may have changed is made anew. */
export function render(target, source, depth = 0) {
  const before = target.markdown;
  const grown = before && source.startsWith(before.source) ? before.blocks.slice(0, -2) : []; // a later line may join the last two
  const from = grown.length ? before.blocks[grown.length].start : 0;
  const blocks = depth < DEEPEST ? [...grown, ...split(source, from)] : [{ kind: "paragraph", lines: [source], raw: source, start: 0 }];
  const known = before?.blocks ?? [];
  let same = grown.length;
  while (same < blocks.length && same < known.length && known[same].raw === blocks[same].raw) same += 1;
  if (same < blocks.length && known[same]?.kind === blocks[same].kind && patch(target.childNodes[same], blocks[same], depth)) same += 1;
  while (target.childNodes.length > same) target.lastChild.remove();
  target.append(...blocks.slice(same).map((block) => node(block, depth)));
  target.markdown = { source, blocks };
}

/** Cut the text from the character `from` on into top-level blocks; the last one may be unfinished. */
function split(source, from) {
  const lines = source.slice(from).split("\n");
  const blocks = [];
  let at = 0;
  let start = from;
  while (at < lines.length) {
    const kind = lines[at].trim() ? kindAt(lines, at) : null;
    const end = kind ? ends[kind](lines, at) : at + 1;
    const own = lines.slice(at, end);
    const text = own.join("\n");
    if (kind) blocks.push({ kind, lines: own, raw: `${kind}\n${text}`, start });
    start += text.length + 1;
    at = end;
  }
  return blocks;
}

/** Change the node of a block of the same kind, where that is less work than a new one. */
function patch(element, block, depth) {
  if (block.kind === "code") fillCode(element.querySelector("code"), codeText(block.lines));
  else if (block.kind === "list") return fillList(element, block.lines, depth);
  else if (block.kind === "table") return fillTable(element, block.lines);
  else if (block.kind === "paragraph") fillParagraph(element, block.lines.join("\n"));
  else return false;
  return true;
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
    default: return paragraph(lines);
  }
}

function codeText(lines) {
  const mark = FENCE.exec(lines[0])[1];
  const closed = lines.length > 1 && lines.at(-1).trim().startsWith(mark);
  return lines.slice(1, closed ? -1 : undefined).join("\n");
}

function code(lines) {
  const shown = make("code");
  fillCode(shown, codeText(lines));
  const copyButton = make("button", "Copy");
  copyButton.type = "button";
  copyButton.setAttribute("aria-label", "Copy the code");
  copyButton.addEventListener("click", () => copy(shown.text));
  const box = make("div", make("pre", shown), copyButton);
  box.className = "code";
  return box;
}

/** Code in pieces of many lines, so that the browser lays out only the last one anew. */
function fillCode(shown, text) {
  const lines = text.split("\n");
  const pieces = Math.ceil(lines.length / LINES_AT_ONCE);
  const kept = shown.text !== undefined && text.startsWith(shown.text) ? Math.max(0, shown.childNodes.length - 1) : 0;
  while (shown.childNodes.length > kept) shown.lastChild.remove();
  for (let piece = kept; piece < pieces; piece += 1) {
    const own = lines.slice(piece * LINES_AT_ONCE, (piece + 1) * LINES_AT_ONCE).join("\n");
    shown.append(make("span", piece < pieces - 1 ? `${own}\n` : own));
  }
  shown.text = text;
}

function list(lines, depth) {
  const element = make(/\d/.test(ITEM.exec(lines[0])[2]) ? "ol" : "ul");
  fillList(element, lines, depth);
  return element;
}

/** Make the items that have changed anew; false if it is another kind of list. */
function fillList(element, lines, depth) {
  const [, indent, mark] = ITEM.exec(lines[0]);
  const ordered = /\d/.test(mark);
  if (ordered !== (element.tagName === "OL")) return false;
  if (ordered) element.start = parseInt(mark, 10);
  const outdent = new RegExp(`^\\s{0,${indent.length + (ordered ? 3 : 2)}}`);
  const items = [];
  for (const line of lines) {
    const match = ITEM.exec(line) ?? BARE_ITEM.exec(line);
    if (match && match[1].length <= indent.length + 1) items.push([match[3]]);
    else items.at(-1).push(line.replace(outdent, ""));
  }
  items.forEach((item, at) => {
    const inner = item.join("\n");
    const entry = element.childNodes[at] ?? element.appendChild(make("li"));
    if (entry.text !== inner) fillItem(entry, item, inner, depth);
  });
  while (element.childNodes.length > items.length) element.lastChild.remove();
  return true;
}

function fillItem(entry, item, inner, depth) {
  const task = /^\[([ xX])\]\s+/.exec(inner);
  entry.text = inner;
  if (item.length > 1 && !task) {
    if (!entry.markdown) entry.replaceChildren();
    render(entry, inner, depth + 1);
    return;
  }
  delete entry.markdown;
  if (!task) { entry.replaceChildren(...inline(inner)); return; }
  const box = make("input");
  Object.assign(box, { type: "checkbox", disabled: true, checked: task[1] !== " " });
  entry.className = "task";
  entry.replaceChildren(box, " ", ...inline(item[0].slice(task[0].length)));
  if (item.length > 1) {
    const rest = make("div");
    render(rest, item.slice(1).join("\n"), depth + 1);
    entry.append(rest);
  }
}

/** The cells of a row: a "|" in code, or after a backslash, is text. */
function cells(line) {
  const found = [""];
  const row = line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "");
  for (let at = 0; at < row.length;) {
    let end = at + 1;
    if (row[at] === "\\") end = at + 2;
    else if (row[at] === "`") end = codeSpan(row, at).end;
    if (row[at] === "|") found.push("");
    else found[found.length - 1] += row.slice(at, end);
    at = end;
  }
  return found.map((cell) => cell.trim());
}

function table(lines) {
  const box = make("div", make("table", make("thead"), make("tbody")));
  box.className = "table";
  fillTable(box, lines);
  return box;
}

/** Make the rows that have changed anew; false if it has another head. */
function fillTable(box, lines) {
  const [head, body] = box.firstChild.children;
  const names = cells(lines[0]);
  const align = cells(lines[1]).map((mark) => (mark.endsWith(":") ? (mark.startsWith(":") ? "center" : "right") : ""));
  const row = (own, tag) => make("tr", ...names.map((_, at) => {
    const cell = make(tag, ...inline(own[at] ?? ""));
    if (align[at]) cell.className = align[at];
    return cell;
  }));
  const top = lines.slice(0, 2).join("\n");
  if (box.top !== undefined && box.top !== top) return false;
  if (box.top === undefined) head.append(row(names, "th"));
  box.top = top;
  box.classList.toggle("long", lines.length > LONG_TABLE);
  lines.slice(2).forEach((line, at) => {
    const known = body.childNodes[at];
    if (known?.text === line) return;
    const made = row(cells(line), "td");
    made.text = line;
    known ? known.replaceWith(made) : body.append(made);
  });
  while (body.childNodes.length > lines.length - 2) body.lastChild.remove();
  return true;
}

function paragraph(lines) {
  const element = make("p");
  fillParagraph(element, lines.join("\n"));
  return element;
}

/** A text of many pages without a blank line, in pieces, so that only the last one is made and laid out anew. */
function fillParagraph(element, text) {
  const pieces = [];
  for (let from = 0; from < text.length;) {
    const space = text.length - from > LONGEST_PIECE ? text.lastIndexOf(" ", from + LONGEST_PIECE) : -1;
    const end = text.length - from <= LONGEST_PIECE ? text.length : space > from ? space + 1 : from + LONGEST_PIECE;
    pieces.push(text.slice(from, end));
    from = end;
  }
  if (pieces.length < 2) { element.replaceChildren(...inline(text)); return; }
  let same = 0;
  while (element.childNodes[same]?.text === pieces[same] && same < pieces.length) same += 1;
  while (element.childNodes.length > same) element.lastChild.remove();
  for (const piece of pieces.slice(same)) {
    const part = make("span", ...inline(piece));
    part.className = "piece";
    part.text = piece;
    element.append(part);
  }
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
    const formula = character === "\\" || character === "$" ? math(text, at) : null;
    if (formula) {
      const shown = make("span", formula);
      shown.className = "math";
      nodes.push(plain, shown);
      plain = "";
      at += formula.length;
      continue;
    }
    if (character === "\\" && "([".includes(text[at + 1] ?? "x")) { // math whose end is still to come
      plain += text.slice(at, at + 2);
      at += 2;
      continue;
    }
    if (text[at + 1] === "\n" && character === "\\" || character === "\n" && / {2}$/.test(plain)) {
      nodes.push(plain.trimEnd(), make("br"));
      plain = "";
      at += character === "\n" ? 1 : 2;
      continue;
    }
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

/** A formula with its marks, \\( \\), \\[ \\] or $$ $$, as it is: nothing in it is Markdown. A single $ is money. */
function math(text, at) {
  const close = { "\\(": "\\)", "\\[": "\\]", "$$": "$$" }[text.slice(at, at + 2)];
  const end = close ? text.indexOf(close, at + 2) : -1;
  return end > at + 2 && end - at < LONGEST_SPAN ? text.slice(at, end + 2) : null;
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
