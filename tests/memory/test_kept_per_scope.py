"""What a process keeps of its scopes is bounded in bytes, measured, whatever the texts are."""

import gc
import random
import tracemalloc
import weakref
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from support.emulator import Emulator
from support.plain_store import PlainSnapshot
from support.store import environ
from tablestore_openmemory_mcp.memory.search.scope_index import ScopeIndex, ScopeIndexes
from tablestore_openmemory_mcp.memory.search.tokenizer import _terms
from tablestore_openmemory_mcp.memory.unit_of_work import UnitOfWork
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.settings import Settings
from tablestore_openmemory_mcp.store.client.connection import CloudConnector
from tablestore_openmemory_mcp.store.index.candidates import VectorCache
from tablestore_openmemory_mcp.store.model import Memory
from tablestore_openmemory_mcp.store.snapshot.snapshot import size_of
from tablestore_openmemory_mcp.store.store import TablestoreStore

pytestmark = pytest.mark.slow  # a minute or more; `.ci/run` runs it

MEGABYTE = 1_000_000
Text = Callable[[random.Random], str]


def sentence(chance: random.Random) -> str:
    return " ".join(f"word{chance.randrange(2000)}" for _ in range(60))


def chinese(chance: random.Random) -> str:
    return "".join(chr(0x4E00 + chance.randrange(3000)) for _ in range(400))


def all_new(chance: random.Random) -> str:
    """Words that no other text has."""
    return " ".join(f"{chance.randrange(10**9):x}" for _ in range(200))


def one_word(chance: random.Random) -> str:
    return f"{chance.random()}" + "x" * 5_000


TEXTS = [sentence, chinese, all_new, one_word]
TAKES_LONG = {chinese, all_new}  # under tracemalloc, of eighty scopes


def snapshot_of(scope: Scope, text: Text, count: int) -> PlainSnapshot:
    chance = random.Random(scope.client_name)
    memories = [Memory(str(n), text(chance), n, n, {}, np.zeros(512, np.float32), "m") for n in range(count)]
    return PlainSnapshot(scope, memories={m.id: m for m in memories})


def used(index: ScopeIndex, snapshot: PlainSnapshot) -> None:
    index.bm25(snapshot, ["word1 的 x"], index.living(snapshot).memories)
    index.alike(snapshot, snapshot.memories.values())


def measured(work: Callable[[], object]) -> int:
    """Bytes held after `work` that were not before."""
    _terms.cache_clear()
    gc.collect()
    tracemalloc.start()
    try:
        kept = work()
        _terms.cache_clear()
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
        del kept
    finally:
        tracemalloc.stop()
    return held


@pytest.mark.parametrize(
    "text", [pytest.param(text, marks=[pytest.mark.slow] * (text in TAKES_LONG)) for text in TEXTS]
)
def test_many_scopes_hold_no_more_than_one_bound(text: Text) -> None:
    bound = 4 * MEGABYTE
    snapshots: list[weakref.ref[PlainSnapshot]] = []

    def work() -> ScopeIndexes:
        indexes = ScopeIndexes(bound)
        for n in range(80):
            scope = Scope("u", str(n))
            snapshot = snapshot_of(scope, text, 30)
            snapshots.append(weakref.ref(snapshot))
            used(indexes.of(scope), snapshot)
        return indexes

    held = measured(work)
    assert held < 1.3 * bound
    assert not [snapshot for snapshot in snapshots if snapshot() is not None], "an index keeps a snapshot alive"


@pytest.mark.parametrize("grown", [False, True], ids=["at once", "one by one"])
@pytest.mark.parametrize("text", TEXTS)
def test_an_index_takes_about_what_it_says(text: Text, grown: bool) -> None:
    said: list[int] = []

    def work() -> ScopeIndex:
        index, scope = ScopeIndex(), Scope("u", "c")
        for count in range(1, 151) if grown else [150]:
            snapshot = (
                snapshot_of(scope, text, count)
                if not grown
                else PlainSnapshot(scope, memories=dict(list(whole.memories.items())[:count]))
            )
            used(index, snapshot)
        said.append(index.nbytes)
        return index

    whole = snapshot_of(Scope("u", "c"), text, 150)
    held = measured(work)
    assert held < 1.3 * said[0]


def rare(chance: random.Random) -> str:
    """One character of four bytes makes Python keep four for each."""
    return "\U0001f980" + "字" * 6_000 + str(chance.random())


@pytest.mark.parametrize("emptied", [False, True], ids=["kept", "deleted but for one"])
@pytest.mark.parametrize(("text", "each"), [(sentence, 60), pytest.param(rare, 30, marks=pytest.mark.slow)])
def test_what_both_caches_hold_is_bounded(emulator: Emulator, text: Text, each: int, emptied: bool) -> None:
    """Over the real store, whose cache holds two of these scopes: the others' snapshots are kept by nobody."""
    settings = Settings.load(environ(emulator, TABLESTORE_VECTOR_DIMENSION="512"))
    store = TablestoreStore(settings, CloudConnector(settings), snapshot_bytes=MEGABYTE)
    indexes = ScopeIndexes(MEGABYTE)
    seen: list[weakref.ref[object]] = []
    try:
        store.scope(Scope("kept", "warm")).snapshot()  # the SDK and its connections
        gc.collect()
        tracemalloc.start()
        for n in range(8):
            scoped = store.scope(Scope(f"kept {text.__name__} {emptied}", str(n)))
            snapshot = scoped.snapshot()
            for part in range(0, each, 10):
                unit = UnitOfWork(snapshot)
                for memory in snapshot_of(scoped.scope, text, 10).memories.values():
                    unit.add(f"{part} {memory.text}", np.ones(512, np.float32), "m")
                snapshot = scoped.commit(unit.changes, base=snapshot)
            used(indexes.of(scoped.scope), snapshot)  # type: ignore[arg-type]
            scoped.candidates(snapshot, np.ones((1, 512), np.float32), "m", k=10, also=())
            if emptied:
                unit = UnitOfWork(snapshot)
                for id_ in list(snapshot.memories)[1:]:
                    unit.delete(id_)
                snapshot = scoped.commit(unit.changes, base=snapshot)
            seen.append(weakref.ref(snapshot))
            del unit, snapshot
        _terms.cache_clear()
        gc.collect()
        assert emptied or 1 <= sum(snapshot() is not None for snapshot in seen) <= 3
        assert tracemalloc.get_traced_memory()[0] < 1.5 * (MEGABYTE + MEGABYTE)
    finally:
        tracemalloc.stop()
        store.close()


@pytest.mark.parametrize("text", [*TEXTS, rare])
def test_a_memory_takes_about_what_it_says(text: Text) -> None:
    chance, said = random.Random(1), []

    def work() -> list[Memory]:
        memories = [Memory(f"{n:032x}", f"{n}" + text(chance), n + 10**12, n + 10**12, rev=n) for n in range(200)]
        said.append(sum(map(size_of, memories)))
        return memories

    assert measured(work) < 1.1 * said[0]


@pytest.mark.parametrize("size", [4, 1536])
def test_vectors_of_large_scopes_are_bounded(size: int) -> None:
    """Small ones take more for what is around them."""

    def work() -> VectorCache:
        cache = VectorCache(MEGABYTE)
        for n in range(8_000):
            cache.put(Scope("u", str(n % 50)), f"{n:032x}", n + 1000, np.zeros(size, np.float32))
        return cache

    assert measured(work) < 1.3 * MEGABYTE


def test_vectors_of_another_model_are_not_kept(emulator: Emulator) -> None:
    """After a change of the model, or when most memories are new, what was worked out of the old ones goes."""
    settings = Settings.load(environ(emulator, TABLESTORE_VECTOR_DIMENSION="512"))
    store = TablestoreStore(settings, CloudConnector(settings))
    try:
        scoped = store.scope(Scope("kept", "models"))
        unit = UnitOfWork(scoped.snapshot())
        for n in range(20):
            unit.add(f"{n}", np.ones(512, np.float32), "old")
        snapshot = scoped.commit(unit.changes, base=scoped.snapshot())
        scoped.candidates(snapshot, np.ones((1, 512), np.float32), "old", k=10, also=())
        old = [weakref.ref(memory.vector) for memory in snapshot.memories.values()]
        unit = UnitOfWork(snapshot)
        for memory in snapshot.memories.values():
            unit.touch(replace(memory, vector=np.ones(512, np.float32), vector_model="new"))
        snapshot = scoped.commit(unit.changes, base=snapshot)
        del memory, unit
        gc.collect()
        assert len(snapshot.memories) == 20
        assert not [vector for vector in old if vector() is not None]
    finally:
        store.close()
