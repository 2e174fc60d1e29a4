"""Scopes above EXACT_SEARCH_LIMIT, asked for the nearest."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from support.emulator import Emulator
from support.store import DIMENSION, open_store, remember
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.store.model import ScopeStore
from tablestore_openmemory_mcp.store.store import TablestoreStore

K = 10
Vector = NDArray[np.float32]  # of one question
Matrix = NDArray[np.float32]  # a row per text
INDEX = f"mem0_memories_search_{DIMENSION}"


def open_large(emulator: Emulator, limit: int = 0) -> TablestoreStore:
    return open_store(emulator, EXACT_SEARCH_LIMIT=str(limit))


def best(found: tuple[Sequence[str], Matrix], query: Vector, k: int = K) -> list[str]:
    ids, matrix = found
    return [ids[i] for i in np.argsort(-(matrix @ query))[:k]]


def exact(emulator: Emulator, scope: Scope, query: Vector, k: int = K) -> list[str]:
    return best(open_large(emulator, limit=1_000_000).scope(scope).snapshot().matrix("fake"), query, k)


def ask(store: ScopeStore, query: Vector, **options: Any) -> tuple[Sequence[str], Matrix]:
    snapshot = store.snapshot()
    return store.candidates(snapshot, query[None, :], "fake", **({"k": K} | options))


def fill(emulator: Emulator, scope: Scope, n: int) -> ScopeStore:
    store = open_large(emulator).scope(scope)
    for start in range(0, n, 200):
        remember(store, *(f"m{i} of {scope.user_id}" for i in range(start, min(n, start + 200))))
    return store


def make_index(emulator: Emulator, store: ScopeStore) -> None:
    """The first question makes the index and is answered from the rows; the next ones go to the index."""
    query = np.eye(1, DIMENSION, dtype=np.float32)
    store.candidates(store.snapshot(), query, "fake", k=1)
    searches = emulator.calls().get("Search", 0)
    store.candidates(store.snapshot(), query, "fake", k=1)
    assert emulator.calls()["Search"] == searches + 1


def let_the_lag_window_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    from tablestore_openmemory_mcp.store.index import candidates

    monkeypatch.setattr(candidates, "LAG_MS", -1_000_000)
