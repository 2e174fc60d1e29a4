// Cline's own client library: its settings file, its transports, its timeouts.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  createDefaultMcpServerClientFactory,
  createMcpTools,
  InMemoryMcpManager,
  registerMcpServersFromSettingsFile,
} from "@cline/core";
import { drive } from "./conversation.mjs";

const settingsPath = join(process.env.HOME, "cline_mcp_settings.json");
const entries = {
  sse: ({ url }) => ({ url }), // no type: what an entry that is only a URL means to Cline
  http: ({ url }) => ({ type: "streamableHttp", url }),
  stdio: ({ command, env }) => ({ command: command[0], args: command.slice(1), env, timeout: 60 }), // as our block has it
  pasted: ({ settings }) => Object.values(settings.mcpServers)[0],
};
let opened = 0;

await drive(async (connection) => {
  const serverName = `memory${++opened}`;
  const entry = entries[connection.transport](connection);
  writeFileSync(settingsPath, JSON.stringify({ mcpServers: { [serverName]: entry } }));
  const manager = new InMemoryMcpManager({ clientFactory: createDefaultMcpServerClientFactory({ settingsPath }) });
  await registerMcpServersFromSettingsFile(manager, { filePath: settingsPath });
  await manager.connectServer(serverName);
  return {
    async listTools() {
      const offered = await createMcpTools({ serverName, provider: manager }); // as its model would see them
      return { tools: offered.map(({ name }) => ({ name: name.replace(`${serverName}__`, "") })) };
    },
    callTool: ({ name, arguments: args }) => manager.callTool({ serverName, toolName: name, arguments: args }),
    close: () => manager.dispose(),
  };
});
