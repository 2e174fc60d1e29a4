"""A large scope that is searched again and again is ranked exactly, in memory, and stays in step with its rows."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest

from support.emulator import Emulator
from support.large_scopes import K, Matrix, Vector, ask, best, exact, fill, open_large
from support.processes import wait_until
from support.store import DIMENSION, adding, deleting, fresh_scope, memory
from tablestore_openmemory_mcp.errors import StoreError
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.store.index import resident_vectors
from tablestore_openmemory_mcp.store.index.resident_vectors import ResidentVectors, View
from tablestore_openmemory_mcp.store.model import Change, Memory, ScopeStore
from tablestore_openmemory_mcp.store.snapshot.snapshot import HeadState, ScopeSnapshot, VectorRule

COUNT = resident_vectors.FEWEST + 200
IN_MEMORY = {"GetRow": 1}  # the head, for the snapshot


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


@pytest.fixture(scope="module")
def filled(emulator: Emulator) -> Scope:
    scope = fresh_scope()
    fill(emulator, scope, COUNT)
    return scope


def some_queries(count: int) -> Matrix:
    vectors = np.random.default_rng(5).normal(size=(count, DIMENSION)).astype(np.float32)
    found: Matrix = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found


def requests(emulator: Emulator, store: ScopeStore, query: Vector) -> Counter[str]:
    before = Counter(emulator.calls())
    ask(store, query)
    return Counter(emulator.calls()) - before


def resident(emulator: Emulator, store: ScopeStore) -> ScopeStore:
    """`store` once it answers from memory."""
    query = some_queries(1)[0]
    wait_until(lambda: requests(emulator, store, query) == IN_MEMORY, 60)
    return store


def test_the_third_question_has_all_rows_read_once(emulator: Emulator, filled: Scope) -> None:
    store = open_large(emulator).scope(filled)
    query = some_queries(1)[0]
    before = Counter(emulator.calls())
    for _ in range(2):
        ask(store, query)
    reads = (Counter(emulator.calls()) - before)["GetRange"]
    resident(emulator, store)
    before = Counter(emulator.calls())
    for each in some_queries(20):
        assert best(ask(store, each), each) == exact(emulator, filled, each)
    spent = Counter(emulator.calls()) - before
    assert not {"Search", "BatchGetRow"} & spent.keys()
    assert reads <= 3  # texts, and what the rows answered while there was no index


def test_the_vectors_are_those_of_the_rows(emulator: Emulator, filled: Scope) -> None:
    store = resident(emulator, open_large(emulator).scope(filled))
    whole = open_large(emulator, limit=1_000_000).scope(filled).snapshot()
    ids, matrix = store.candidates(store.snapshot(), some_queries(3), "fake", k=K, also=list(whole.memories)[:500])
    right = dict(zip(*whole.matrix("fake"), strict=True))
    assert len(ids) == len(set(ids)) >= 500
    assert len(set(ids) - set(list(whole.memories)[:500])) <= 3 * K
    np.testing.assert_allclose(matrix, np.array([right[id_] for id_ in ids]), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 1, rtol=1e-4)
    cosines = matrix @ some_queries(1)[0]
    np.testing.assert_allclose(cosines, [right[id_] @ some_queries(1)[0] for id_ in ids], atol=5e-5)


def test_it_follows_what_is_written_here_and_elsewhere(emulator: Emulator) -> None:
    scope = fresh_scope()
    fill(emulator, scope, COUNT)
    query = some_queries(1)[0]
    here = resident(emulator, open_large(emulator).scope(scope))
    for writer in (here, open_large(emulator).scope(scope)):
        new = memory("new", vector=query)
        writer.commit([Change("ADD", new.id, new)], base=writer.snapshot())
        assert best(ask(here, query), query, 1) == [new.id]
        moved = memory("moved", id=new.id, vector=-query)
        writer.commit([Change("UPDATE", new.id, moved, old_text="new")], base=writer.snapshot())
        found = ask(here, query, also=[new.id])
        assert best(found, query) == exact(emulator, scope, query)
        assert found[1][found[0].index(new.id)] @ query < -0.999
        base = writer.snapshot()
        writer.commit([deleting(base.memories[new.id])], base=base)
        found = ask(here, query, also=[new.id])
        assert new.id not in found[0]
        assert best(found, query) == exact(emulator, scope, query)
    assert requests(emulator, here, query) == IN_MEMORY
    here.delete_all()
    assert len(ask(here, query)[0]) == 0


def test_more_was_written_than_is_read_one_by_one(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows answer until all of them were read anew."""
    monkeypatch.setattr(resident_vectors, "_MOST_MISSING", 10)
    monkeypatch.setattr(resident_vectors, "_REST", 0.0)
    scope = fresh_scope()
    fill(emulator, scope, COUNT)
    query = some_queries(1)[0]
    here = resident(emulator, open_large(emulator).scope(scope))
    other = open_large(emulator).scope(scope)
    base = other.snapshot()
    other.commit([*adding(*(f"more {n}" for n in range(20)))], base=base)
    assert best(ask(here, query), query) == exact(emulator, scope, query)
    resident(emulator, here)
    assert best(ask(here, query), query) == exact(emulator, scope, query)


def test_another_model_and_another_dimension_are_not_mixed_in(emulator: Emulator) -> None:
    scope = fresh_scope()
    fill(emulator, scope, COUNT)
    here = resident(emulator, open_large(emulator).scope(scope))
    query = some_queries(1)[0]
    right = exact(emulator, scope, query)
    other, plain, longer = memory("other"), memory("plain"), memory("longer", vector=[1.0] * (DIMENSION + 1))
    object.__setattr__(other, "vector_model", "other")
    object.__setattr__(plain, "vector", None)
    object.__setattr__(plain, "vector_model", None)
    here.commit([Change("ADD", m.id, m) for m in (other, plain, longer)], base=here.snapshot())
    found = ask(here, query, also=[other.id, plain.id, longer.id, "unknown"])
    assert not {other.id, plain.id, longer.id, "unknown"} & set(found[0])
    assert best(found, query) == right


def test_rows_that_cannot_be_read_leave_it_to_the_index(
    emulator: Emulator, filled: Scope, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_large(emulator).scope(filled)
    query = some_queries(1)[0]
    for _ in range(2):
        ask(store, query)
    emulator.fault(apis="GetRange", error="OTSParameterInvalid", message="no", times=2)
    with suppress(StoreError):  # where the index is still being built, this question reads the rows too
        ask(store, query)
    wait_until(lambda: "could not be read" in caplog.text, 30)
    emulator.clear_faults()
    assert best(ask(store, query), query) == exact(emulator, filled, query)
    assert requests(emulator, store, query) != IN_MEMORY


# --- without a Tablestore -------------------------------------------------------------------------------------------


def snapshot(scope: Scope, memories: list[Memory], seq: int = 1) -> ScopeSnapshot:
    from tablestore_openmemory_mcp.store.commit.rows import MemoryRow

    rows = {m.id: MemoryRow(m.id, m.rev, 0, 0, m) for m in memories}
    return ScopeSnapshot(scope, seq, 0, rows, HeadState(), rule=VectorRule(0, 64), with_vectors=False)


def viewed(vectors: ResidentVectors, of: ScopeSnapshot) -> View | None:
    """Asked as often as it takes; every row is in the snapshot."""
    read = [(m.id, m.rev, m.vector / np.linalg.norm(m.vector)) for m in of.memories.values() if m.vector is not None]
    for _ in range(6):
        view = vectors.view(of, "fake", DIMENSION, lambda ids: [], lambda: [read])
        for thread in threading.enumerate():
            if thread.name == "resident-vectors":
                thread.join()
    return view


def test_all_scopes_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident_vectors, "FEWEST", 10)
    each = 100 * (2 * DIMENSION + 300)
    vectors = ResidentVectors(max_bytes=each * 3)
    scopes = [snapshot(fresh_scope(), [memory(f"{n}") for n in range(100)]) for _ in range(5)]
    assert all(viewed(vectors, one) is not None for one in scopes)
    assert sum(resident.nbytes for resident in vectors._held.values()) <= each * 3
    assert list(vectors._held) == [one.scope for one in scopes[-len(vectors._held) :]]
    too_large = snapshot(fresh_scope(), [memory(f"{n}") for n in range(400)])
    assert viewed(vectors, too_large) is None


def test_rows_are_not_read_over_and_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """As they would be after a change of dimension under one model's name, or by scopes that push each other out."""
    monkeypatch.setattr(resident_vectors, "FEWEST", 10)
    vectors, reads = ResidentVectors(), 0

    def scan() -> list[list[resident_vectors.Read]]:
        nonlocal reads
        reads += 1
        return []

    monkeypatch.setattr(resident_vectors, "_MOST_MISSING", 10)
    of = snapshot(fresh_scope(), [memory(f"{n}") for n in range(100)])
    for _ in range(20):
        assert vectors.view(of, "fake", DIMENSION, lambda ids: [], scan) is None
        for thread in threading.enumerate():
            if thread.name == "resident-vectors":
                thread.join()
    assert reads == 1


def test_rewriting_does_not_let_it_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident_vectors, "FEWEST", 10)
    vectors = ResidentVectors()
    scope, memories = fresh_scope(), [memory(f"{n}") for n in range(100)]
    assert viewed(vectors, snapshot(scope, memories)) is not None
    sizes = set()
    for seq in range(2, 30):
        memories = [memory(f"{seq} {m.text}", id=m.id, rev=seq) for m in memories]
        now = snapshot(scope, memories, seq)
        view = vectors.view(now, "fake", DIMENSION, lambda ids: [], list)
        assert view is not None
        assert view.alive.sum() == 100
        right = np.array([m.vector for m in memories], np.float32)
        right /= np.linalg.norm(right, axis=1, keepdims=True)
        ids, found = view.vectors([m.id for m in memories])
        assert ids == [m.id for m in memories]
        np.testing.assert_allclose(found, right, atol=1e-4)
        sizes.add(len(vectors._held[scope]._codes))
    assert max(sizes) <= 400


def test_a_state_that_may_never_come_to_be_is_not_taken_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident_vectors, "FEWEST", 10)
    vectors = ResidentVectors()
    scope, memories = fresh_scope(), [memory(f"{n}") for n in range(100)]
    assert viewed(vectors, snapshot(scope, memories)) is not None
    assert vectors.view(snapshot(scope, memories, seq=-7), "fake", DIMENSION, lambda ids: [], list) is None


def test_zeros_have_no_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident_vectors, "FEWEST", 2)
    memories = [memory("zero", vector=[0.0] * DIMENSION), *(memory(f"{n}") for n in range(5))]
    read = [(m.id, 0, m.vector) for m in memories if m.vector is not None]
    resident = resident_vectors._Resident("fake", DIMENSION, 0)
    resident.put(read)
    view = resident.view(snapshot(fresh_scope(), memories), lambda ids: [])
    assert view is not None
    assert not view.vectors([memories[0].id])[1].any()
