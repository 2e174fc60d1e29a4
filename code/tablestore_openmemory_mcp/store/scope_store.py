"""The store bound to one scope (see store.model.ScopeStore)."""

import time
from collections.abc import Callable, Collection, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ..scope import Scope
from .client.sdk_client import PATIENCE, Gateway
from .commit.committer import Committer
from .commit.group_commit import GroupCommit, WriteQueues
from .commit.head_reads import HeadReads
from .commit.heads import Heads
from .commit.rows import ScopeRows, committed_history, read_history
from .commit.sweeper import Step, Sweeper
from .commit.tables import Tables
from .index.candidates import Candidates, VectorCache
from .index.resident_vectors import ResidentVectors
from .index.search_index import SearchIndex
from .model import Change, HistoryEntry, Snapshot
from .snapshot.cache import SnapshotCache
from .snapshot.loader import Loader
from .snapshot.snapshot import ScopeSnapshot, VectorRule


class TablestoreScope:
    """Cheap to make: it holds no state of its own but the scope."""

    def __init__(
        self,
        gateway: Gateway,
        tables: Tables,
        cache: SnapshotCache,
        index: SearchIndex,
        vectors: VectorCache,
        resident: ResidentVectors,
        queues: WriteQueues,
        head_reads: HeadReads,
        scope: Scope,
        *,
        rule: VectorRule,
        max_memories: int,
        max_bytes: int,
        step: Step,
    ) -> None:
        self._gateway = gateway
        self._tables = tables
        self._scope = scope
        self._rows = ScopeRows(tables, scope)
        self._heads = Heads(gateway, tables.heads, scope, head_reads)
        self._loader = Loader(gateway, self._heads, self._rows, scope, cache, rule)
        self._sweeper = sweeper = Sweeper(gateway, self._heads, self._rows, step)
        self._candidates = Candidates(gateway, self._rows, scope, index, vectors, resident)
        self._committer = Committer(
            gateway,
            scope,
            self._heads,
            self._rows,
            self._loader,
            sweeper,
            cache,
            rule=rule,
            max_memories=max_memories,
            max_bytes=max_bytes,
            step=step,
        )
        self._group = GroupCommit(scope, queues, self._committer, self._loader, cache)

    @property
    def scope(self) -> Scope:
        return self._scope

    def snapshot(self, *, deadline: float | None = None) -> Snapshot:
        """See ScopeStore.snapshot."""
        self._tables.ensure(deadline)
        return self._loader.newest(deadline)

    def candidates(
        self,
        snapshot: Snapshot,
        queries: NDArray[np.float32],
        model: str,
        *,
        k: int = 100,
        also: Collection[str] = (),
        deadline: float | None = None,
    ) -> tuple[Sequence[str], NDArray[np.float32]]:
        """See ScopeStore.candidates."""
        return self._candidates.of(cast(ScopeSnapshot, snapshot), queries, model, k, also, deadline)

    def commit(self, changes: Sequence[Change], *, base: Snapshot, deadline: float | None = None) -> Snapshot:
        """See ScopeStore.commit. ValueError for changes that do not fit `base`."""
        if base.scope != self._scope:
            raise ValueError("the base is another scope's")
        if not changes:
            return base
        self._tables.ensure(deadline)
        return self._committer.commit(changes, cast(ScopeSnapshot, base), deadline)

    def write(
        self, plan: Callable[[Snapshot], Sequence[Change]], *, base: Snapshot | None = None, deadline: float
    ) -> Snapshot:
        """See ScopeStore.write."""
        self._tables.ensure(deadline)
        return self._group.write(plan, cast(ScopeSnapshot | None, base), deadline)

    def delete_all(self) -> int:
        """See ScopeStore.delete_all."""
        self._tables.ensure()
        return self._committer.delete_all(None)

    def sweep(self, *, deadline: float | None = None) -> bool:
        """See ScopeStore.sweep."""
        self._tables.ensure(deadline)
        return self._sweeper.swept(time.monotonic() + PATIENCE if deadline is None else deadline)

    def history(self, memory_id: str) -> Sequence[HistoryEntry]:
        """See ScopeStore.history."""
        self._tables.ensure()
        head = self._heads.read()
        entries = {entry.rev: entry for entry in committed_history(head.redo, memory_id)}
        for page in self._gateway.pages(self._rows.history_of(memory_id)):
            entries.update((entry.rev, entry) for epoch, entry in map(read_history, page) if epoch == head.epoch)
        return [entries[rev] for rev in sorted(entries)]
