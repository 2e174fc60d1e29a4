"""Drives the `mcp` 1.x client library of the environment whose Python runs this; see tests/support/real_clients.py."""

import json
import sys
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
from mcp import ClientSession, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client


def transport(connection: dict[str, Any]) -> AbstractAsyncContextManager[Any]:
    match connection["transport"]:
        case "sse":
            return sse_client(connection["url"])
        case "http":
            return streamablehttp_client(connection["url"])
    command, *args = connection["command"]
    return stdio_client(StdioServerParameters(command=command, args=args, env=connection["env"]))


async def run(connection: dict[str, Any]) -> dict[str, Any]:
    async with transport(connection) as streams, ClientSession(streams[0], streams[1]) as session:
        await session.initialize()
        tools = [tool.name for tool in (await session.list_tools()).tools]
        results = []
        for name, arguments in connection["calls"]:
            result = await session.call_tool(name, arguments)
            results.append({"error": result.isError, "texts": [block.text for block in result.content]})
        return {"tools": tools, "results": results}


async def main() -> None:
    plan = json.load(sys.stdin)
    print(json.dumps([await run(connection) for connection in plan]))


anyio.run(main)
