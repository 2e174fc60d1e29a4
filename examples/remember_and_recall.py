"""The memory from a program of your own, with the public `mcp` client.

Start the server (`make run`), then: `.venv/bin/python examples/remember_and_recall.py [URL]`
"""

import asyncio
import json
import sys

from mcp.client import Client
from mcp.client.sse import sse_client

URL = "http://localhost:8765/mcp/my_client/sse/my_user"


async def main(url: str) -> None:
    async with Client(sse_client(url)) as client:
        await client.call_tool("add_memories", {"text": "常量全部大写，单词之间用下划线隔开"})
        found = await client.call_tool("search_memories", {"query": "常量怎么命名？"})
        if found.is_error:
            raise SystemExit(found.content[0].text)
        for memory in json.loads(found.content[0].text):
            print(memory.get("score", "by words"), memory["memory"])


asyncio.run(main(*sys.argv[1:] or [URL]))
