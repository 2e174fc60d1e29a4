"""Bounds of calls and users, and what the operator may open: each with a sentence that names the setting."""

import json
from typing import Any

import httpx
import pytest

from support.inprocess import PlainBackend, PlainMemory, plain_app, serving, settings
from support.wire import ACCEPT, call, text_of
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.server.app import App

pytestmark = pytest.mark.anyio


async def post(base: str, message: dict[str, Any], user: str = "alice", token: str = "") -> dict[str, Any]:
    headers = ACCEPT | ({"Authorization": f"Bearer {token}"} if token else {})
    async with httpx.AsyncClient(base_url=base) as http:
        response = await http.post(f"/mcp/cline/http/{user}", json=message, headers=headers)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer


async def test_calls_per_minute_and_user(memory: PlainMemory) -> None:
    with serving(plain_app(memory, MAX_REQUESTS_PER_MINUTE="3")) as base:
        for n in range(3):
            assert "ADD" in text_of(await post(base, call(n, "add_memories", text="x")))
        over = await post(base, call(4, "add_memories", text="x"))
        assert over["result"]["isError"]
        assert "MAX_REQUESTS_PER_MINUTE" in text_of(over)
        assert text_of(await post(base, call(5, "list_memories"), user="bob")) == "[]"
    assert len(memory.by_scope[Scope("alice", "cline")]) == 3


@pytest.mark.parametrize("tool", ["search_memories", "list_memories"])
async def test_results_are_bounded(memory: PlainMemory, tool: str) -> None:
    with serving(plain_app(memory, MAX_RESULT_SIZE="10000")) as base:
        for n in range(4):
            await post(base, call(n, "add_memories", text="记" * 1500))
        arguments = {"query": "记"} if tool == "search_memories" else {}
        answer = text_of(await post(base, call(9, tool, **arguments)))
        assert len(answer.encode()) <= 10_000
        assert 1 <= sum("id" in item for item in json.loads(answer)) < 4
        await post(base, call(5, "add_memories", text="记" * 9000))
        arguments = {"query": "记" * 1501} if tool == "search_memories" else {}
        answer = text_of(await post(base, call(10, tool, **arguments)))
        assert len(answer.encode()) <= 10_000
        assert json.loads(answer)[0]["truncated"] is True


async def test_the_user_id_argument_needs_the_setting_and_a_token_that_may() -> None:
    given = settings({"MCP_AUTH_SECRET": "a signing secret that is long enough", "TOOL_USER_ID_ARGUMENT": "true"})
    memory = PlainMemory()
    backend = PlainBackend(memory, given)
    mint = backend.tokens().mint
    with serving(App(given, backend)) as base:
        listed = await post(base, {"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
        assert all("user_id" in tool["inputSchema"]["properties"] for tool in listed["result"]["tools"])
        add = call(2, "add_memories", text="x", user_id="bob")
        narrow, wide = (mint(users, ["cline"], 60).token for users in (["alice"], ["alice", "b*"]))
        refused = await post(base, add, token=narrow)
        assert "may not act for" in text_of(refused)
        assert memory.by_scope == {}
        assert "ADD" in text_of(await post(base, add, token=wide))
        assert list(memory.by_scope) == [Scope("bob", "cline")]
        for bad in (3, ["bob"], "a/b", ""):
            answer = await post(base, call(3, "list_memories", user_id=bad), token=wide)
            assert answer["result"]["isError"]


async def test_an_argument_that_names_nobody_is_no_argument() -> None:
    """Some clients send every property of a schema that they remember."""
    given = settings({"MCP_AUTH": "anonymous"})
    memory = PlainMemory()
    with serving(App(given, PlainBackend(memory, given))) as base:
        assert "ADD" in text_of(await post(base, call(1, "add_memories", text="x", user_id=None)))
        assert (await post(base, call(2, "add_memories", text="x", user_id="bob")))["result"]["isError"]
        assert list(memory.by_scope) == [Scope("alice", "cline")]


async def test_the_description_of_the_user_id_argument_is_the_operator_s() -> None:
    given = settings({"TOOL_USER_ID_ARGUMENT": "true", "TOOL_USER_ID_FIELD_DESCRIPTION": "谁的记忆"})
    with serving(App(given, PlainBackend(PlainMemory(), given))) as base:
        listed = await post(base, {"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
        said = {tool["inputSchema"]["properties"]["user_id"]["description"] for tool in listed["result"]["tools"]}
        assert said == {"谁的记忆"}
