"""EXTRA_TOOLS: memories one by one, on the real stack without a key."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.clients import MemoryClient, over_sse
from support.processes import Server

EXTRA = ["get_memory", "update_memory", "delete_memories", "memory_history"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("extra"), EXTRA_TOOLS="true") as running:
        yield running


def answer(client: MemoryClient, tool: str, **arguments: Any) -> Any:
    given = client.call(tool, **arguments)
    assert not given.failed, given.text
    return json.loads(given.text)


def test_one_memory_is_looked_up_corrected_traced_and_forgotten(server: Server) -> None:
    with over_sse(server.url("cline", "alice")) as client:
        assert client.tools()[4:] == EXTRA
        first = client.add("Constants are written in capitals")["results"][0]["id"]
        second = client.add("变量用小写加下划线")["results"][0]["id"]
        assert answer(client, "get_memory", memory_id=first)["memory"] == "Constants are written in capitals"
        (updated,) = answer(client, "update_memory", memory_id=first, text="Constants are in lower case")["results"]
        assert updated == {
            "id": first,
            "memory": "Constants are in lower case",
            "event": "UPDATE",
            "previous_memory": "Constants are written in capitals",
        }
        entries = answer(client, "memory_history", memory_id=first)
        assert [(e["event"], e["old_memory"], e["new_memory"], e["mcp_client"]) for e in entries] == [
            ("ADD", None, "Constants are written in capitals", "cline"),
            ("UPDATE", "Constants are written in capitals", "Constants are in lower case", "cline"),
        ]
        refused = client.call("delete_memories", memory_ids=[second, "unknown"])
        assert refused.failed
        assert len(client.memories()) == 2
        (deleted,) = answer(client, "delete_memories", memory_ids=[second])["results"]
        assert (deleted["id"], deleted["event"]) == (second, "DELETE")
        assert client.texts() == ["Constants are in lower case"]


def test_another_scopes_id_does_not_exist(server: Server) -> None:
    with over_sse(server.url("cline", "bob")) as bob, over_sse(server.url("other", "bob")) as other:
        theirs = bob.add("Bob's own fact")["results"][0]["id"]
        assert other.call("get_memory", memory_id=theirs).failed
        assert other.call("update_memory", memory_id=theirs, text="mine now").failed
        assert other.call("delete_memories", memory_ids=[theirs]).failed
        assert answer(other, "memory_history", memory_id=theirs) == []
        assert bob.texts() == ["Bob's own fact"]


def test_expiry(server: Server) -> None:
    with over_sse(server.url("cline", "carol")) as client:
        memory = client.add("I am in Hangzhou until the end of the month")["results"][0]["id"]
        update = {"memory_id": memory, "text": "I am in Hangzhou until the end of the month"}
        past = client.call("update_memory", **update, expires_at="2020-01-01")
        assert past.failed
        nonsense = client.call("update_memory", **update, expires_at="soon")
        assert nonsense.failed
        assert "2027-01-31" in nonsense.text
        answer(client, "update_memory", **update, expires_at="2099-01-01")
        assert len(client.memories()) == 1


@pytest.mark.parametrize(
    ("tool", "arguments", "complaint"),
    [
        ("delete_memories", {"memory_ids": "all"}, "a list of strings"),
        ("delete_memories", {"memory_ids": [1]}, "a list of strings"),
        ("delete_memories", {"memory_ids": []}, ""),
        ("get_memory", {}, "a string"),
        ("get_memory", {"memory_id": "unknown"}, "no memory"),
    ],
)
def test_wrong_arguments(server: Server, tool: str, arguments: dict[str, Any], complaint: str) -> None:
    with over_sse(server.url("cline", "dave")) as client:
        given = client.call(tool, **arguments)
        assert given.failed
        assert complaint in given.text
