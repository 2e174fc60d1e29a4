"""/mcp/{client_name}/sse, as release 1.x has it: whose memory it is says the token, or each call."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from mcp import ClientSession
from mcp.client.sse import sse_client

from support.inprocess import PlainBackend, PlainMemory, serving, settings
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.server.app import App

pytestmark = pytest.mark.anyio

PATHS = ["/mcp/cline/sse", "/mcp/cline/sse/"]
SECRET = {"MCP_AUTH_SECRET": "a signing secret that is long enough"}


@asynccontextmanager
async def connected(url: str, token: str | None = None) -> AsyncIterator[ClientSession]:
    headers = {"Authorization": f"Bearer {token}"} if token else None
    async with sse_client(url, headers=headers) as streams, ClientSession(streams[0], streams[1]) as session:
        await session.initialize()
        yield session


async def call(session: ClientSession, tool: str, **arguments: str) -> tuple[bool, str]:
    result = await session.call_tool(tool, arguments)
    (block,) = result.content
    assert block.type == "text"
    return bool(result.is_error), block.text


@pytest.mark.parametrize("path", PATHS)
async def test_each_call_names_its_user(path: str) -> None:
    given = settings({"TOOL_USER_ID_ARGUMENT": "true"})
    memory = PlainMemory()
    with serving(App(given, PlainBackend(memory, given))) as base:
        async with connected(base + path) as session:
            assert (await call(session, "add_memories", text="mine", user_id="alice"))[0] is False
            assert (await call(session, "add_memories", text="hers", user_id="bob"))[0] is False
            failed, why = await call(session, "list_memories")
            assert failed
            assert "user_id" in why
            assert set(memory.by_scope) == {Scope("alice", "cline"), Scope("bob", "cline")}


@pytest.mark.parametrize("path", PATHS)
async def test_without_the_setting_such_a_path_says_what_to_do(path: str) -> None:
    given = settings({})
    with serving(App(given, PlainBackend(PlainMemory(), given))) as base:
        async with httpx.AsyncClient() as http:
            answer = await http.get(base + path)
    assert answer.status_code == 400
    assert "/mcp/{client_name}/sse/{user_id}" in answer.text
    assert "TOOL_USER_ID_ARGUMENT" in answer.text


@pytest.mark.parametrize("argument", ["true", "false"])
async def test_a_token_for_one_user_names_the_user(argument: str) -> None:
    """And the argument names nobody whom the token does not."""
    given = settings({**SECRET, "TOOL_USER_ID_ARGUMENT": argument})
    memory = PlainMemory()
    backend = PlainBackend(memory, given)
    tokens = backend.tokens()
    alice, everyone = tokens.mint(["alice"], ["cline"], 60).token, tokens.mint(["*"], ["other"], 60).token
    with serving(App(given, backend)) as base:
        async with connected(f"{base}/mcp/cline/sse", alice) as session:
            assert (await call(session, "add_memories", text="mine"))[0] is False
            assert (await call(session, "add_memories", text="x", user_id="bob"))[0] is True
        assert list(memory.by_scope) == [Scope("alice", "cline")]
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {everyone}"}) as http:
            refused = await http.get(f"{base}/mcp/cline/sse")  # another client's name
        assert refused.status_code == (403 if argument == "true" else 400)
