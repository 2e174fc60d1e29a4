"""What was corrected or deleted is kept with its time and client, as long as wanted; erasing ends that too."""

import json
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import tablestore as ots

from support.clients import MemoryClient, over_http, over_sse
from support.emulator import Emulator, connect
from support.fake_openai import FakeOpenAI
from support.processes import Server, run_to_end, tablestore_environ
from support.store import Rows
from tablestore_openmemory_mcp.scope import Scope

DAY = 24 * 3600


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, tablestore: Emulator, llm: FakeOpenAI, cloud: dict[str, str]
) -> Iterator[Server]:
    """With all tools, and history kept for a day."""
    home = tmp_path_factory.mktemp("lineage")
    with Server(home, **cloud, EXTRA_TOOLS="true", HISTORY_RETENTION_DAYS="1") as running:
        yield running


def history(client: MemoryClient, memory_id: str) -> list[dict[str, Any]]:
    answer = client.call("memory_history", memory_id=memory_id)
    assert not answer.failed, answer.text
    entries: list[dict[str, Any]] = json.loads(answer.text)
    return entries


def test_what_a_memory_said_before_and_after_it_is_gone(server: Server) -> None:
    """By the cycle, by a tool, and by another application of the same two names over another transport."""
    user, began = uuid.uuid4().hex, datetime.now(UTC)
    url = server.url("shared", user)
    with over_sse(url) as cline, over_http(url.replace("/sse/", "/http/")) as cherry:
        memory = cline.add("现在住在上海")["results"][0]["id"]
        (moved,) = cherry.add("现在住在北京")["results"]
        assert (moved["id"], moved["event"]) == (memory, "UPDATE")
        assert not cline.call("update_memory", memory_id=memory, text="现在住在广州").failed
        assert not cherry.call("delete_memories", memory_ids=[memory]).failed
        assert cline.memories() == []
        lineage = history(cline, memory)
        assert lineage == history(cherry, memory)
    assert [(e["event"], e["old_memory"], e["new_memory"]) for e in lineage] == [
        ("ADD", None, "现在住在上海"),
        ("UPDATE", "现在住在上海", moved["memory"]),
        ("UPDATE", moved["memory"], "现在住在广州"),
        ("DELETE", "现在住在广州", None),
    ]
    assert {e["mcp_client"] for e in lineage} == {"shared"}
    times = [datetime.fromisoformat(e["at"]) for e in lineage]
    assert times == sorted(times)
    assert began - timedelta(seconds=1) <= times[0]
    assert times[-1] <= datetime.now(UTC) + timedelta(seconds=1)


def test_history_is_kept_as_long_as_the_operator_wants(server: Server, tablestore: Emulator) -> None:
    """Of a memory that lives as of one that is gone; the memory itself stays."""
    user = uuid.uuid4().hex
    with over_sse(server.url("cline", user)) as client:
        memory = client.add("现在住在上海")["results"][0]["id"]
        client.call("update_memory", memory_id=memory, text="现在住在北京")
        gone = client.add("喜欢吃辣的东西")["results"][0]["id"]
        client.call("delete_memories", memory_ids=[gone])
        assert (len(history(client, memory)), len(history(client, gone))) == (2, 2)
        rows = Rows(tablestore, Scope(user, "cline")).history()
        first = min(rev for of, rev in rows if of == memory)
        for key in (key for key in rows if key[0] == gone or key[1] == first):
            written_long_ago(tablestore, (user, "cline", *key), rows[key])
        assert [e["new_memory"] for e in history(client, memory)] == ["现在住在北京"]
        assert client.call("memory_history", memory_id=gone).failed
        assert client.texts() == ["现在住在北京"]


def written_long_ago(tablestore: Emulator, key: tuple[str, str, str, int], columns: dict[str, Any]) -> None:
    """The history row, as if two days had passed since it was written."""
    client = connect(tablestore)
    options = ots.TableOptions(time_to_live=None, max_version=None, max_time_deviation=10 * DAY)
    client.update_table("mem0_history", options)
    primary = list(zip(("user_id", "client_name", "memory_id", "rev"), key, strict=True))
    client.delete_row("mem0_history", ots.Row(primary), ots.Condition("IGNORE"))
    then = round(time.time() - 2 * DAY) * 1000
    row = ots.Row(primary, [(name, value, then) for name, value in columns.items()])
    client.put_row("mem0_history", row, ots.Condition("IGNORE"))


def test_a_user_is_erased_whole(server: Server, tablestore: Emulator, tmp_path: Path) -> None:
    """In every client, history included, and in the running server too; nobody else is touched."""
    alice, other = f"alice {uuid.uuid4().hex}", f"alice {uuid.uuid4().hex}"
    scopes = [Scope(alice, "cline"), Scope(alice, "Cherry Studio"), Scope(other, "cline")]
    for scope in scopes:
        with over_sse(server.url(scope.client_name, scope.user_id)) as client:
            memory = client.add("现在住在上海")["results"][0]["id"]
            client.add("喜欢吃辣的东西")
            client.call("delete_memories", memory_ids=[memory])

    def erase(*arguments: str) -> tuple[int, list[str]]:
        done = run_to_end(tmp_path, "erase", *arguments, environ=tablestore_environ(tablestore) | PIPELINE)
        return done.returncode, (done.stdout + done.stderr).splitlines()

    status, told = erase("--user", alice)
    assert (status, told[:2]) == (0, ["1 memory through Cherry Studio", "1 memory through cline"])
    assert "--yes" in told[2]
    assert all(Rows(tablestore, scope).history() for scope in scopes)
    tablestore.fault(apis="BatchWriteRow", error="OTSNoPermissionAccess", times=1)  # the first sweep is cut short
    status, told = erase("--user", alice, "--yes")
    tablestore.clear_faults()
    assert (status, len([line for line in told if "through" in line])) == (0, 2)
    for scope in scopes:
        rows = Rows(tablestore, scope)
        kept = scope.user_id == other
        assert (bool(rows.memories()), bool(rows.history())) == (kept, kept)
        with over_sse(server.url(scope.client_name, scope.user_id)) as client:
            assert client.texts() == ["喜欢吃辣的东西"] * kept
    assert erase("--user", uuid.uuid4().hex, "--yes")[1][0].startswith("Nothing")
    assert erase("--user", "a/b", "--yes")[0] == 2
    assert erase("--yes")[0] == 2


PIPELINE = {"MEMORY_PIPELINE": "verbatim"}  # so that no LLM is asked for
