"""Snapshots are exact, cheap while nothing changed, and small."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import numpy as np
import pytest

from support.emulator import Emulator
from support.store import (
    Rows,
    adding,
    deleting,
    environ,
    fresh_scope,
    memory,
    open_store,
    prefix_of,
    remember,
    texts,
    updating,
)
from tablestore_openmemory_mcp.errors import LimitExceeded, StoreUnavailable
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.settings import Settings
from tablestore_openmemory_mcp.store.client.connection import CloudConnector
from tablestore_openmemory_mcp.store.commit.heads import RING
from tablestore_openmemory_mcp.store.model import Change, Conflict, Memory, ScopeStore
from tablestore_openmemory_mcp.store.snapshot.cache import SnapshotCache
from tablestore_openmemory_mcp.store.snapshot.snapshot import ScopeSnapshot
from tablestore_openmemory_mcp.store.store import TablestoreStore


class Calls:
    """How many requests of each kind a block made."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    def __enter__(self) -> Self:
        self._before = self._emulator.calls()
        self.made: dict[str, int] = {}
        return self

    def __exit__(self, *_: object) -> None:
        after = self._emulator.calls()
        made = {api: n - self._before.get(api, 0) for api, n in after.items()}
        self.made.update({api: n for api, n in made.items() if n})


def test_what_comes_back(emulator: Emulator) -> None:
    scope = fresh_scope()
    given = memory("喜欢吃辣 🌶", expires_at=99, vector=[1, 2, 2, 0, 0, 0, 0, 0])
    plain = memory("no vector")
    object.__setattr__(plain, "vector", None)
    object.__setattr__(plain, "vector_model", None)
    store = open_store(emulator).scope(scope)
    committed = store.commit([Change("ADD", given.id, given), Change("ADD", plain.id, plain)], base=store.snapshot())
    read = open_store(emulator).scope(scope).snapshot()
    for snapshot in (committed, read):
        back = snapshot.memories[given.id]
        assert (back.text, back.created_at, back.updated_at) == (given.text, given.created_at, given.updated_at)
        assert (dict(back.metadata), back.vector_model, back.expires_at, back.rev) == (given.metadata, "fake", 99, 1)
        assert back.vector is not None
        assert back.vector.dtype == np.float32
        np.testing.assert_array_equal(back.vector, given.vector)
        ids, matrix = snapshot.matrix("fake")
        assert list(ids) == [given.id]
        np.testing.assert_allclose(matrix, [[1 / 3, 2 / 3, 2 / 3, 0, 0, 0, 0, 0]], rtol=1e-6)
        assert snapshot.matrix("another")[1].shape == (0, 0)
        assert snapshot.memories[plain.id].vector is None
    with pytest.raises(TypeError):
        read.memories["x"] = given  # type: ignore[index]  # what is tested


def test_round_trips(emulator: Emulator) -> None:
    scope = fresh_scope()
    mine, other = (open_store(emulator).scope(scope) for _ in range(2))
    remember(mine, "a")
    texts(other)
    with Calls(emulator) as add:
        remember(mine, *(f"m{i}" for i in range(20)))
    assert add.made == {"GetRow": 1, "UpdateRow": 2, "BatchWriteRow": 1}
    with Calls(emulator) as current:
        mine.snapshot()
    assert current.made == {"GetRow": 1}
    with Calls(emulator) as behind:
        assert len(texts(other)) == 21
    assert behind.made == {"GetRow": 1, "BatchGetRow": 1}
    with Calls(emulator) as cold:
        texts(open_store(emulator).scope(scope))
    assert cold.made == {"GetRow": 3, "GetRange": 1}  # one of the three asks for the layout's version
    with Calls(emulator) as nothing:
        open_store(emulator).scope(fresh_scope()).snapshot()
    assert nothing.made == {"GetRow": 2}


@pytest.mark.parametrize("behind", [1, 16, 17, 100, RING, RING + 1])
def test_refresh_after_any_number_of_commits(emulator: Emulator, behind: int) -> None:
    scope = fresh_scope()
    mine, other = (open_store(emulator).scope(scope) for _ in range(2))
    remember(other, "start")
    old = texts(mine)
    for i in range(behind):
        remember(other, f"m{i}")
    with Calls(emulator) as refresh:
        assert texts(mine) == old + [f"m{i}" for i in range(behind)]
    assert ("GetRange" in refresh.made) == (behind > RING)


def test_many_ids_in_one_commit(emulator: Emulator) -> None:
    """More than a slot can name, and more than one BatchGetRow."""
    scope = fresh_scope()
    mine, other = (open_store(emulator).scope(scope) for _ in range(2))
    remember(other, "start")
    texts(mine)
    for n in (150, 450):
        remember(other, *(f"{n}-{i}" for i in range(n)))
        assert len(texts(mine)) == len(texts(other))
    Rows(emulator, scope).audit()


def test_exact_under_concurrent_commits(emulator: Emulator) -> None:
    """Each commit writes a pair whose two texts agree: a snapshot between two states would hold half a pair."""
    scope = fresh_scope()
    done = threading.Event()

    def write(seed: int) -> None:
        rng, store = random.Random(seed), open_store(emulator).scope(scope)
        base, committed = store.snapshot(), 0
        while committed < 25:
            pairs: dict[str, list[Memory]] = {}
            for m in base.memories.values():
                pairs.setdefault(m.text.rpartition(" ")[0], []).append(m)
            if pairs and rng.random() < 0.5:
                left, right = rng.choice(sorted(pairs.items()))[1]
                if rng.random() < 0.5:
                    changes = [deleting(left), deleting(right)]
                else:
                    name = f"{seed}.{committed}"
                    changes = [updating(left, f"{name} left"), updating(right, f"{name} right")]
            else:
                changes = adding(f"{seed}.{committed} left", f"{seed}.{committed} right")
            try:
                base = store.commit(changes, base=base)
                committed += 1
            except Conflict as conflict:
                base = conflict.latest

    def read() -> int:
        seen: dict[int, list[str]] = {}
        count = 0
        cached = open_store(emulator).scope(scope)
        while not done.is_set():
            for store in (cached, open_store(emulator).scope(scope)):
                snapshot = store.snapshot()
                names = sorted(m.text for m in snapshot.memories.values())
                assert [n.partition(" ")[0] for n in names[::2]] == [n.partition(" ")[0] for n in names[1::2]]
                assert seen.setdefault(snapshot.seq, names) == names
                count += 1
        return count

    with ThreadPoolExecutor(5) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        writers = [pool.submit(write, seed) for seed in range(3)]
        try:
            for writer in writers:
                writer.result(120)
        finally:
            done.set()
        assert all(reader.result(60) > 0 for reader in readers)
    assert open_store(emulator).scope(scope).snapshot().seq == 75
    Rows(emulator, scope).audit()


@pytest.mark.parametrize(("api", "cold"), [("BatchGetRow", False), ("GetRange", True)])
def test_rows_that_are_ahead_of_the_head(emulator: Emulator, api: str, cold: bool) -> None:
    """While the reader has the head but not yet the rows, one of the two it needs changes again, and one is deleted."""
    scope = fresh_scope()
    writer, reader = (open_store(emulator).scope(scope) for _ in range(2))
    a, b, c = remember(writer, "a", "b", "c")
    if not cold:
        texts(reader)
    base = writer.commit([updating(a, "a1"), updating(b, "b1")], base=writer.snapshot())
    emulator.fault(apis=api, delay=0.5, times=1)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(reader.snapshot)
        while not emulator.faults()["rules"][0]["fired"]:
            time.sleep(0.01)
        after = writer.commit([updating(base.memories[a.id], "a2"), deleting(c)], base=base)
        found = reading.result(60)
    expected = {base.seq: ["a1", "b1", "c"], after.seq: ["a2", "b1"]}
    assert sorted(m.text for m in found.memories.values()) == expected[found.seq]
    assert sorted(texts(reader)) == expected[after.seq]


def test_matrix_is_kept_from_commit_to_commit(emulator: Emulator) -> None:
    scope = fresh_scope()
    store = open_store(emulator).scope(scope)
    a, b, _ = remember(store, "a", "b", "c")
    store.snapshot().matrix("fake")
    base = store.commit([deleting(a), updating(b, "b2"), *adding("d")], base=store.snapshot())
    ids, matrix = base.matrix("fake")
    assert list(ids) == [m.id for m in base.memories.values()]
    fresh_ids, fresh = open_store(emulator).scope(scope).snapshot().matrix("fake")
    assert list(ids) == list(fresh_ids)
    np.testing.assert_array_equal(matrix, fresh)
    np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 1, rtol=1e-6)
    assert not matrix.flags.writeable


def test_a_crowd_at_a_cold_scope_reads_it_once(emulator: Emulator) -> None:
    scope = fresh_scope()
    remember(open_store(emulator).scope(scope), "a")
    store = open_store(emulator)
    store.ensure_tables()
    with Calls(emulator) as calls, ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: texts(store.scope(scope)), range(32)))
    assert found == [["a"]] * 32
    assert calls.made["GetRange"] == 1


def test_cache_is_bounded_by_bytes(emulator: Emulator) -> None:
    scopes = [fresh_scope() for _ in range(4)]
    store = open_store(emulator)
    snapshots = []
    for scope in scopes:
        remember(store.scope(scope), "x" * 1000)
        snapshots.append(scope_snapshot(store.scope(scope)))
    cache = SnapshotCache(max_bytes=2 * snapshots[0].nbytes)
    for snapshot in snapshots:
        cache.put(snapshot)
    assert [cache.get(scope) is not None for scope in scopes] == [False, False, True, True]
    assert cache.get(scopes[2])
    cache.put(snapshots[0])
    assert [cache.get(scope) is not None for scope in scopes] == [True, False, True, False]


def scope_snapshot(store: ScopeStore) -> ScopeSnapshot:
    """The snapshot with what the store alone knows of it."""
    found = store.snapshot()
    assert isinstance(found, ScopeSnapshot)
    return found


def small_cache(emulator: Emulator, nbytes: int) -> TablestoreStore:
    settings = Settings.load(environ(emulator))
    return TablestoreStore(settings, CloudConnector(settings), snapshot_bytes=nbytes)


def test_scopes_that_are_read_at_once_are_bounded_by_bytes() -> None:
    cache = SnapshotCache(max_bytes=100)
    entered, leave = threading.Semaphore(0), threading.Event()

    def read(nbytes: int) -> None:
        with cache.room(nbytes, time.monotonic() + 60):
            entered.release()
            assert leave.wait(60)

    with ThreadPoolExecutor(4) as pool:
        try:
            pool.submit(read, 60), pool.submit(read, 40)
            assert entered.acquire(timeout=60)
            assert entered.acquire(timeout=60)
            with pytest.raises(StoreUnavailable, match="Too many"), cache.room(1, time.monotonic() + 0.05):
                pass
            large = pool.submit(read, 1000)
        finally:
            leave.set()
        large.result(60)  # however large: once it is the only one
    with cache.room(100, time.monotonic()):
        pass


def test_crowds_at_many_cold_scopes(emulator: Emulator) -> None:
    """Each is larger than what may be read at once; they are read one after the other, and everybody is answered."""
    scopes = [fresh_scope() for _ in range(6)]
    for scope in scopes:
        remember(open_store(emulator).scope(scope), f"of {scope.user_id}")
    store = small_cache(emulator, 1)
    store.ensure_tables()
    with ThreadPoolExecutor(18) as pool:
        found = list(pool.map(lambda scope: texts(store.scope(scope)), scopes * 3))
    assert found == [[f"of {scope.user_id}"] for scope in scopes] * 3


def test_a_scope_is_bounded_by_bytes(emulator: Emulator) -> None:
    """However few its memories are, reading it never takes more than the cache may hold."""
    scope = fresh_scope()
    store = small_cache(emulator, 1_000_000).scope(scope)
    (first,) = remember(store, "x" * 300_000)
    with pytest.raises(LimitExceeded, match=r"full \(1 memories of 0 MB\)"):
        remember(store, "y" * 300_000)
    base = store.commit([updating(first, "short")], base=store.snapshot())
    base = store.commit([updating(base.memories[first.id], "z" * 400_000)], base=base)
    remember(store, "y" * 50_000)
    head = Rows(emulator, scope).head()
    sizes = [scope_snapshot(one).size for one in (store, open_store(emulator).scope(scope))]
    assert sizes == [head["size"]] * 2
    assert 900_000 < head["size"] < 1_000_000
    with pytest.raises(LimitExceeded):
        store.commit([updating(base.memories[first.id], "z" * 500_000)], base=store.snapshot())
    assert store.delete_all() == 2
    assert Rows(emulator, scope).head()["size"] == 0


def test_a_scope_is_a_wall(emulator: Emulator) -> None:
    store = open_store(emulator)
    names = [("a", "b"), ("a", "c"), ("ab", "b"), ("a ", "b"), ("用户", "b"), ("b", "a")]
    scopes = [Scope(user + str(fresh_scope().user_id), client) for user, client in names]
    for scope in scopes:
        remember(store.scope(scope), f"of {scope.user_id}")
    fresh = open_store(emulator)
    for scope in scopes:
        assert texts(fresh.scope(scope)) == [f"of {scope.user_id}"]
    one, two = store.scope(scopes[0]), store.scope(scopes[1])
    with pytest.raises(ValueError, match="another scope"):
        one.commit(adding("x"), base=two.snapshot())
    (theirs,) = two.snapshot().memories.values()
    assert one.history(theirs.id) == []
    with pytest.raises(ValueError, match="is not there"):
        one.commit([deleting(theirs)], base=one.snapshot())


def test_tables_made_anew(emulator: Emulator) -> None:
    """An operator dropped the tables: a process with a warm cache notices."""
    from support.emulator import connect

    prefix = f"{prefix_of(emulator)}_dropped"
    scope = fresh_scope()
    mine, other = (open_store(emulator, TABLESTORE_TABLE_NAME=prefix) for _ in range(2))
    remember(mine.scope(scope), "a", "b")
    remember(mine.scope(scope), "c")
    client = connect(emulator)
    client.delete_table(f"{prefix}_heads")
    client.delete_table(f"{prefix}_memories")
    remember(other.scope(scope), "new")
    assert texts(mine.scope(scope)) == ["new"]
