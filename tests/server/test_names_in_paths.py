"""Names in URLs: what is accepted, and that the answer to anything else says so."""

from urllib.parse import quote

import httpx
import pytest

from support.inprocess import PlainMemory
from support.wire import ACCEPT, RawSse, call, text_of
from tablestore_openmemory_mcp.scope import Scope

pytestmark = pytest.mark.anyio

GOOD = [
    "alice",
    "张三",
    "a b",
    "😀",
    "alice@example.com",
    "a.b-c_d~e",
    "%",
    "x" * 256,
    "sse",
    "messages",
    "a?b#c",
    "[*]",
]
BAD = {"long": "x" * 300, "bytes": "中" * 86, "nul": "a\0b", "newline": "a\nb", "blank": "   "}


@pytest.mark.parametrize("name", GOOD)
async def test_good_names_work(http: httpx.AsyncClient, memory: PlainMemory, name: str) -> None:
    encoded = quote(name, safe="")
    async with RawSse.open(http, f"/mcp/{encoded}/sse/{encoded}") as stream:
        answer = await stream.ask(call(1, "add_memories", text="x"))
        assert "ADD" in text_of(answer)
    response = await http.post(f"/mcp/{encoded}/http/{encoded}", json=call(1, "list_memories"), headers=ACCEPT)
    assert response.status_code == 200
    assert list(memory.by_scope) == [Scope(name, name)]


@pytest.mark.parametrize("name", BAD.values(), ids=BAD.keys())
async def test_bad_names_are_explained(http: httpx.AsyncClient, name: str) -> None:
    for path in (f"/mcp/cline/sse/{quote(name)}", f"/mcp/{quote(name)}/sse/alice"):
        response = await http.get(path)
        assert response.status_code == 400
        assert "256 bytes" in response.text
    response = await http.post(f"/mcp/cline/http/{quote(name)}", json=call(1, "list_memories"), headers=ACCEPT)
    assert response.status_code == 400


@pytest.mark.parametrize("path", ["/mcp/cline/sse/%ff", "/mcp/cline/sse/%c3%28", "/mcp/%ed%a0%80/sse/alice"])
async def test_what_is_not_utf8_is_not_taken_for_another_name(http: httpx.AsyncClient, path: str) -> None:
    response = await http.get(path)
    assert response.status_code == 400
    assert "UTF-8" in response.text


@pytest.mark.parametrize(
    "path", ["/mcp/cline/http", "/mcp/cline", "/mcp/a%2Fb/sse/alice", "/mcp/cline/sse/a%2Fb", "/sse/x/y", "/"]
)
async def test_other_paths_say_which_there_are(http: httpx.AsyncClient, path: str) -> None:
    response = await http.get(path)
    assert response.status_code == 404
    assert "/mcp/{client_name}/sse/{user_id}" in response.text


async def test_wrong_methods_get_405_so_that_clients_fall_back(http: httpx.AsyncClient) -> None:
    assert (await http.post("/mcp/cline/sse/alice", json={})).status_code == 405
    assert (await http.get("/mcp/cline/http/alice")).status_code == 405
    assert (await http.delete("/mcp/cline/http/alice")).status_code == 405
    assert (await http.get("/mcp/messages/")).status_code == 405
    assert (await http.head("/mcp/cline/sse/alice")).status_code == 200


async def test_two_spellings_of_one_name_are_one_user(http: httpx.AsyncClient, memory: PlainMemory) -> None:
    for spelling in ("caf\u00e9", "cafe\u0301"):
        path = f"/mcp/cline/http/{quote(spelling)}"
        await http.post(path, json=call(1, "add_memories", text="x"), headers=ACCEPT)
    assert [len(memories) for memories in memory.by_scope.values()] == [2]
