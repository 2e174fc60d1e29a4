"""The store's protocol over a dict: commits with Conflict, history, delete-all. Nothing survives the process.

For tests of the memory service that are not about Tablestore; tests/memory runs the same ones over the real store too.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tablestore_openmemory_mcp.errors import Busy
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.store.model import Change, Conflict, HistoryEntry, Memory, Snapshot


@dataclass(frozen=True, eq=False)
class PlainSnapshot:
    scope: Scope
    seq: int = 0
    epoch: int = 0
    memories: Mapping[str, Memory] = field(default_factory=dict)

    with_vectors = True

    def matrix(self, model: str) -> tuple[Sequence[str], NDArray[np.float32]]:
        embedded = [m for m in self.memories.values() if m.vector is not None and m.vector_model == model]
        if not embedded:
            return [], np.empty((0, 0), np.float32)
        return [m.id for m in embedded], np.stack([m.vector for m in embedded if m.vector is not None])


class PlainScopeStore:
    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.commits = 0
        self.snapshots = 0
        self._lock = threading.Lock()
        self._now = PlainSnapshot(scope)
        self._lineage: list[HistoryEntry] = []

    def snapshot(self, *, deadline: float | None = None) -> PlainSnapshot:
        with self._lock:
            self.snapshots += 1
            return self._now

    def candidates(
        self, snapshot: Snapshot, queries: NDArray[np.float32], model: str, **_: object
    ) -> tuple[Sequence[str], NDArray[np.float32]]:
        return snapshot.matrix(model)

    def commit(self, changes: Sequence[Change], *, base: Snapshot, deadline: float | None = None) -> PlainSnapshot:
        with self._lock:
            now = self._now
            if base.seq != now.seq:
                touched = {
                    i for i in {*now.memories, *base.memories} if now.memories.get(i) is not base.memories.get(i)
                }
                raise Conflict(now, frozenset(touched) if base.epoch == now.epoch else None)
            memories = dict(now.memories)
            seq = now.seq + 1
            for change in changes:
                self._apply(change, memories, seq)
            self.commits += 1
            self._now = replace(now, seq=seq, memories=memories)
            return self._now

    def write(
        self, plan: Callable[[Snapshot], Sequence[Change]], *, base: Snapshot | None = None, deadline: float
    ) -> Snapshot:
        base = base or self.snapshot()
        while changes := plan(base):
            try:
                return self.commit(changes, base=base)
            except Conflict as conflict:
                base = conflict.latest
            if time.monotonic() > deadline:
                raise Busy("Too many writers met in this memory; nothing was stored")
        return base

    def _apply(self, change: Change, memories: dict[str, Memory], seq: int) -> None:
        old = memories.get(change.id)
        assert (old is None) == (change.event == "ADD"), change
        if change.new is None:
            del memories[change.id]
        else:
            memories[change.id] = replace(change.new, rev=seq)
        if change.event != "TOUCH":
            new_text = change.new.text if change.new else None
            at = change.new.updated_at if change.new else 0
            entry = HistoryEntry(
                change.id, seq, change.event, change.old_text, new_text, at, change.reason, change.actor
            )
            self._lineage.append(entry)

    def delete_all(self) -> int:
        with self._lock:
            now = time.time_ns() // 1_000_000
            count = sum(m.expires_at is None or m.expires_at > now for m in self._now.memories.values())
            self._now = PlainSnapshot(self.scope, self._now.seq + 1, self._now.epoch + 1)
            self._lineage.clear()
            return count

    def sweep(self, *, deadline: float | None = None) -> bool:
        return True

    def history(self, memory_id: str) -> Sequence[HistoryEntry]:
        with self._lock:
            return [entry for entry in self._lineage if entry.memory_id == memory_id]


class PlainStore:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scopes: dict[Scope, PlainScopeStore] = {}

    def scope(self, scope: Scope) -> PlainScopeStore:
        with self._lock:
            return self._scopes.setdefault(scope, PlainScopeStore(scope))
