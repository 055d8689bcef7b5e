// Conversations, kept in this browser and nowhere else: each under its own key, so that two tabs do not lose each other's.

const PREFIX = "rxllm-conversation:";
const MOST = 100;
const written = new Map(); // id -> what was last written or read

export const conversations = load();

export function create() {
  const conversation = { id: newId(), title: "New conversation", messages: [] };
  conversations.unshift(conversation);
  return conversation;
}

export function remove(conversation) {
  conversations.splice(conversations.indexOf(conversation), 1);
  written.delete(conversation.id);
  localStorage.removeItem(PREFIX + conversation.id);
}

/** Write what has changed. */
export function save() {
  for (const conversation of conversations.filter(({ messages }) => messages.length)) {
    const { changed: _, ...kept } = conversation;
    const text = JSON.stringify(kept);
    if (written.get(conversation.id) === text) continue;
    conversation.changed = Date.now();
    try {
      localStorage.setItem(PREFIX + conversation.id, JSON.stringify(conversation));
      written.set(conversation.id, text);
    } catch {
      // The browser keeps no more, or nothing at all: the conversations live as long as the page.
    }
  }
  for (const old of conversations.filter(({ messages }) => messages.length).slice(MOST)) remove(old);
}

/** Call `onChange` with a conversation that another tab has changed, and null for one that it has removed. */
export function follow(onChange) {
  addEventListener("storage", ({ key, newValue }) => {
    if (!key?.startsWith(PREFIX)) return;
    const found = newValue && parse(newValue);
    const known = conversations.find(({ id }) => PREFIX + id === key);
    if (!found) {
      if (known && newValue === null) conversations.splice(conversations.indexOf(known), 1);
      onChange(null);
    } else {
      if (known) Object.assign(known, found);
      else conversations.unshift(found);
      onChange(known ?? found);
    }
  });
}

function load() {
  try {
    const keys = Array.from({ length: localStorage.length }, (_, at) => localStorage.key(at));
    const found = keys.filter((key) => key.startsWith(PREFIX)).map((key) => parse(localStorage.getItem(key))).filter(Boolean);
    return found.sort((one, other) => (other.changed ?? 0) - (one.changed ?? 0));
  } catch {
    return [];
  }
}

function parse(text) {
  try {
    const found = JSON.parse(text);
    if (typeof found?.id !== "string" || !Array.isArray(found.messages)) return null;
    const { changed: _, ...kept } = found;
    written.set(found.id, JSON.stringify(kept));
    return found;
  } catch {
    return null;
  }
}

/** A random id. `crypto.randomUUID` is missing on pages that have come over plain http. */
function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
