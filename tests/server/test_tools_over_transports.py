"""The four tools, through the public MCP client, over every transport that an HTTP server has."""

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp import ClientSession
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from support.inprocess import PlainMemory, plain_app, serving

pytestmark = pytest.mark.anyio

PATHS = ["/mcp/cline/sse/alice", "/mcp/cline/sse/alice/", "/mcp/cline/http/alice", "/mcp/cline/http/alice/"]


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[ClientSession]:
    transport: Any = streamable_http_client(url) if "/http/" in url else sse_client(url)
    async with transport as streams, ClientSession(streams[0], streams[1]) as session:
        await session.initialize()
        yield session


async def answer(session: ClientSession, tool: str, **arguments: Any) -> Any:
    return json.loads(await said(session, tool, **arguments))


async def said(session: ClientSession, tool: str, **arguments: Any) -> str:
    result = await session.call_tool(tool, arguments)
    assert not result.is_error, result
    assert result.structured_content is None  # or clients send it to the model twice
    (block,) = result.content
    assert block.type == "text"
    return block.text


async def failure(session: ClientSession, tool: str, **arguments: Any) -> str:
    result = await session.call_tool(tool, arguments)
    assert result.is_error
    (block,) = result.content
    assert block.type == "text"
    return block.text


@pytest.mark.parametrize("path", PATHS)
async def test_remember_recall_list_forget(base: str, path: str) -> None:
    async with connected(base + path) as session:
        added = await answer(session, "add_memories", text="常量用大写字母")
        assert added == {"results": [{"id": "0", "memory": "常量用大写字母", "event": "ADD"}]}
        (hit,) = await answer(session, "search_memories", query="常量")
        assert hit["memory"] == "常量用大写字母"
        assert hit["metadata"] == {"source_app": "openmemory", "mcp_client": "cline"}
        assert hit["score"] == 0.5
        assert hit["user_id"] == "alice"
        assert hit["hash"] == hashlib.md5("常量用大写字母".encode()).hexdigest()
        assert hit["created_at"] == hit["updated_at"]
        (listed,) = await answer(session, "list_memories")
        assert listed == {k: v for k, v in hit.items() if k != "score"}
        assert await said(session, "delete_all_memories") == "Successfully deleted 1 memories"
        assert await answer(session, "list_memories") == []


async def test_the_path_decides_whose_memory_it_is(base: str) -> None:
    async with (
        connected(f"{base}/mcp/cline/sse/alice") as alice,
        connected(f"{base}/mcp/cline/sse/bob") as bob,
        connected(f"{base}/mcp/other/http/alice") as alice_elsewhere,
        connected(f"{base}/mcp/cline/http/alice") as alice_again,
    ):
        await answer(alice, "add_memories", text="mine")
        assert await answer(bob, "list_memories") == []
        assert await answer(alice_elsewhere, "list_memories") == []
        assert len(await answer(alice_again, "list_memories")) == 1


@pytest.mark.parametrize("path", PATHS[::2])
async def test_wrong_arguments_are_explained(base: str, memory: PlainMemory, path: str) -> None:
    async with connected(base + path) as session:
        assert "'text' as a string" in await failure(session, "add_memories")
        assert "got int" in await failure(session, "search_memories", query=3)
        assert "comes from the connection" in await failure(session, "list_memories", user_id="bob")
        assert "comes from the connection" in await failure(session, "delete_all_memories", client_name="x")
        with pytest.raises(MCPError, match=r"Unknown tool: 'forget'.*add_memories"):
            await session.call_tool("forget", {})
        assert await answer(session, "list_memories", random_string="dummy") == []  # some clients send one
    assert memory.by_scope == {}


async def test_tools_say_what_they_do(base: str) -> None:
    async with connected(f"{base}/mcp/cline/http/alice") as session:
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
    assert list(tools) == ["add_memories", "search_memories", "list_memories", "delete_all_memories"]
    hints = {name: tool.annotations for name, tool in tools.items()}
    assert all(hint is not None and tools[name].title for name, hint in hints.items())
    assert [name for name, hint in hints.items() if hint and hint.read_only_hint] == [
        "search_memories",
        "list_memories",
    ]
    assert all("user_id" not in tool.input_schema["properties"] for tool in tools.values())
    assert all(tool.output_schema is None for tool in tools.values())
    arguments = {name: (list(t.input_schema["properties"]), t.input_schema["required"]) for name, t in tools.items()}
    assert arguments == {
        "add_memories": (["text"], ["text"]),
        "search_memories": (["query"], ["query"]),
        "list_memories": (["cursor"], []),
        "delete_all_memories": ([], []),
    }


async def test_the_black_list_hides_and_refuses() -> None:
    app = plain_app(TOOL_BLACK_LIST='["delete_all_memories"]', TOOL_LIST_MEMORIES_DESCRIPTION="列出记忆")
    with serving(app) as url:
        async with connected(f"{url}/mcp/cline/sse/alice") as session:
            tools = (await session.list_tools()).tools
            assert [tool.name for tool in tools] == ["add_memories", "search_memories", "list_memories"]
            assert tools[2].description == "列出记忆"
            with pytest.raises(MCPError, match="Unknown tool"):
                await session.call_tool("delete_all_memories", {})


async def test_a_long_list_is_paged_with_a_cursor(memory: PlainMemory) -> None:
    with serving(plain_app(memory, MAX_RESULT_SIZE="20000")) as url:
        async with connected(f"{url}/mcp/cline/sse/alice") as session:
            texts = [f"{n:03d}" + "记" * 1000 for n in range(20)]
            for text in texts:
                await answer(session, "add_memories", text=text)
            seen: list[str] = []
            arguments: dict[str, str] = {}
            while True:
                result = await session.call_tool("list_memories", arguments)
                block = result.content[0]
                assert block.type == "text"
                assert len(block.text.encode()) <= 20_000
                items = json.loads(block.text)
                seen += [item["memory"] for item in items if "id" in item]
                if "cursor" not in items[-1]:
                    break
                arguments = {"cursor": items[-1]["cursor"]}
            assert seen == texts[::-1]


async def test_characters_that_split_lines_arrive(base: str) -> None:
    strange = "a\u2028b\u2029c\x85d\x0be\x1cf\r\ng\x7f😀"
    async with connected(f"{base}/mcp/cline/sse/alice") as session:
        await answer(session, "add_memories", text=strange)
        (memory,) = await answer(session, "list_memories")
    assert memory["memory"] == strange


async def test_progress_is_told_over_sse(base: str) -> None:
    told: list[tuple[float, str | None]] = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, message))

    async with connected(f"{base}/mcp/cline/sse/alice") as session:
        await session.call_tool("add_memories", {"text": "x"}, progress_callback=tell)
    assert told == [(1, "extracting"), (2, "writing")]
