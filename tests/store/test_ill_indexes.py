"""The search index may be ill, being built, or made for other vectors: the rows answer, and nothing fails or waits."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from support.emulator import Emulator, connect
from support.large_scopes import (
    INDEX,
    Matrix,
    Vector,
    ask,
    best,
    exact,
    fill,
    let_the_lag_window_pass,
    make_index,
    open_large,
)
from support.store import DIMENSION, fresh_scope, memory, open_store
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


@pytest.mark.parametrize("error", ["OTSServerBusy", "OTSNoPermissionAccess", "OTSParameterInvalid", "OTSTimeout"])
@pytest.mark.parametrize("api", ["Search", "DescribeSearchIndex", "CreateSearchIndex"])
def test_an_ill_index_never_fails_a_search(
    emulator: Emulator,
    queries: Matrix,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    api: str,
    error: str,
) -> None:
    """The rows answer, soon, and it is said once."""
    monkeypatch.setattr(search_index, "SECONDS", 1.0)
    let_the_lag_window_pass(monkeypatch)
    scope = fresh_scope()
    fill(emulator, scope, 60)
    if api == "Search":
        make_index(emulator, open_large(emulator).scope(scope))
    store = open_large(emulator).scope(scope)
    emulator.fault(apis=api, error=error)
    began = time.monotonic()
    for query in queries:
        assert best(ask(store, query), query) == exact(emulator, scope, query)
    assert time.monotonic() - began < 15
    assert caplog.text.count("The search index does not answer") == 1
    asked = emulator.calls()[api]
    emulator.clear_faults()
    ask(store, queries[0])
    assert emulator.calls()[api] == asked  # it is left alone for a while
    monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + 60)
    for _ in range(3):
        assert best(ask(store, queries[0], deadline=None), queries[0]) == exact(emulator, scope, queries[0])
    assert emulator.calls()["Search"] > 0


def test_while_it_is_built_one_asks_and_nobody_waits(
    emulator: Emulator, queries: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_the_lag_window_pass(monkeypatch)
    scope = fresh_scope()
    fill(emulator, scope, 30)
    store = open_large(emulator).scope(scope)
    ask(store, queries[0])  # makes it
    emulator.set_faults(index_ready_after=300)
    emulator.fault(apis="DescribeSearchIndex", delay=1.5)
    before = emulator.calls()["DescribeSearchIndex"]

    def timed(query: Vector) -> float:
        began = time.monotonic()
        assert best(ask(store, query), query) == exact(emulator, scope, query)
        return time.monotonic() - began

    with ThreadPoolExecutor(5) as pool:
        took = list(pool.map(timed, queries))
    assert sum(seconds < 1.4 for seconds in took) >= 4
    assert emulator.calls()["DescribeSearchIndex"] == before + 1


def test_another_dimension_is_another_index(
    emulator: Emulator, queries: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large scopes go on working when TABLESTORE_VECTOR_DIMENSION is changed; the old index is left to the operator."""
    let_the_lag_window_pass(monkeypatch)
    scope = fresh_scope()
    make_index(emulator, fill(emulator, scope, 40))
    wide = 2 * DIMENSION
    right = exact(emulator, scope, queries[0])
    store = open_store(emulator, EXACT_SEARCH_LIMIT="0", TABLESTORE_VECTOR_DIMENSION=str(wide)).scope(scope)
    vectors = np.eye(wide, dtype=np.float32)
    new = [memory(f"wide {i}", vector=vectors[i]) for i in range(5)]
    store.commit([Change("ADD", m.id, m) for m in new], base=store.snapshot())
    for _ in range(4):
        assert best(ask(store, vectors[3]), vectors[3], 1) == [new[3].id]
    names = {name for _, name in connect(emulator).list_search_index()}
    assert names == {INDEX, f"mem0_memories_search_{wide}"}
    assert best(ask(open_large(emulator).scope(scope), queries[0]), queries[0]) == right


@pytest.mark.parametrize("dimension", [DIMENSION, DIMENSION + 1])
def test_the_index_of_version_2_0_is_used_if_it_fits(
    emulator: Emulator,
    queries: Matrix,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    dimension: int,
) -> None:
    let_the_lag_window_pass(monkeypatch)
    scope = fresh_scope()
    fill(emulator, scope, 40)
    world = open_store(emulator)._built()
    index = search_index.SearchIndex(world.gateway, world.tables, dimension)
    index._create("mem0_memories_search", time.monotonic() + 10)
    store = open_large(emulator).scope(scope)
    for query in queries:
        assert best(ask(store, query), query) == exact(emulator, scope, query)
    names = {name for _, name in connect(emulator).list_search_index()}
    fits = dimension == DIMENSION
    assert names == {"mem0_memories_search"} | (set() if fits else {INDEX})
    assert ("still paid for" in caplog.text) == (not fits)
    assert emulator.calls()["Search"] >= 4
