// TypeScript SDK 1.32: what Cline, Cherry Studio and opencode are built on.
import { Client } from "sdk-1.32/client/index.js";
import { SSEClientTransport } from "sdk-1.32/client/sse.js";
import { StdioClientTransport } from "sdk-1.32/client/stdio.js";
import { StreamableHTTPClientTransport } from "sdk-1.32/client/streamableHttp.js";
import { drive } from "./conversation.mjs";

const ways = {
  sse: ({ url }) => new SSEClientTransport(new URL(url)),
  http: ({ url }) => new StreamableHTTPClientTransport(new URL(url)),
  stdio: ({ command, env }) => new StdioClientTransport({ command: command[0], args: command.slice(1), env }),
};

await drive(async (connection) => {
  const client = new Client({ name: "ts-1.32", version: "1" }, { capabilities: {} });
  await client.connect(ways[connection.transport](connection));
  return client;
});
