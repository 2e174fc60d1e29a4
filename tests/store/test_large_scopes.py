"""Scopes above EXACT_SEARCH_LIMIT: texts in memory, vectors from the search index and the rows; nothing stale, ever."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from support.emulator import Emulator, connect
from support.large_scopes import (
    INDEX,
    K,
    Matrix,
    ask,
    best,
    exact,
    fill,
    let_the_lag_window_pass,
    make_index,
    open_large,
)
from support.store import (
    DIMENSION,
    adding,
    clock_off_by,
    deleting,
    fresh_scope,
    memory,
    open_store,
    remember,
    updating,
)
from tablestore_openmemory_mcp.store.index import search_index
from tablestore_openmemory_mcp.store.model import Change


@pytest.fixture
def queries() -> Matrix:
    vectors: Matrix = np.random.default_rng(7).normal(size=(5, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


def test_index_and_rows_agree_with_exact_search(
    emulator: Emulator, queries: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope, neighbour = fresh_scope(), fresh_scope()
    fill(emulator, neighbour, 100)
    fill(emulator, scope, 300)
    let_the_lag_window_pass(monkeypatch)
    store = open_large(emulator).scope(scope)
    snapshot = store.snapshot()
    assert not snapshot.with_vectors
    assert all(m.vector is None and m.vector_model == "fake" for m in snapshot.memories.values())
    assert snapshot.matrix("fake")[1].size == 0
    make_index(emulator, store)
    before = emulator.calls()
    ids, matrix = store.candidates(snapshot, queries, "fake", k=K)
    assert emulator.calls()["Search"] == before["Search"] + len(queries)
    assert emulator.calls()["GetRange"] == before["GetRange"]
    assert len(ids) <= K * len(queries)
    np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 1, rtol=1e-5)
    for query in queries:
        assert best((ids, matrix), query) == exact(emulator, scope, query)


def test_small_scopes_need_no_index(emulator: Emulator, queries: Matrix) -> None:
    scope = fresh_scope()
    store = open_store(emulator).scope(scope)
    remember(store, "a", "b")
    snapshot = store.snapshot()
    assert snapshot.with_vectors
    assert store.candidates(snapshot, queries, "fake", k=1)[0] == snapshot.matrix("fake")[0]
    assert connect(emulator).list_search_index() == []


def test_wanted_ids_and_other_models(emulator: Emulator, queries: Matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = fresh_scope()
    store = fill(emulator, scope, 30)
    other = memory("another model's")
    object.__setattr__(other, "vector_model", "other")
    plain = memory("without a vector")
    object.__setattr__(plain, "vector", None)
    object.__setattr__(plain, "vector_model", None)
    store.commit([Change("ADD", m.id, m) for m in (other, plain)], base=store.snapshot())
    let_the_lag_window_pass(monkeypatch)
    far = exact(emulator, scope, queries[0], 30)[-1]
    found = ask(open_large(emulator).scope(scope), queries[0], k=3, also=[far, other.id, plain.id, "unknown"])
    assert set(found[0]) == {*exact(emulator, scope, queries[0], 3), far}


@pytest.mark.parametrize("lags", [(0.0,), (0.0, 2.0, 4.0)])
def test_what_was_just_written_is_found_and_what_was_deleted_is_not(
    emulator: Emulator, queries: Matrix, lags: Any
) -> None:
    scope = fresh_scope()
    writer = fill(emulator, scope, 50)
    make_index(emulator, writer)
    emulator.set_faults(index_lag=5, replica_lags=list(lags))
    reader = open_large(emulator).scope(scope)  # another process
    query = queries[0]
    new = memory("new", vector=query)
    writer.commit([Change("ADD", new.id, new)], base=writer.snapshot())
    assert best(ask(reader, query), query, 1) == [new.id]
    base = writer.snapshot()
    moved = memory("moved", id=new.id, vector=-query)
    writer.commit([Change("UPDATE", new.id, moved, old_text="new")], base=base)
    found = ask(reader, query)
    assert best(found, query, 1) != [new.id]
    base = writer.snapshot()
    writer.commit([deleting(base.memories[new.id])], base=base)
    for _ in range(3):  # whichever replica answers
        found = ask(reader, query)
        assert new.id not in found[0]
        assert best(found, query) == exact(emulator, scope, query)
    writer.delete_all()
    assert len(ask(reader, query)[0]) == 0


def test_many_deletions_do_not_starve_the_next_search(emulator: Emulator, queries: Matrix) -> None:
    """The index still proposes all that was deleted; they are left out of the question instead of the answer."""
    scope = fresh_scope()
    with clock_off_by(-600):
        store = fill(emulator, scope, 1500)
    query = queries[0]
    doomed = exact(emulator, scope, query, 1400)
    make_index(emulator, store)
    emulator.set_faults(index_lag=300)
    for start in range(0, 1400, 350):
        base = store.snapshot()
        some = doomed[start : start + 350]
        store.commit([deleting(base.memories[id_]) for id_ in some], base=base)
    before = emulator.calls()["GetRange"]
    assert best(ask(store, query), query) == best(ask(open_large(emulator).scope(scope), query), query)
    assert emulator.calls()["GetRange"] == before + 1  # the other process's first look
    assert best(ask(store, query), query) == exact(emulator, scope, query)


@pytest.mark.parametrize("many", ["written", "deleted"])
def test_more_was_written_than_can_be_looked_at_one_by_one(
    emulator: Emulator, queries: Matrix, monkeypatch: pytest.MonkeyPatch, many: str
) -> None:
    """All rows are read then, for as long as the index may not know what was written."""
    from tablestore_openmemory_mcp.store.index import candidates

    scope = fresh_scope()
    store = fill(emulator, scope, 10)
    make_index(emulator, store)
    emulator.set_faults(index_lag=300)
    monkeypatch.setattr(candidates, "_RECENT" if many == "written" else "MOST_EXCLUDED", 20)
    remember(store, *(f"new {i}" for i in range(60)))
    if many == "deleted":
        base = store.snapshot()
        doomed = [base.memories[id_] for id_ in exact(emulator, scope, queries[0], 30)]
        store.commit([deleting(m) for m in doomed], base=base)
    for reader in (store, open_large(emulator).scope(scope)):
        for query in queries:
            assert best(ask(reader, query), query) == exact(emulator, scope, query)


def test_what_was_imported_at_once_is_asked_of_the_index_a_minute_later(
    emulator: Emulator, queries: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long nothing else is written, and whatever the clock of the machine that imported it said."""
    from tablestore_openmemory_mcp.store.index import candidates

    scope = fresh_scope()
    monkeypatch.setattr(candidates, "_RECENT", 20)
    with clock_off_by(-600):
        store = fill(emulator, scope, 100)
    with clock_off_by(10 * 24 * 3600):
        remember(store, *(f"ahead {i}" for i in range(100)))
    make_index(emulator, store)
    before = emulator.calls()
    for query in queries:
        assert best(ask(store, query), query) == exact(emulator, scope, query)
    assert emulator.calls()["Search"] == before["Search"] + len(queries)
    assert emulator.calls()["GetRange"] == before["GetRange"] + len(queries)  # of `exact`


def test_before_the_index_is_ready_the_rows_answer(
    emulator: Emulator, queries: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = fresh_scope()
    fill(emulator, scope, 300)
    let_the_lag_window_pass(monkeypatch)
    monkeypatch.setattr(search_index, "BUILDING_SECONDS", 0.0)
    emulator.set_faults(index_ready_after=300)
    store = open_large(emulator).scope(scope)
    for query in queries:
        assert best(ask(store, query), query) == exact(emulator, scope, query)
    assert "Search" not in emulator.calls()
    emulator.clear_faults()
    assert best(ask(store, queries[0]), queries[0]) == exact(emulator, scope, queries[0])
    assert emulator.calls()["Search"] == 1


def test_index_dropped_by_an_operator(emulator: Emulator, queries: Matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = fresh_scope()
    fill(emulator, scope, 30)
    let_the_lag_window_pass(monkeypatch)
    store = open_large(emulator).scope(scope)
    make_index(emulator, store)
    connect(emulator).delete_search_index("mem0_memories", INDEX)
    for query in queries:
        assert best(ask(store, query), query) == exact(emulator, scope, query)
    assert connect(emulator).list_search_index() == [("mem0_memories", INDEX)]


def test_outgrowing_the_limit(emulator: Emulator, queries: Matrix) -> None:
    """From vectors in memory to texts only and back, in the process that writes and in one that follows."""
    scope = fresh_scope()
    writer, reader = (open_large(emulator, limit=40).scope(scope) for _ in range(2))
    for n in range(6):
        remember(writer, *(f"{n}.{i}" for i in range(10)))
        for store in (writer, reader):
            snapshot = store.snapshot()
            assert snapshot.with_vectors == (n < 5)
            found = store.candidates(snapshot, queries, "fake", k=K)
            assert all(best(found, query) == exact(emulator, scope, query) for query in queries)
    base = writer.snapshot()
    doomed = list(base.memories.values())[:30]
    writer.commit([deleting(m) for m in doomed], base=base)
    assert not writer.snapshot().with_vectors
    assert open_large(emulator, limit=40).scope(scope).snapshot().with_vectors


def test_rewriting_without_the_vector_keeps_it(
    emulator: Emulator, queries: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A memory read as text only and given back, with an expiry say, keeps the vector that is in its row."""
    scope = fresh_scope()
    (old,) = remember(open_store(emulator).scope(scope), "old")
    store = open_large(emulator).scope(scope)
    base = store.snapshot()
    from dataclasses import replace

    read = base.memories[old.id]
    assert read.vector is None
    store.commit([Change("TOUCH", old.id, replace(read, expires_at=99))], base=base)
    back = open_store(emulator).scope(scope).snapshot().memories[old.id]
    assert back.expires_at == 99
    np.testing.assert_array_equal(back.vector, old.vector)
    base = store.snapshot()
    store.commit([Change("TOUCH", old.id, replace(base.memories[old.id], expires_at=None))], base=base)
    assert open_store(emulator).scope(scope).snapshot().memories[old.id].expires_at is None


def test_vectors_in_memory_are_bounded(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = fresh_scope()
    store = open_large(emulator).scope(scope)
    for n in range(4):
        remember(store, *(f"{n}.{i}" for i in range(100)))
        held = sum(m.vector is not None for m in store.snapshot().memories.values())
        assert held <= 256
    base = store.snapshot()
    some = next(iter(base.memories.values()))
    after = store.commit([updating(some, "again"), *adding("more")], base=base)
    assert after.memories[some.id].vector is not None


@pytest.mark.slow
def test_twenty_thousand(emulator: Emulator, queries: Matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    """At least nine of the ten that exact search finds, asked of the index alone."""
    scope = fresh_scope()
    store = fill(emulator, scope, 20_000)
    let_the_lag_window_pass(monkeypatch)
    make_index(emulator, store)
    found = [best(ask(store, query), query) for query in queries]
    right = [exact(emulator, scope, query) for query in queries]
    assert all(len(set(f) & set(r)) >= 9 for f, r in zip(found, right, strict=True))
