"""Beside the real release 1.3.1, in an environment of its own: what it wrote is taken over, and clients see no other
shapes than before. `make release-1x` installs it."""

import json
import threading
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from support.clients import MemoryClient, over_sse
from support.emulator import Emulator
from support.fake_openai import FakeOpenAI
from support.processes import Server, run_to_end, tablestore_environ, wait_until
from support.release_1x import OldTable, ReleaseWriter, ms, release_server
from support.store import Rows, open_environ
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.store.model import Memory

pytestmark = pytest.mark.slow

SCOPES = [("alice", "cline"), ("alice", "Cherry Studio"), ("小明", "cline 🚀"), ("bob", "cline"), ("bob", "通义灵码")]


@pytest.fixture
def places(emulator: Emulator, llm: FakeOpenAI) -> dict[str, str]:
    """The variables that both programs understand."""
    placed = {name: value for name, value in tablestore_environ(emulator).items() if name != "STORE"}
    return {**placed, **llm.environ()}


def text(i: int) -> str:
    return [
        f"第 {i} 条：常量全部采用大写字母加下划线命名",
        f"fact {i}: prefers tea",
        f"习惯 {i} in two languages\n第二行",
    ][i % 3]


def migrate(home: Path, environ: Mapping[str, str], *arguments: str) -> dict[str, Any]:
    done = run_to_end(home, "migrate", "--json", *arguments, environ={"STORE": "tablestore", **environ})
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def kept(environ: Mapping[str, str]) -> dict[str, tuple[Scope, Memory]]:
    store = open_environ(environ)
    found: dict[str, tuple[Scope, Memory]] = {}
    for names in SCOPES:
        scope = Scope(*names)
        found |= {m.id: (scope, m) for m in store.scope(scope).snapshot().memories.values()}
    return found


def test_1200_memories_and_more_while_it_goes_on_writing(
    emulator: Emulator, places: dict[str, str], tmp_path: Path
) -> None:
    said: dict[str, tuple[str, Scope]] = {}
    with ReleaseWriter(tmp_path, **places) as writer:

        def remember_all(numbers: range) -> None:
            for i in numbers:
                scope = Scope(*SCOPES[i % len(SCOPES)])
                said[writer.remember(text(i), scope.user_id, scope.client_name)] = (text(i), scope)

        remember_all(range(1_200))
        old = OldTable(emulator, make=False)
        before = old.rows()
        assert len(before) == 1_200
        dry = migrate(tmp_path, places)
        assert (dry["applied"], dry["rows"], sum(s["brought"] for s in dry["scopes"])) == (False, 1_200, 1_200)
        assert kept(places) == {}
        done = migrate(tmp_path, places, "--yes")
        assert (done["vectors"]["reused"], done["vectors"]["embedded"], done["left_out"]) == (1_200, 0, [])
        assert {id_: (m.text, scope) for id_, (scope, m) in kept(places).items()} == said
        assert old.rows() == before
        for id_, (_, memory) in kept(places).items():
            payload = json.loads(before[id_]["payload_source"])
            assert memory.created_at == ms(datetime.fromisoformat(payload["created_at"]))

        more = threading.Thread(target=remember_all, args=(range(1_200, 1_300),))
        more.start()
        migrate(tmp_path, places, "--yes")
        more.join()
        last = migrate(tmp_path, places, "--yes")
        assert sum(s["brought"] + s["taken_over_before"] for s in last["scopes"]) == 1_300
    assert {id_: (m.text, scope) for id_, (scope, m) in kept(places).items()} == said
    for names in SCOPES:
        Rows(emulator, Scope(*names)).audit()


def shape(value: Any) -> Any:
    """Names and types, without what they hold."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return type(value).__name__


def talk(client: MemoryClient) -> dict[str, Any]:
    """What a client sees of each tool: JSON as its shape, sentences word for word."""
    added = client.call("add_memories", text="常量用大写字母")
    corrected = client.call("add_memories", text="现在住在上海")
    wait_until(lambda: len(json.loads(client.call("list_memories").text)) == 2, 60)
    found = json.loads(client.call("search_memories", query="常量用大写字母").text)
    return {
        "tools": client.tools(),
        "added": shape(json.loads(added.text)),
        "added too": shape(json.loads(corrected.text)),
        "found": shape(found[0]),
        "listed": [shape(item) for item in json.loads(client.call("list_memories").text)],
        "hashes": {item["memory"]: item["hash"] for item in found},
        "for another": json.loads(client.call("list_memories", user_id="somebody else").text),
        "deleted": client.call("delete_all_memories").text,
    }


@pytest.mark.parametrize("path", ["/mcp/cline/sse/carol", "/mcp/cline/sse/dave/"])
def test_the_same_shapes(places: dict[str, str], tmp_path: Path, path: str) -> None:
    """docs/upgrading.md lists the only difference there is between them: `updated_at` is never null."""
    both = {**places, "TOOL_BLACK_LIST": "[]"}
    with release_server(tmp_path, **both) as address, over_sse(address + path) as client:
        theirs = talk(client)
    ours_too = {**both, "STORE": "tablestore", "TOOL_USER_ID_ARGUMENT": "true"}
    with Server(tmp_path, **ours_too) as server, over_sse(f"http://127.0.0.1:{server.port}{path}") as client:
        ours = talk(client)
    assert theirs["found"].pop("updated_at") == "NoneType"
    assert ours["found"].pop("updated_at") == "str"
    for item in theirs["listed"] + ours["listed"]:
        item.pop("updated_at")
    assert ours == theirs


def test_a_path_without_a_user(places: dict[str, str], tmp_path: Path) -> None:
    """Started bare: both serve SSE."""
    answers = []
    with release_server(tmp_path, **places) as address, over_sse(f"{address}/mcp/cline/sse") as client:
        answers.append(shape(json.loads(client.call("add_memories", text="现在住在上海", user_id="erin").text)))
        assert "user_id" in client.call("add_memories", text="现在住在上海").text
    ours = {**places, "STORE": "tablestore", "TOOL_USER_ID_ARGUMENT": "true"}
    with Server(tmp_path, **ours) as server, over_sse(f"http://127.0.0.1:{server.port}/mcp/cline/sse") as client:
        answers.append(shape(json.loads(client.call("add_memories", text="现在住在上海", user_id="erin").text)))
        refused = client.call("add_memories", text="现在住在上海")
        assert refused.failed  # a deliberate difference: an error is marked as one
        assert "user_id" in refused.text
    assert answers[0] == answers[1]
