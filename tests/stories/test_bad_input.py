"""What a confused model or a careless person may send: each gets a sentence, nothing is half stored, life goes on."""

import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError

from support.clients import MemoryClient, over_sse
from support.processes import Server

KEPT = "现在住在上海"


@pytest.fixture
def client(server: Server) -> Iterator[MemoryClient]:
    """A user with one memory, who still has exactly that one afterwards."""
    with over_sse(server.url("cline", "careless")) as connected:
        connected.delete_all()
        connected.add(KEPT)
        yield connected
        assert connected.texts() == [KEPT]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "empty"),
        (" \t\n　", "white space"),
        ("长" * 32_001, "32000"),
        ("before\x00after", "NUL"),
    ],
)
@pytest.mark.parametrize(("tool", "argument"), [("add_memories", "text"), ("search_memories", "query")])
def test_texts_that_cannot_be_taken(client: MemoryClient, tool: str, argument: str, text: str, told: str) -> None:
    answer = client.call(tool, **{argument: text})
    assert answer.failed
    assert argument in answer.text
    assert told.lower() in answer.text.lower().replace(",", "").replace("whitespace", "white space")


@pytest.mark.parametrize("arguments", [{}, {"text": 5}, {"text": None}, {"text": ["a"]}, {"query": "a"}])
def test_wrong_arguments(client: MemoryClient, arguments: dict[str, Any]) -> None:
    answer = client.call("add_memories", **arguments)
    assert answer.failed
    assert "text" in answer.text


def test_the_model_cannot_choose_whose_memory_it_is(client: MemoryClient) -> None:
    answer = client.call("search_memories", query=KEPT, user_id="someone else")
    assert answer.failed
    assert "user_id" in answer.text


def test_unknown_tool(client: MemoryClient) -> None:
    with pytest.raises(MCPError, match=r"Unknown tool: 'forget_everything'.*add_memories"):
        client.call("forget_everything")


def test_the_longest_text_is_taken(server: Server) -> None:
    with over_sse(server.url("cline", "thorough")) as thorough:
        assert thorough.add("住在上海" + "长" * 31_996)["results"]


def test_lone_surrogates(server: Server, client: MemoryClient) -> None:
    """Only raw JSON can carry one; it must reach neither an SDK nor the store."""
    status, text = post_call(
        server, "careless", '{"name": "add_memories", "arguments": {"text": "half \\ud83d a smile"}}'
    )
    assert status == 400
    assert "surrogate" in text


@pytest.mark.parametrize(
    "name", ["x" * 257, "长" * 100, "a%01b", "%0A", "a%2Fb", "%20", "%ED%A0%80"], ids=lambda name: name[:12]
)
@pytest.mark.parametrize("path", ["/mcp/{}/sse/ann", "/mcp/cline/sse/{}"])
def test_names_that_cannot_be(server: Server, path: str, name: str) -> None:
    status, text = get(server, path.format(urllib.parse.quote(name, safe="%")))
    assert 400 <= status < 500
    assert text


def test_the_address_without_a_user_says_what_to_do(server: Server) -> None:
    status, text = get(server, "/mcp/cline/sse")
    assert 400 <= status < 500
    assert "user_id" in text


@pytest.mark.parametrize("user", ["小明", "two words", "🧠", "ann@example.com", "x" * 256])
def test_names_that_may_be_unusual(server: Server, user: str) -> None:
    with over_sse(server.url("我的 客户端", user)) as client:
        client.add("Drinks tea")
        memory = client.memories()[0]
        assert (memory["user_id"], memory["metadata"]["mcp_client"]) == (user, "我的 客户端")


def get(server: Server, path: str) -> tuple[int, str]:
    return answered(urllib.request.Request(f"http://127.0.0.1:{server.port}{path}"))


def post_call(server: Server, user: str, params: str) -> tuple[int, str]:
    """tools/call over stateless Streamable HTTP, with `params` as the bytes they are."""
    return answered(
        urllib.request.Request(
            f"http://127.0.0.1:{server.port}/mcp/cline/http/{user}",
            f'{{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {params}}}'.encode(),
            {"content-type": "application/json", "accept": "application/json, text/event-stream"},
        )
    )


def answered(request: urllib.request.Request) -> tuple[int, str]:
    """Status and text; a stream is not read."""
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, ""
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()
