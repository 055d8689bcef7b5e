// A page as an application would write it, on useChat of @ai-sdk/react: /react?chat=ID&model=NAME&resume=1
import { useChat } from "@ai-sdk/react";
import { DefaultChatTransport, lastAssistantMessageIsCompleteWithApprovalResponses } from "ai";
import { useEffect, useState } from "react";
import { createRoot } from "react-dom/client";

const query = new URLSearchParams(location.search);
const id = query.get("chat") ?? "chat";
const resume = query.has("resume");
const api = "/api/ui-chat";
const transport = new DefaultChatTransport({ api, body: { model: query.get("model"), resumable: resume } });
const kept = JSON.parse(sessionStorage.getItem(id) ?? "[]");

function Tool({ part, answer }) {
  return (
    <div className="tool" data-state={part.state}>
      {part.type} {JSON.stringify(part.input)} {JSON.stringify(part.output)} {part.errorText}
      {part.state === "approval-requested" && (
        <>
          <button onClick={() => answer({ id: part.approval.id, approved: true })}>Allow {part.toolCallId}</button>
          <button onClick={() => answer({ id: part.approval.id, approved: false, reason: "too early" })}>Deny {part.toolCallId}</button>
        </>
      )}
    </div>
  );
}

function Part({ part, answer }) {
  if (part.type === "text" || part.type === "reasoning") return <p className={part.type} data-state={part.state}>{part.text}</p>;
  if (part.type.startsWith("tool-")) return <Tool part={part} answer={answer} />;
  return null;
}

function Page() {
  const [text, setText] = useState("");
  const { messages, status, error, sendMessage, stop, addToolApprovalResponse } = useChat({
    id,
    messages: kept,
    resume,
    transport,
    sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses,
  });
  useEffect(() => sessionStorage.setItem(id, JSON.stringify(messages)), [messages]);
  const leave = () => (resume ? fetch(`${api}/${id}/stream`, { method: "DELETE" }) : stop());
  return (
    <>
      <output id="status">{status}</output>
      <output id="error">{error?.message}</output>
      {messages.map((message) => (
        <article key={message.id} className={message.role}>
          {message.parts.map((part, at) => <Part key={at} part={part} answer={addToolApprovalResponse} />)}
        </article>
      ))}
      <form onSubmit={(event) => { event.preventDefault(); sendMessage({ text }); setText(""); }}>
        <input aria-label="Message" value={text} onChange={(event) => setText(event.target.value)} />
      </form>
      <button onClick={leave}>Stop</button>
    </>
  );
}

createRoot(document.getElementById("root")).render(<Page />);
