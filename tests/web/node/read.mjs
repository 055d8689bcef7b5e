// Reads one answer as useChat does: node read.mjs URL CHAT_ID BODY_JSON [resume]; prints the states of the message.
import { DefaultChatTransport, readUIMessageStream } from "ai";

const [url, chatId, body, resume] = process.argv.slice(2);
const transport = new DefaultChatTransport({ api: url, body: JSON.parse(body) });
const messages = [{ id: "u1", role: "user", parts: [{ type: "text", text: "Hi" }] }];
const stream = resume
  ? await transport.reconnectToStream({ chatId })
  : await transport.sendMessages({ chatId, messages, trigger: "submit-message", abortSignal: undefined });

const told = { chunks: [], error: null, message: null, resumed: stream !== null };
if (stream !== null) {
  const [forChunks, forMessage] = stream.tee();
  const read = (async () => {
    for await (const chunk of forChunks) told.chunks.push(chunk);
  })();
  try {
    for await (const message of readUIMessageStream({ stream: forMessage, terminateOnError: true })) {
      told.message = message;
      process.stderr.write(".\n");
    }
  } catch (error) {
    told.error = String(error.message ?? error);
  }
  await read;
}
process.stdout.write(JSON.stringify(told));
