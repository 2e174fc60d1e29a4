"""Drives the `mcp` 2.x client library, in the era that it chooses by itself; see tests/support/real_clients.py."""

import json
import sys
from typing import Any

import anyio
from mcp import Client, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client


def server(connection: dict[str, Any]) -> Any:
    match connection["transport"]:
        case "sse":
            return sse_client(connection["url"])
        case "http":
            return connection["url"]
    command, *args = connection["command"]
    return stdio_client(StdioServerParameters(command=command, args=args, env=connection["env"]))


async def run(connection: dict[str, Any]) -> dict[str, Any]:
    async with Client(server(connection)) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        results = []
        for name, arguments in connection["calls"]:
            result = await client.call_tool(name, arguments)
            results.append({"error": result.is_error, "texts": [block.text for block in result.content]})
        return {"tools": tools, "results": results}


async def main() -> None:
    plan = json.load(sys.stdin)
    print(json.dumps([await run(connection) for connection in plan]))


anyio.run(main)
