"""EXTRA_TOOLS through each real client: lists, errors and optional arguments reach the server as they are."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.processes import Server
from support.real_clients import CLIENTS, Client

pytestmark = pytest.mark.slow

EXTRA = {"get_memory", "update_memory", "delete_memories", "memory_history"}
FIRST, CORRECTED, SECOND = "常量用大写 UPPER_CASE", "常量用小写 lower_case", "Tests before code"


@pytest.fixture(scope="module")
def extra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("extra"), EXTRA_TOOLS="true") as running:
        yield running


def told(result: dict[str, Any]) -> Any:
    assert not result["error"], result
    (text,) = result["texts"]
    return json.loads(text)


def refusal(result: dict[str, Any]) -> str:
    assert result["error"], result
    return str(result["texts"][0])


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_memories_one_by_one(client: Client, extra: Server, tmp_path: Path) -> None:
    transport = "http" if "http" in client.negotiates else "sse"
    url = extra.url(client.name, "alice").replace("/sse/", f"/{transport}/")

    def converse(*calls: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
        (answer,) = client.converse([{"transport": transport, "url": url, "calls": calls}], tmp_path)
        assert set(answer["tools"]) >= EXTRA
        results: list[dict[str, Any]] = answer["results"]
        return results

    added = converse(
        ("add_memories", {"text": FIRST}), ("add_memories", {"text": SECOND, "expires_at": "2099-01-31T08:00:00+08:00"})
    )
    first, second = (told(result)["results"][0]["id"] for result in added)
    got, updated, history, unknown, partly, deleted, gone, listed = converse(
        ("get_memory", {"memory_id": second}),
        ("update_memory", {"memory_id": first, "text": CORRECTED}),
        ("memory_history", {"memory_id": first}),
        ("get_memory", {"memory_id": "unknown"}),
        ("delete_memories", {"memory_ids": [first, "unknown"]}),
        ("delete_memories", {"memory_ids": [first]}),
        ("memory_history", {"memory_id": first}),
        ("list_memories", {}),
    )
    assert (told(got)["memory"], told(got)["expires_at"]) == (SECOND, "2099-01-31T00:00:00.000+00:00")
    assert told(updated) == {
        "results": [{"id": first, "memory": CORRECTED, "event": "UPDATE", "previous_memory": FIRST}]
    }
    assert [entry["event"] for entry in told(history)] == ["ADD", "UPDATE"]
    assert "no memory" in refusal(unknown)
    assert "unknown" in refusal(partly)
    assert told(deleted) == {"results": [{"id": first, "memory": CORRECTED, "event": "DELETE"}]}
    assert [entry["old_memory"] for entry in told(gone)] == [None, FIRST, CORRECTED]
    assert [memory["id"] for memory in told(listed)] == [second]
