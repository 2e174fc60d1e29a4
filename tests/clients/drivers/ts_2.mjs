// The TypeScript client of the 2.x line. By default it shakes hands like 1.x; with the argument "auto" it asks first
// whether the server speaks 2026-07-28.
import { Client, SSEClientTransport, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { drive } from "./conversation.mjs";

const [mode = "legacy"] = process.argv.slice(2);
const ways = {
  sse: ({ url }) => new SSEClientTransport(new URL(url)),
  http: ({ url }) => new StreamableHTTPClientTransport(new URL(url)),
  stdio: ({ command, env }) => new StdioClientTransport({ command: command[0], args: command.slice(1), env }),
};

await drive(async (connection) => {
  const client = new Client({ name: "ts-2", version: "1" }, { capabilities: {}, versionNegotiation: { mode } });
  await client.connect(ways[connection.transport](connection));
  return client;
});
