"""The first story: coding preferences are kept, found again from a new connection, and corrected in place."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.clients import MemoryClient, over_sse, over_stdio
from support.emulator import Emulator, connect
from support.fake_openai import FakeOpenAI
from support.processes import Server

Connect = Callable[[], contextlib.AbstractContextManager[MemoryClient]]

CLIENT, USER = "cline", "小周"
VARIABLES, CONSTANTS, FUNCTIONS = "变量采用小驼峰命名", "常量全部采用大写字母加下划线进行命名", "函数名以动词开头"


@pytest.fixture(params=["sse", "stdio", "sse, embedded store"])
def connection(request: pytest.FixtureRequest, tmp_path: Path, llm: FakeOpenAI) -> Iterator[Connect]:
    """Makes a new connection each time it is called: to one server, or with a server process of its own."""
    if request.param == "sse":
        shared: Server = request.getfixturevalue("server")
        yield lambda: over_sse(shared.url(CLIENT, USER))
    elif request.param == "stdio":
        environ = request.getfixturevalue("cloud") | {"MCP_STDIO_CLIENT_NAME": "stdio", "MCP_STDIO_USER_ID": USER}
        yield lambda: over_stdio(tmp_path, **environ)
    else:
        with Server(tmp_path, **llm.environ()) as own:
            yield lambda: over_sse(own.url(CLIENT, USER))


def test_said_found_and_corrected(connection: Connect) -> None:
    with connection() as client:
        said = client.add(f"请记住我的编码偏好：{VARIABLES}，{CONSTANTS}，{FUNCTIONS}。")
        assert [(r["event"], r["memory"]) for r in said["results"]] == [
            ("ADD", VARIABLES),
            ("ADD", CONSTANTS),
            ("ADD", FUNCTIONS),
        ]

    with connection() as client:
        hits = client.search("我的常量应该怎么命名？")
        assert hits[0]["memory"] == CONSTANTS
        assert 0.7 < hits[0]["score"] < 1
        assert hits[0]["user_id"] == USER

        before = {memory["memory"]: memory for memory in client.memories()}
        corrected = client.add("我喜欢使用小写字母加下划线命名变量")["results"]
        assert len(corrected) == 1
        assert corrected[0]["event"] == "UPDATE"
        assert corrected[0]["id"] == before[VARIABLES]["id"]
        assert corrected[0]["previous_memory"] == VARIABLES
        assert "下划线命名变量" in corrected[0]["memory"]

    with connection() as client:
        after = {memory["memory"]: memory for memory in client.memories()}
        assert after.keys() == {corrected[0]["memory"], CONSTANTS, FUNCTIONS}
        assert after[CONSTANTS] == before[CONSTANTS]
        assert after[FUNCTIONS] == before[FUNCTIONS]
        new, old = after[corrected[0]["memory"]], before[VARIABLES]
        assert (new["id"], new["created_at"]) == (old["id"], old["created_at"])
        assert new["updated_at"] > old["updated_at"]
        assert client.search("变量用什么风格命名？")[0]["id"] == new["id"]


def test_tablestore_shows_the_correction_and_what_was_before(server: Server, tablestore: Emulator) -> None:
    """Read with the vendor's SDK, as a person would in the console."""
    with over_sse(server.url(CLIENT, "小吴")) as client:
        client.add(f"{VARIABLES}，{CONSTANTS}")
        corrected = client.add("我喜欢使用小写字母加下划线命名变量")["results"][0]

    memories = {row["memory_id"]: row for row in rows(tablestore, "小吴", "mem0_memories", "memory_id")}
    assert len(memories) == 2
    assert memories[corrected["id"]]["text"] == corrected["memory"]
    assert len(memories[corrected["id"]]["vector"]) == 4 * 1536
    history = rows(tablestore, "小吴", "mem0_history", "memory_id", "rev")
    lineage = [row for row in history if row["memory_id"] == corrected["id"]]
    assert [(row["event"], row.get("old_text"), row.get("new_text")) for row in lineage] == [
        ("ADD", None, VARIABLES),
        ("UPDATE", VARIABLES, corrected["memory"]),
    ]
    assert all(row["client_name"] == CLIENT for row in [*memories.values(), *history])


def test_an_add_asks_the_model_no_more_than_it_must(server: Server, llm: FakeOpenAI) -> None:
    with over_sse(server.url(CLIENT, "小王")) as earlier:  # the process learns how the embedder's cosines spread
        earlier.add(VARIABLES)
        earlier.add("我喜欢使用小写字母加下划线命名变量")
    llm.forget()
    with over_sse(server.url(CLIENT, "小郑")) as client:
        client.add(VARIABLES)
        assert (llm.count("extraction"), llm.count("update"), llm.count("embeddings")) == (1, 0, 1)
        client.add("我喜欢使用小写字母加下划线命名变量")
        assert (llm.count("extraction"), llm.count("update"), llm.count("embeddings")) == (2, 1, 3)
        client.search("变量")
        assert (llm.count("chat"), llm.count("embeddings")) == (3, 4)


def rows(emulator: Emulator, user: str, table: str, *more_keys: str) -> list[dict[str, Any]]:
    """All rows of a user, keys and columns together."""
    import tablestore

    keys = ["client_name", *more_keys]
    start = [("user_id", user), *((key, tablestore.INF_MIN) for key in keys)]
    end = [("user_id", user), *((key, tablestore.INF_MAX) for key in keys)]
    _, _, found, _ = connect(emulator).get_range(table, "FORWARD", start, end, max_version=1)
    return [dict(row.primary_key) | {name: value for name, value, _ in row.attribute_columns} for row in found]
