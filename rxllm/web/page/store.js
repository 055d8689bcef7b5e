// Conversations, kept in this browser and nowhere else.

const KEY = "rxllm-conversations";
const MOST = 100;

export const conversations = load();

export function create() {
  const conversation = { id: crypto.randomUUID(), title: "New conversation", messages: [] };
  conversations.unshift(conversation);
  conversations.splice(MOST);
  return conversation;
}

export function remove(conversation) {
  conversations.splice(conversations.indexOf(conversation), 1);
  save();
}

export function save() {
  try {
    localStorage.setItem(KEY, JSON.stringify(conversations.filter(({ messages }) => messages.length)));
  } catch {
    // The browser keeps no more, or nothing at all: the conversations live as long as the page.
  }
}

function load() {
  try {
    const found = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(found) ? found.filter((item) => Array.isArray(item?.messages)) : [];
  } catch {
    return [];
  }
}
