// What the TypeScript drivers share: read the plan from standard input, hold each conversation, print what was answered.
import { text } from "node:stream/consumers";

/** `open(connection)` returns a connected client of any version: listTools(), callTool(), close(). */
export async function drive(open) {
  const plan = JSON.parse(await text(process.stdin));
  const answers = [];
  for (const connection of plan) {
    const client = await open(connection);
    const tools = (await client.listTools()).tools.map((tool) => tool.name);
    const results = [];
    for (const [name, args] of connection.calls) {
      const result = await client.callTool({ name, arguments: args });
      results.push({ error: Boolean(result.isError), texts: result.content.map((block) => block.text) });
    }
    await client.close();
    answers.push({ tools, results });
  }
  console.log(JSON.stringify(answers));
  process.exit(0);
}
