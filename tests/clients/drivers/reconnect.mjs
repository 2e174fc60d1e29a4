// node reconnect.mjs SDK URL: says something over SSE, prints "ready", waits for a line on standard input, by which time
// the server was restarted; then calls until one is answered, and prints what that took.
import { createInterface } from "node:readline";

const [sdk, url] = process.argv.slice(2);
const { Client, SSEClientTransport } =
  sdk === "2"
    ? await import("@modelcontextprotocol/client")
    : { ...(await import(`sdk-${sdk}/client/index.js`)), ...(await import(`sdk-${sdk}/client/sse.js`)) };
if (sdk === "1.0") globalThis.EventSource = (await import("eventsource")).default; // a browser's or Electron's own

const PATIENCE = 120_000; // milliseconds, on a slow machine; EventSource tries again about every 3 s
const client = new Client({ name: "reconnecting", version: "1" }, { capabilities: {} });
client.onerror = () => {}; // the streams that broke

async function call(name, args = {}, timeout = PATIENCE) {
  const request = { name, arguments: args };
  const options = { timeout };
  const result = await (sdk === "2" ? client.callTool(request, options) : client.callTool(request, undefined, options));
  if (result.isError) throw new Error(result.content[0].text);
  return result.content[0].text;
}

await client.connect(new SSEClientTransport(new URL(url)));
await call("add_memories", { text: "The stream will break" });
console.log("ready");
await new Promise((resume) => createInterface({ input: process.stdin }).once("line", resume));

const failures = [];
const begun = performance.now();
let listed;
while (listed === undefined && performance.now() - begun < PATIENCE) {
  try {
    listed = await call("list_memories", {}, 20_000);
  } catch (error) {
    failures.push(error.message);
    await new Promise((resume) => setTimeout(resume, 250));
  }
}
const recovered = performance.now() - begun;
let later = 0;
for (let i = 0; i < 5 && listed !== undefined; i++) later += (await call("list_memories")) === listed;
console.log(JSON.stringify({ listed, later, seconds: recovered / 1000, failures: [...new Set(failures)] }));
process.exit(0);
