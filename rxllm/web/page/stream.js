// One stream of the server: asked, read event by event, resumed where the connection breaks, stopped.

const token = new URLSearchParams(location.hash.slice(1)).get("token") ?? sessionStorage.getItem("rxllm-token");
if (token) {
  sessionStorage.setItem("rxllm-token", token);
  if (location.hash) history.replaceState(null, "", location.pathname);
}

const RECONNECTS = 5;
const headers = (more = {}) => (token ? { ...more, authorization: `Bearer ${token}` } : more);
const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

export class Refused extends Error {}

export async function models() {
  return (await checked(await fetch("api/models", { headers: headers() }))).json().then((told) => told.models);
}

export const stop = (id) => fetch(`api/streams/${id}`, { method: "DELETE", headers: headers(), keepalive: true });

export async function approve(id, call, approved) {
  const body = JSON.stringify({ call, approved });
  await checked(await fetch(`api/streams/${id}/approve`, { method: "POST", headers: headers({ "content-type": "application/json" }), body }));
}

/** Ask; `onStream` is called with the stream's id, `onEvent` with each event, its end included. */
export async function ask(body, onStream, onEvent) {
  const response = await checked(await fetch("api/chat", {
    method: "POST",
    headers: headers({ "content-type": "application/json" }),
    body: JSON.stringify(body),
  }));
  const id = response.headers.get("x-rxllm-stream");
  onStream(id);
  await readOn(id, response, 0, onEvent);
}

/** Read a stream, from its beginning, that was begun by a page that is gone. */
export async function resume(id, onEvent) {
  await readOn(id, await again(id, 0), 0, onEvent);
}

async function again(id, after) {
  return checked(await fetch(`api/streams/${id}`, { headers: headers({ "last-event-id": String(after) }) }));
}

async function readOn(id, response, after, onEvent) {
  for (let failed = 0; ; failed += 1) {
    try {
      response ??= await again(id, after);
      for await (const event of events(response)) {
        if (event.seq) after = event.seq;
        failed = 0;
        onEvent(event);
        if (["end", "stopped", "error"].includes(event.type)) return;
      }
      if (response.status === 204) return;
    } catch (error) {
      if (error instanceof Refused) throw error;
    }
    if (failed >= RECONNECTS) throw new Error("The connection to the server is lost.");
    response = null;
    await wait(200 * 2 ** failed);
  }
}

async function* events(response) {
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (pending + value).split("\n\n");
    pending = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
      if (data) yield JSON.parse(data);
    }
  }
}

async function checked(response) {
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  throw new Refused(told.error?.message ?? `The server answered ${response.status}.`);
}
