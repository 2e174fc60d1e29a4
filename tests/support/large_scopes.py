"""Scopes above EXACT_SEARCH_LIMIT, asked for the nearest."""

import numpy as np

from support.store import DIMENSION, open_store, remember

K = 10
INDEX = f"mem0_memories_search_{DIMENSION}"


def open_large(emulator, limit=0):
    return open_store(emulator, EXACT_SEARCH_LIMIT=str(limit))


def best(found, query, k=K):
    ids, matrix = found
    return [ids[i] for i in np.argsort(-(matrix @ query))[:k]]


def exact(emulator, scope, query, k=K):
    return best(open_large(emulator, limit=1_000_000).scope(scope).snapshot().matrix("fake"), query, k)


def ask(store, query, **options):
    snapshot = store.snapshot()
    return store.candidates(snapshot, query[None, :], "fake", **({"k": K} | options))


def fill(emulator, scope, n):
    store = open_large(emulator).scope(scope)
    for start in range(0, n, 200):
        remember(store, *(f"m{i} of {scope.user_id}" for i in range(start, min(n, start + 200))))
    return store


def make_index(emulator, store):
    """The first question makes the index and is answered from the rows; the next ones go to the index."""
    query = np.eye(1, DIMENSION, dtype=np.float32)
    store.candidates(store.snapshot(), query, "fake", k=1)
    searches = emulator.calls().get("Search", 0)
    store.candidates(store.snapshot(), query, "fake", k=1)
    assert emulator.calls()["Search"] == searches + 1


def let_the_lag_window_pass(monkeypatch):
    from tablestore_openmemory_mcp.store.index import candidates

    monkeypatch.setattr(candidates, "LAG_MS", -1_000_000)
