// Asks through @ai-sdk/openai and openai: node clients.mjs URL; prints what each of them got.
import { createOpenAI } from "@ai-sdk/openai";
import { jsonSchema, streamText, tool } from "ai";
import OpenAI from "openai";

const [url] = process.argv.slice(2);
const provider = createOpenAI({ baseURL: `${url}/v1`, apiKey: "unused" });
const told = {};
const onError = ({ error }) => { throw error; };

told.responses = await streamText({ model: provider("m"), prompt: "Hi", maxRetries: 0, onError }).text;

const weather = tool({ inputSchema: jsonSchema({ type: "object", properties: { city: { type: "string" } } }) });
const asked = streamText({ model: provider("m"), prompt: "Hi", tools: { weather }, maxRetries: 0, onError });
told.tools = (await asked.toolCalls).map(({ toolName, input }) => ({ name: toolName, input }));

told.chat = await streamText({ model: provider.chat("m"), prompt: "Hi", maxRetries: 0, onError }).text;

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "unused", maxRetries: 0 });
const chat = client.chat.completions.stream({ model: "m", messages: [{ role: "user", content: "Hi" }] });
told.js = await chat.finalContent();

told.jsResponses = "";
for await (const event of await client.responses.create({ model: "m", input: "Hi", stream: true })) {
  if (event.type === "response.output_text.delta") told.jsResponses += event.delta;
}
process.stdout.write(JSON.stringify(told));
