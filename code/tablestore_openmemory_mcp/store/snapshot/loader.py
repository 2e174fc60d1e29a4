"""Exact snapshots from rows that are written one by one while others commit.

A head names a state; rows read after it are in that state, or newer by commits that came in between. Rows carry the
`rev` of their last commit, so newer ones are recognised; what else changed is in the ring. The loop ends when nothing
newer was seen.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ...scope import Scope
from ..client.requests import Key
from ..client.sdk_client import PATIENCE, Gateway
from ..commit.heads import Head, Heads
from ..commit.rows import MemoryRow, ScopeRows, committed_rows, read_memory, told_by
from .cache import SnapshotCache
from .snapshot import HeadState, ScopeSnapshot, Tombstone, VectorRule, sorted_rows

_MANY = 1000  # changed rows; to read everything takes fewer requests than to read these by their keys


class Loader:
    """Makes the snapshots of one scope."""

    def __init__(
        self, gateway: Gateway, heads: Heads, rows: ScopeRows, scope: Scope, cache: SnapshotCache, rule: VectorRule
    ) -> None:
        self._gateway = gateway
        self._heads = heads
        self._rows = rows
        self._scope = scope
        self._cache = cache
        self._rule = rule

    def newest(self, deadline: float | None = None) -> ScopeSnapshot:
        """The scope as it is, or was at some moment after this call began. One row read if the cache is current."""
        deadline = time.monotonic() + PATIENCE if deadline is None else deadline
        cached = self._cache.get(self._scope)
        head = self._heads.read(cached.seq if cached else None, deadline=deadline)
        if cached and cached.seq == head.seq and cached.head_state.tx == head.tx:
            return self._with_news(cached, head)
        if cached and cached.seq >= head.seq:  # the tables were dropped and made anew
            self._cache.drop(cached)
        with self._cache.loading(self._scope).held(deadline):
            cached = self._cache.get(self._scope)
            if cached and cached.seq >= head.seq:  # another thread was faster; it read after this call began
                return cached
            snapshot = self._refreshed(cached, head, deadline) if cached else None
            return self._cache.put(snapshot or self._cold(head, deadline))

    def _with_news(self, cached: ScopeSnapshot, head: Head) -> ScopeSnapshot:
        head_state = cached.head_state
        redo = head_state.redo if head.redo else None
        if (redo, head.sweep, head.emptied) == (head_state.redo, head_state.sweep, head_state.emptied):
            return cached
        news = replace(head_state, redo=redo, sweep=head.sweep, emptied=head.emptied)
        return self._cache.put(cached.with_head_state(news))

    def _cold(self, head: Head, deadline: float) -> ScopeSnapshot:
        if head.seq == 0:
            return ScopeSnapshot.empty(self._scope, head, self._rule)
        while True:
            with self._cache.room(self._rule.nbytes(head), deadline):
                nearly = self._read_all(head, deadline)
            # Right but for rows that were written while this read; those the ring names.
            head = self._heads.read(head.seq, deadline=deadline)
            if head.seq == nearly.seq:
                return nearly
            snapshot = self._refreshed(nearly, head, deadline)
            if snapshot:
                return snapshot

    def _read_all(self, head: Head, deadline: float) -> ScopeSnapshot:
        with_vectors = self._rule.fits(head.count)
        whole = self._rows.all_memories(self._rows.columns(with_vectors))
        read: dict[str, MemoryRow] = {}
        for page in self._gateway.pages(whole, deadline=deadline):
            read.update((row["memory_id"], read_memory(row)) for row in page)
        return self._assembled(read, head, with_vectors)

    def _refreshed(self, base: ScopeSnapshot, head: Head, deadline: float) -> ScopeSnapshot | None:
        """`base` brought to `head` by reading what the ring names; None if that cannot be done."""
        while base.epoch == head.epoch and not (base.with_vectors and not self._rule.still_fits(head.count)):
            changed = head.changed_since(base.seq)
            if changed is None and head.lacks_slots(base.seq):
                head = self._heads.read_ring(base.seq, head.seq, deadline=deadline)
                changed = head.changed_since(base.seq)
            if changed is None or len(changed) > _MANY:
                return None
            keys = [self._rows.memory_key(id_) for id_ in sorted(changed - told_by(head.redo))]
            read = {row.id: row for row in self._read(keys, base.with_vectors, deadline)}
            if len(read) < len(keys):
                return None  # swept or purged meanwhile
            if all(row.rev <= head.seq and row.epoch == head.epoch for row in read.values()):
                read.update((row.id, row) for row in committed_rows(head.redo, read))
                return base.after(read.values(), head)
            head = self._heads.read(base.seq, deadline=deadline)
        return None

    def _assembled(self, read: dict[str, MemoryRow], head: Head, with_vectors: bool) -> ScopeSnapshot:
        now = {id_: row for id_, row in read.items() if row.epoch == head.epoch}
        now.update((row.id, row) for row in committed_rows(head.redo, now))
        dead = {id_: Tombstone(row.rev, row.written_at) for id_, row in now.items() if row.memory is None}
        orphans = any(row.epoch < head.epoch for row in read.values())
        head_state = HeadState.at_head(head, orphans, dead)
        rows = sorted_rows(now.values())
        return ScopeSnapshot(
            self._scope, head.seq, head.epoch, rows, head_state, rule=self._rule, with_vectors=with_vectors
        )

    def _read(self, keys: Sequence[Key], with_vectors: bool, deadline: float) -> Iterator[MemoryRow]:
        if not keys:
            return iter(())
        columns = self._rows.columns(with_vectors)
        return map(read_memory, self._gateway.get_many(self._rows.tables.memories, keys, columns, deadline=deadline))
