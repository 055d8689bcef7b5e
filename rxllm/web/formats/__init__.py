"""Streams as text on the wire: SSE, NDJSON, OpenAI Chat Completions, AI SDK, WebSocket. No I/O."""
