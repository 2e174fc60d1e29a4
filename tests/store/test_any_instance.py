"""What the store needs of Tablestore, on the emulator and, with `make test-real`, on a real instance.

The real one is named by TABLESTORE_ENDPOINT, TABLESTORE_INSTANCE_NAME, TABLESTORE_ACCESS_KEY_ID and
TABLESTORE_ACCESS_KEY_SECRET. The tables are this test's own (a random prefix) and dropped at the end.
"""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from support.emulator import Emulator
from support.real_instance import RealInstance
from support.store import (
    adding,
    deleting,
    environ,
    fresh_scope,
    memory,
    open_environ,
    remember,
    texts,
    updating,
)
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.store.model import Change, Conflict

INDEX_SECONDS = 180  # a new search index takes up to a minute to be ready, and a few seconds to follow


@pytest.fixture(scope="module", params=["emulator", pytest.param("real", marks=pytest.mark.real)])
def variables(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """What points a store at the instance."""
    if request.param == "emulator":
        with Emulator() as emulator:
            yield environ(emulator)
        return
    instance = RealInstance()
    yield environ(instance)
    instance.drop_tables()


@pytest.fixture
def scope(variables: Mapping[str, str]) -> Scope:
    return fresh_scope()


def test_life_of_a_memory(variables: Mapping[str, str], scope: Scope) -> None:
    mine, other = (open_environ(variables).scope(scope) for _ in range(2))
    (old,) = remember(mine, "喜欢吃辣")
    stale = mine.snapshot()
    base = other.snapshot()
    read = base.memories[old.id]
    assert (read.text, read.created_at, read.metadata, read.rev) == (old.text, old.created_at, old.metadata, 1)
    np.testing.assert_array_equal(read.vector, old.vector)
    base = other.commit([updating(read, "不吃辣"), *adding("住在上海")], base=base)
    with pytest.raises(Conflict) as conflict:
        mine.commit(adding("too late"), base=stale)
    assert old.id in (conflict.value.changed or ())
    mine.commit([deleting(conflict.value.latest.memories[old.id])], base=conflict.value.latest)
    assert texts(mine) == texts(open_environ(variables).scope(scope)) == ["住在上海"]
    assert [(e.event, e.old_text, e.new_text) for e in mine.history(old.id)] == [
        ("ADD", None, "喜欢吃辣"),
        ("UPDATE", "喜欢吃辣", "不吃辣"),
        ("DELETE", "不吃辣", None),
    ]
    assert other.delete_all() == 1
    assert texts(mine) == []
    assert mine.history(old.id) == []


def test_more_than_one_request_holds(variables: Mapping[str, str], scope: Scope) -> None:
    """More rows than a BatchWriteRow, a BatchGetRow and a page of bytes take."""
    mine, other = (open_environ(variables).scope(scope) for _ in range(2))
    texts(other)
    remember(mine, *(f"m{i:03}" for i in range(250)))
    assert len(texts(other)) == 250
    assert len(texts(open_environ(variables).scope(scope))) == 250
    assert mine.delete_all() == 250


def test_racing_writers(variables: Mapping[str, str], scope: Scope) -> None:
    def write(n: int) -> None:
        store = open_environ(variables).scope(scope)
        base = store.snapshot()
        for i in range(3):
            changes = adding(f"{n}.{i}")
            while True:
                try:
                    base = store.commit(changes, base=base)
                    break
                except Conflict as conflict:
                    base = conflict.latest

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert sorted(texts(open_environ(variables).scope(scope))) == sorted(f"{n}.{i}" for n in range(4) for i in range(3))


def test_sessions(variables: Mapping[str, str]) -> None:
    rows = open_environ(variables).sessions
    assert rows.secret("test") == open_environ(variables).sessions.secret("test")
    assert rows.create("inbox", "s", 1, {"state": "new", "body": b"\x00"})
    assert not rows.create("inbox", "s", 1, {"state": "new"})
    assert rows.change("inbox", "s", 1, {"state": "taken"}, where="state", was="new")
    assert not rows.change("inbox", "s", 1, {"state": "taken"}, where="state", was="new")
    assert [row.columns["state"] for row in rows.list("inbox", "s")] == ["taken"]
    rows.delete("inbox", "s", 1)
    assert rows.list("inbox", "s") == []


def test_search_index(variables: Mapping[str, str], scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    from tablestore_openmemory_mcp.store.index import candidates

    store = open_environ({**variables, "EXACT_SEARCH_LIMIT": "0"}).scope(scope)
    remember(store, *(f"m{i}" for i in range(40)))
    query = np.eye(1, 8, dtype=np.float32)
    near = memory("near", vector=query[0])
    base = store.commit([Change("ADD", near.id, near)], base=store.snapshot())
    base = store.commit([Change("TOUCH", near.id, replace(base.memories[near.id], vector=None))], base=base)
    assert near.id in store.candidates(base, query, "fake", k=3)[0]  # just written: looked up in the rows
    monkeypatch.setattr(candidates, "LAG_MS", -(10**9))  # from now on, ask the index about everything
    deadline = time.monotonic() + INDEX_SECONDS
    fresh = open_environ({**variables, "EXACT_SEARCH_LIMIT": "0"}).scope(scope)
    while True:
        ids, matrix = fresh.candidates(fresh.snapshot(), query, "fake", k=3)
        if len(ids) == 3 and ids[0] == near.id:
            break
        assert time.monotonic() < deadline, "the index does not follow"
        time.sleep(1)
    np.testing.assert_allclose(matrix[0], query[0], atol=1e-6)
    exact_ids, exact = open_environ(variables).scope(scope).snapshot().matrix("fake")
    assert set(ids) == {exact_ids[i] for i in np.argsort(-(exact @ query[0]))[:3]}
