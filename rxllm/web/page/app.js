// The chat page: what is shown, and what keys and buttons do.

import { render } from "./markdown.js";
import { copy } from "./clipboard.js";
import { conversations, create, follow as followTabs, remove, save } from "./store.js";
import { approve, ask, models, resume, stop } from "./stream.js";

const $ = (id) => document.getElementById(id);
const [prompt, scroll, messages, picker] = ["prompt", "scroll", "messages", "model"].map($);
let current = conversations[0] ?? create();
const views = new WeakMap(); // message -> its elements
const dirty = new Set();
let painting = false;

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

function button(text, action, label) {
  const element = make("button", "", text);
  element.type = "button";
  if (label) element.setAttribute("aria-label", label);
  element.addEventListener("click", action);
  return element;
}

// --- What is shown

function showConversations() {
  $("conversations").replaceChildren(...conversations.filter((item) => item.messages.length || item === current).map((item) => {
    const open = button(item.title, () => select(item));
    open.className = "open";
    const drop = button("×", () => discard(item), `Delete ${item.title}`);
    drop.className = "delete";
    const entry = make("li", item === current ? "current" : "", open, drop);
    if (item === current) open.setAttribute("aria-current", "true");
    return entry;
  }));
  $("title").textContent = current.title;
  document.title = `${current.title} – rxllm`;
}

function showMessages() {
  messages.replaceChildren(...current.messages.map(view));
  $("empty").hidden = current.messages.length > 0;
  current.messages.forEach(paint);
  scroll.scrollTop = scroll.scrollHeight;
  showControls();
}

function showControls() {
  const answering = isAnswering(current);
  $("send").hidden = answering;
  $("stop").hidden = !answering;
}

function view(message) {
  if (message.role === "user") return make("article", "message user", make("span", "hidden", "You: "), message.text);
  const parts = {
    reasoning: make("div"), details: make("details", "reasoning"), tools: make("div"), answer: make("div", "answer"),
    waiting: make("span", "waiting"), notice: make("p"), actions: make("div", "actions"),
  };
  parts.summary = make("summary");
  parts.details.append(parts.summary, parts.reasoning);
  parts.root = make("article", "message assistant", make("p", "who", message.model ?? "Assistant"), parts.details, parts.tools, parts.answer, parts.waiting, parts.notice, parts.actions);
  views.set(message, parts);
  return parts.root;
}

function paint(message) {
  const parts = views.get(message);
  if (!parts) return;
  const streaming = message.state === "streaming";
  show(parts.answer, message.text);
  parts.details.hidden = !message.reasoning;
  parts.summary.textContent = streaming && !message.text ? "Thinking…" : "Reasoning";
  if (parts.reasoning.textContent !== message.reasoning) parts.reasoning.textContent = message.reasoning;
  paintTools(message, parts);
  parts.waiting.hidden = !streaming;
  parts.root.setAttribute("aria-busy", String(streaming));
  parts.notice.hidden = !message.notice;
  parts.notice.className = message.state === "failed" ? "error" : "note";
  parts.notice.textContent = message.notice ?? "";
  paintActions(message, parts, streaming);
}

/** Text as Markdown; whatever goes wrong with that, as text. */
function show(target, text) {
  try {
    render(target, text);
  } catch (error) {
    console.error(error);
    delete target.markdown;
    target.textContent = text;
  }
}

function paintActions(message, parts, streaming) {
  const last = current.messages.at(-1) === message;
  const shown = streaming ? "" : `${last}${message.summary ?? ""}`;
  if (parts.shown === shown) return;
  parts.shown = shown;
  parts.actions.replaceChildren();
  if (streaming) return;
  if (message.text) parts.actions.append(button("Copy", () => copy(message.text), "Copy the answer"));
  if (last) parts.actions.append(button("Retry", retry, "Ask again"));
  if (message.summary) parts.actions.append(make("span", "", message.summary));
}

/** Each line is made anew only where it changes: no button goes away under somebody's finger. */
function paintTools(message, parts) {
  const lines = (parts.lines ??= []);
  const tools = message.tools ?? [];
  const held = parts.tools.contains(document.activeElement);
  lines.splice(tools.length).forEach(({ element }) => element.remove());
  tools.forEach((tool, at) => {
    const shown = JSON.stringify([tool, message.state === "streaming"]);
    if (lines[at]?.shown === shown) return;
    const element = toolLine(message, tool);
    lines[at] ? lines[at].element.replaceWith(element) : parts.tools.append(element);
    lines[at] = { shown, element };
  });
  if (held && !parts.tools.contains(document.activeElement)) (parts.tools.querySelector("button") ?? prompt).focus();
}

function toolLine(message, tool) {
  const called = make("code", "", tool.arguments ? `${tool.name} ${JSON.stringify(tool.arguments)}` : tool.name);
  const line = make("div", "tool", called, make("span", "", tool.said ? `${tool.state}: ${tool.said}` : tool.state ?? ""));
  if (tool.state !== WAITS || message.state !== "streaming") return line;
  const answer = (approved) => async () => {
    tool.state = approved ? "allowed" : "refused";
    touch(message);
    try {
      await approve(message.stream, tool.id, approved);
    } catch (error) {
      tool.state = WAITS;
      say(error.message);
      touch(message);
    }
  };
  line.append(button("Allow", answer(true), `Allow ${called.textContent}`), button("Refuse", answer(false), `Refuse ${called.textContent}`));
  return line;
}

/** Show a message anew with the next frame. */
function touch(message) {
  dirty.add(message);
  if (painting) return;
  painting = true;
  const frame = () => {
    painting = false;
    const following = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 48;
    for (const item of dirty) paint(item);
    dirty.clear();
    if (following) scroll.scrollTop = scroll.scrollHeight;
  };
  document.hidden ? setTimeout(frame, 200) : requestAnimationFrame(frame);
}

const say = (text) => { $("status").textContent = text; };

// --- What is done

const isAnswering = (conversation) => conversation.messages.at(-1)?.state === "streaming";

function select(conversation) {
  current = conversation;
  showConversations();
  showMessages();
  toggle(false);
  prompt.focus();
}

function discard(conversation) {
  const answer = conversation.messages.at(-1);
  if (answer?.state === "streaming" && answer.stream) stop(answer.stream);
  remove(conversation);
  select(conversation === current ? conversations[0] ?? create() : current);
}

function send(text) {
  if (!current.messages.length) current.title = text.replace(/\s+/g, " ").slice(0, 60);
  current.messages.push({ role: "user", text });
  answer(current);
}

function retry() {
  if (isAnswering(current)) return;
  current.messages.pop();
  answer(current);
}

function answer(conversation) {
  const said = conversation.messages.filter(({ text }) => text).map(({ role, text }) => ({ role, content: text }));
  const message = { role: "assistant", text: "", reasoning: "", state: "streaming", model: picker.value };
  conversation.messages.push(message);
  save();
  showConversations();
  showMessages();
  say("Answering");
  const onStream = (id) => { message.stream = id; if (message.stopping) stop(id); save(); };
  follow(conversation, message, ask({ messages: said, model: picker.value }, onStream, reader(message)));
}

async function follow(conversation, message, reading) {
  try {
    await reading;
    if (message.state === "streaming") end(message, "failed", "The answer broke off.");
  } catch (error) {
    end(message, "failed", error.message);
  }
  save();
  if (conversation === current) { touch(message); showControls(); }
}

function end(message, state, notice) {
  message.state = state;
  message.notice = notice;
  say(notice ?? "Answer complete");
}

/** What an event does to a message. */
function reader(message) {
  return (event) => {
    const changes = CHANGES[event.type];
    if (!changes) return;
    changes(message, event);
    touch(message);
  };
}

/** The same, for a stream that is read from its beginning once more. */
function anew(message) {
  const read = reader(message);
  let begun = false;
  return (event) => {
    if (!begun) Object.assign(message, { text: "", reasoning: "", tools: [], step: undefined });
    begun = true;
    read(event);
  };
}

const WAITS = "waits for approval";
const tool = (message, id) => (message.tools ??= []).find((item) => item.id === id) ?? message.tools[message.tools.push({ id, name: id }) - 1];

const called = (message, { id, name, arguments: given }) => Object.assign(tool(message, id), { name, arguments: given });

function outcome({ refused, result }) {
  if (refused) return { state: "refused" };
  return result.is_error ? { state: "failed", said: result.content } : { state: "done" };
}

const CHANGES = {
  text_delta: (message, event) => { message.text += event.text; },
  reasoning_delta: (message, event) => { message.reasoning += event.text; },
  step_start: (message) => {
    if (message.text) message.text += "\n\n";
    message.step = [message.text.length, message.reasoning.length, message.tools?.length ?? 0];
  },
  stream_reset: (message) => { // which voids its step only
    const [text, reasoning, tools] = message.step ?? [0, 0, 0];
    Object.assign(message, { text: message.text.slice(0, text), reasoning: message.reasoning.slice(0, reasoning), tools: message.tools?.slice(0, tools) });
  },
  tool_call_start: (message, event) => Object.assign(tool(message, event.id), { name: event.name, state: "asked for" }),
  tool_call_end: (message, event) => called(message, event.call),
  approval_request: (message, event) => { called(message, event.call).state = WAITS; say(`${event.call.name} ${WAITS}`); },
  tool_start: (message, event) => { called(message, event.call).state = "runs"; },
  tool_end: (message, event) => Object.assign(called(message, event.call), outcome(event)),
  stream_end: (message, event) => { message.summary = summary(event.response); },
  end: (message) => end(message, "done"),
  stopped: (message) => end(message, "stopped", "Stopped."),
  error: (message, event) => end(message, "failed", event.error.message),
};

function summary({ usage, timing, finish_reason: reason }) {
  const told = [];
  const seconds = timing ? timing.total - (timing.first_token ?? 0) : 0;
  if (usage?.output_tokens) told.push(`${usage.output_tokens} tokens`);
  if (usage?.output_tokens && seconds > 0) told.push(`${(usage.output_tokens / seconds).toFixed(0)} per second`);
  if (reason && reason !== "stop") told.push(`ended: ${reason.replace("_", " ")}`);
  return told.join(", ");
}

function stopAnswer() {
  const message = current.messages.at(-1);
  if (message?.state !== "streaming") return;
  message.stopping = true;
  if (message.stream) stop(message.stream);
}

function toggle(shown) {
  $("sidebar").classList.toggle("shown", shown);
  $("toggle").setAttribute("aria-expanded", String(shown));
}

function fit() {
  prompt.style.height = "auto";
  prompt.style.height = `${prompt.scrollHeight + 2}px`;
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = prompt.value.trim();
  if (!text || isAnswering(current)) return;
  prompt.value = "";
  fit();
  send(text);
});
prompt.addEventListener("input", fit);
prompt.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("form").requestSubmit();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  toggle(false);
  stopAnswer();
});
$("stop").addEventListener("click", () => { stopAnswer(); prompt.focus(); });
$("new").addEventListener("click", () => select(current.messages.length ? create() : current));
$("toggle").addEventListener("click", () => toggle(!$("sidebar").classList.contains("shown")));
addEventListener("pagehide", save);
picker.addEventListener("change", () => localStorage.setItem("rxllm-model", picker.value));

// --- Begin: what was under way when the page was left goes on

for (const conversation of conversations) {
  for (const message of conversation.messages.filter(({ state }) => state === "streaming")) {
    if (!message.stream || message !== conversation.messages.at(-1)) { end(message, "failed", "The page was left."); continue; }
    follow(conversation, message, resume(message.stream, anew(message)));
  }
}
select(current);
followTabs((changed) => {
  if (isAnswering(current) && changed === current) return; // this tab reads the answer itself
  if (!conversations.includes(current)) current = conversations[0] ?? create();
  showConversations();
  if (changed === current || changed === null) showMessages();
});
try {
  const names = await models();
  picker.replaceChildren(...names.map((name) => new Option(name, name)));
  const chosen = localStorage.getItem("rxllm-model");
  if (names.includes(chosen)) picker.value = chosen;
} catch (error) {
  say(error.message);
  $("empty").querySelector("p").textContent = error.message;
}
