"""What a process keeps of its scopes is bounded in bytes, measured, whatever the texts are."""

import gc
import random
import tracemalloc
import weakref
from collections.abc import Callable

import numpy as np
import pytest

from support.emulator import Emulator
from support.plain_store import PlainSnapshot
from support.store import environ
from tablestore_openmemory_mcp.memory.search.scope_index import ScopeIndex, ScopeIndexes
from tablestore_openmemory_mcp.memory.search.tokens import _terms
from tablestore_openmemory_mcp.memory.unit_of_work import Unit
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.settings import Settings
from tablestore_openmemory_mcp.store.client.connection import CloudConnector
from tablestore_openmemory_mcp.store.model import Memory
from tablestore_openmemory_mcp.store.store import TablestoreStore

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


@pytest.mark.parametrize("text", TEXTS)
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


def test_a_snapshot_that_the_cache_has_dropped_is_gone(emulator: Emulator) -> None:
    """Over the real store, whose cache holds two of these scopes: the others' snapshots are kept by nobody."""
    settings = Settings.load(environ(emulator, TABLESTORE_VECTOR_DIMENSION="512"))
    store = TablestoreStore(settings, CloudConnector(settings), snapshot_bytes=MEGABYTE)
    indexes = ScopeIndexes(MEGABYTE)
    seen: list[weakref.ref[object]] = []
    try:
        store.scope(Scope("kept", "warm")).snapshot()  # the SDK and its connections
        gc.collect()
        tracemalloc.start()
        for n in range(20):
            scoped = store.scope(Scope("kept", str(n)))
            base = scoped.snapshot()
            unit = Unit(base)
            for memory in snapshot_of(scoped.scope, sentence, 60).memories.values():
                unit.add(memory.text, memory.vector, "m")
            snapshot = scoped.commit(unit.changes, base=base)
            used(indexes.of(scoped.scope), snapshot)  # type: ignore[arg-type]
            seen.append(weakref.ref(snapshot))
            del base, unit, snapshot
        _terms.cache_clear()
        gc.collect()
        assert 1 <= sum(snapshot() is not None for snapshot in seen) <= 3
        assert tracemalloc.get_traced_memory()[0] < 1.5 * (MEGABYTE + MEGABYTE)
    finally:
        tracemalloc.stop()
        store.close()
