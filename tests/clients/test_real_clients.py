"""Each real client, over each transport it has: list and call all four tools, and see nobody else's memories."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.processes import COMMAND, Server, clean_environ, run_to_end
from support.real_clients import CLIENTS, DRIVERS, Client
from support.recording_proxy import negotiated, recording
from support.wire import ACCEPT, call, text_of

pytestmark = pytest.mark.slow

TOOLS = ["add_memories", "search_memories", "list_memories", "delete_all_memories"]
BY_ID = ["get_memory", "update_memory", "delete_memories", "memory_history"]  # offered where there is no key
PAIRS = [(client, transport) for client in CLIENTS for transport in client.negotiates]

ALICE_SAYS = "Alice drinks jasmine tea in the morning 喜欢茉莉花茶"
BOB_SAYS = "Bob keeps a blue bicycle in the cellar"


def plan(connect: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Alice and Bob tell something, look for it in new connections, and Alice has hers deleted."""
    conversations: list[tuple[str, list[tuple[str, dict[str, str]]]]] = [
        ("alice", [("list_memories", {}), ("add_memories", {"text": ALICE_SAYS})]),
        ("bob", [("search_memories", {"query": "jasmine tea"}), ("add_memories", {"text": BOB_SAYS})]),
        ("alice", [("search_memories", {"query": "茉莉花茶"}), ("list_memories", {})]),
        ("alice", [("delete_all_memories", {}), ("list_memories", {})]),
        ("bob", [("list_memories", {})]),
    ]
    return [connect[user] | {"calls": calls} for user, calls in conversations]


def check(answers: list[dict[str, Any]]) -> None:
    assert [sorted(answer["tools"]) for answer in answers] == [sorted(TOOLS + BY_ID)] * 5
    results = [result for answer in answers for result in answer["results"]]
    assert not any(result["error"] for result in results), results
    assert all(len(result["texts"]) == 1 for result in results), "one compact block per result"
    texts = [r["texts"][0] for r in results]
    deleted = texts.pop(6)
    nothing, added, foreign, _, found, listed, emptied, left = map(json.loads, texts)

    assert nothing == []
    (outcome,) = added["results"]
    assert (outcome["memory"], outcome["event"]) == (ALICE_SAYS, "ADD")
    assert foreign == []
    for (memory,) in (found, listed):
        assert (memory["id"], memory["memory"], memory["user_id"]) == (outcome["id"], ALICE_SAYS, "alice")
    assert deleted == "Successfully deleted 1 memories"
    assert emptied == []
    assert [memory["memory"] for memory in left] == [BOB_SAYS]


@pytest.mark.parametrize(("client", "transport"), PAIRS, ids=lambda value: getattr(value, "name", value))
def test_all_four_tools(client: Client, transport: str, base: str, home: Path, tmp_path: Path) -> None:
    name = f"{client.name}-{transport}"
    if transport == "stdio":
        kept = tmp_path / "to_server", tmp_path / "to_client"
        users = {user: child(home, name, user, *kept) for user in ("alice", "bob")}
        check(client.converse(plan(users), tmp_path))
        versions = negotiated(kept[0].read_bytes(), kept[1].read_bytes())
    else:
        with recording(base) as proxy:
            path = f"{proxy.url}/mcp/{name}/{transport}"
            users = {user: {"transport": transport, "url": f"{path}/{user}"} for user in ("alice", "bob")}
            check(client.converse(plan(users), tmp_path))
            versions = proxy.negotiated
    assert versions == {client.negotiates[transport]}
    # Over another transport the same names have the same memories, and other names have none.
    assert texts(base, name, "bob") == [BOB_SAYS]
    assert texts(base, name, "alice") == []
    assert texts(base, "someone-else", "bob") == []


def child(home: Path, client_name: str, user: str, to_server: Path, to_client: Path) -> dict[str, Any]:
    """A stdio connection that shares the running server's data, and is recorded."""
    env = clean_environ(home, MCP_STDIO_CLIENT_NAME=client_name, MCP_STDIO_USER_ID=user)
    relay = [sys.executable, str(DRIVERS / "tee.py"), str(to_server), str(to_client)]
    return {"transport": "stdio", "command": [*relay, *COMMAND, "--transport=stdio"], "env": env}


def texts(base: str, client_name: str, user: str) -> list[str]:
    answer = httpx.post(
        f"{base}/mcp/{client_name}/http/{user}", json=call(1, "list_memories"), headers=ACCEPT, timeout=60
    )
    return [memory["memory"] for memory in json.loads(text_of(answer.json()))]


def test_cline_reads_the_blocks_that_the_server_prints(server: Server, tmp_path: Path) -> None:
    (cline,) = (client for client in CLIENTS if client.name == "cline-core")
    assert server.port  # it has printed them
    printed = re.findall(r"^Paste into Cline, over (\w+).*?:\n(\{.*?^\})", server.log, re.MULTILINE | re.DOTALL)
    blocks = {transport: {"transport": "pasted", "settings": json.loads(block)} for transport, block in printed}

    told, recalled = cline.converse(
        [
            blocks["SSE"] | {"calls": [("add_memories", {"text": ALICE_SAYS})]},
            blocks["stdio"] | {"calls": [("search_memories", {"query": "jasmine"}), ("delete_all_memories", {})]},
        ],
        tmp_path,
    )

    assert not told["results"][0]["error"]
    (memory,) = json.loads(recalled["results"][0]["texts"][0])
    assert memory["memory"] == ALICE_SAYS


def test_cline_comes_in_with_a_token_and_only_where_it_is_for(tmp_path: Path) -> None:
    (cline,) = (client for client in CLIENTS if client.name == "cline-core")
    with Server(tmp_path, MCP_AUTH="token") as locked:
        minted = run_to_end(
            tmp_path, "token", "--user", "alice", "--client", "cline", environ={"SERVER_PORT": str(locked.port)}
        )
        assert minted.returncode == 0, minted.stderr
        block = minted.stdout[minted.stdout.index("\n{") :]
        _, _, token = block.partition("Bearer ")

        def tries(settings: str) -> list[dict[str, Any]]:
            pasted = {"transport": "pasted", "settings": json.loads(settings)}
            return cline.converse([pasted | {"calls": [("add_memories", {"text": ALICE_SAYS})]}], tmp_path)

        (told,) = tries(block)
        assert not told["results"][0]["error"]
        with pytest.raises(AssertionError, match="403"):
            tries(block.replace("/sse/alice", "/sse/bob"))
        with pytest.raises(AssertionError, match=r"401|OAuth"):
            tries(block.replace("Authorization", "X-Nothing"))
        assert token[:20] not in locked.log
