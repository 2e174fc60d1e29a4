// TypeScript SDK 1.0.4, as in the first releases of Cline: SSE and stdio.
import EventSource from "eventsource";
import { Client } from "sdk-1.0/client/index.js";
import { SSEClientTransport } from "sdk-1.0/client/sse.js";
import { StdioClientTransport } from "sdk-1.0/client/stdio.js";
import { drive } from "./conversation.mjs";

globalThis.EventSource = EventSource; // what a browser or Electron has

await drive(async ({ transport, url, command, env }) => {
  const client = new Client({ name: "ts-1.0", version: "1" }, { capabilities: {} });
  const way =
    transport === "sse"
      ? new SSEClientTransport(new URL(url))
      : new StdioClientTransport({ command: command[0], args: command.slice(1), env });
  await client.connect(way);
  return client;
});
