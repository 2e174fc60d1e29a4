"""Thousands of memories through a real client: everything is listed once, in bounded results, and deleted at once."""

import contextlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.clients import MemoryClient, over_sse
from support.emulator import Emulator
from support.processes import Server, tablestore_environ
from tablestore_openmemory_mcp.memory.unit_of_work import UnitOfWork
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.settings import Settings
from tablestore_openmemory_mcp.store.store import TablestoreStore

SCOPE = Scope("张三", "cline")
LONGEST = "🚀" * 32_000
MOST = 100_000  # bytes of a result; less than LONGEST
KEYLESS = {"MEMORY_PIPELINE": "verbatim", "EXTRA_TOOLS": "true", "MAX_REQUESTS_PER_MINUTE": "100000"}


def fill(environ: dict[str, str], count: int) -> list[str]:
    """Memories of mixed sizes, oldest first; one of them is as long as a memory may be. Their ids."""
    store = TablestoreStore.open(Settings.load({**environ, "MEMORY_PIPELINE": "verbatim"})).scope(SCOPE)
    ids: list[str] = []
    began = time.time_ns() // 1_000_000 - count
    for begin in range(0, count, 200):
        unit = UnitOfWork(store.snapshot())
        for n in range(begin, min(count, begin + 200)):
            unit.now = began + n  # no two of the same age: there is one order
            text = LONGEST if n == count // 2 else f"{n} " + "记忆 memory " * (n * 7919 % 40)
            ids.append(unit.add(text, None, None).id)
        store.commit(unit.changes, base=unit.base)
    return ids


@pytest.fixture
def server(tmp_path: Path, tablestore: Emulator) -> Iterator[Server]:
    with Server(tmp_path, **tablestore_environ(tablestore), **KEYLESS, MAX_RESULT_SIZE=str(MOST)) as running:
        yield running


@contextlib.contextmanager
def crowd(server: Server) -> Iterator[None]:
    """Meanwhile another client adds, and deletes every second one again."""
    enough = threading.Event()

    def churn() -> None:
        with over_sse(server.url(SCOPE.client_name, SCOPE.user_id)) as client:
            for n in itertools.count():
                (added,) = client.add(f"said meanwhile: {n}")["results"]
                if n % 2:
                    client.call("delete_memories", memory_ids=[added["id"]])
                if enough.is_set():
                    return

    with ThreadPoolExecutor(1) as pool:
        churning = pool.submit(churn)
        try:
            yield
        finally:
            enough.set()
            churning.result(60)


def walk(client: MemoryClient, *between: Callable[[], None]) -> list[dict[str, Any]]:
    """All that a list shows, page by page; after each page the next of `between` is called."""
    seen: list[dict[str, Any]] = []
    arguments: dict[str, str] = {}
    steps = iter(between)
    while True:
        answer = client.call("list_memories", **arguments)
        assert not answer.failed, answer.text
        assert len(answer.text.encode()) <= MOST
        items = json.loads(answer.text)
        seen += [item for item in items if "id" in item]
        assert len({item["id"] for item in seen}) == len(seen), "twice"
        if "cursor" not in items[-1]:
            return seen
        arguments = {"cursor": items[-1]["cursor"]}
        next(steps, lambda: None)()


@pytest.mark.parametrize("count", [1_500, pytest.param(12_000, marks=pytest.mark.slow)])
def test_everything_is_listed_once_while_others_write_and_then_deleted(
    tablestore: Emulator, server: Server, count: int
) -> None:
    ids = fill(tablestore_environ(tablestore), count)
    corrected = {ids[3], ids[-3]}  # one that the walk is still to meet, one that it has passed
    gone = {ids[10], ids[count // 3], ids[-10]}

    with over_sse(server.url(SCOPE.client_name, SCOPE.user_id)) as client:

        def correct() -> None:
            for memory_id in corrected:
                assert not client.call("update_memory", memory_id=memory_id, text=f"corrected {memory_id}").failed

        def forget() -> None:
            assert not client.call("delete_memories", memory_ids=sorted(gone)).failed

        with crowd(server):
            seen = walk(client, correct, forget)
        shown = [item["id"] for item in seen]
        stayed = [i for i in reversed(ids) if i not in gone]
        assert [i for i in shown if i in set(stayed)] == stayed, "never, or out of order"
        assert not gone & {ids[10], ids[count // 3]} & set(shown), "deleted before the walk came to it"
        (longest,) = (item for item in seen if item.get("truncated"))
        assert longest["id"] == ids[count // 2]
        assert LONGEST.startswith(longest["memory"])

        left = walk(client)
        assert {item["id"] for item in left} >= set(stayed)
        assert {item["id"] for item in left if item["memory"].startswith("corrected")} == corrected
        assert client.delete_all()["deleted"] == len(left)
        assert client.memories() == []
