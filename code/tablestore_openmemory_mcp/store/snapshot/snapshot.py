"""A scope at one commit, immutable; and how the next one is made of it without reading everything again."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ...scope import Scope
from ..commit.heads import Head
from ..commit.redo_record import Redo
from ..commit.rows import MemoryRow
from ..model import Memory
from .vectors import UnitVectors, normalised

# Milliseconds. The service refuses whoever's clock is off by more than 15 minutes, so a time that is further ahead was
# written on a machine whose clock was wrong for a while, along with its embedded store.
CLOCKS_APART = 30 * 60 * 1000
_ROW_BYTES = 900  # what Python needs around one memory's text and vector
_TOMBSTONE_BYTES = 350  # what it needs for one of them, with its id
_TYPICAL_BYTES = 2000  # of a memory, with its text


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A deleted memory's row."""

    rev: int
    at: int  # ms


@dataclass(frozen=True, slots=True)
class HeadState:
    """What a writer must know beside the memories themselves."""

    tx: str = ""  # the last commit's random name
    at: int = 0  # ms; its time
    redo: Redo | None = None  # to be rolled forward before the next commit
    sweep: int | None = None  # rows of epochs older than this are still there
    emptied: int | None = None  # ms; when they were made invisible: a writer that was asleep then may write some more
    orphans: bool = False  # so is a row of an older epoch that nobody announced
    tombstones: Mapping[str, Tombstone] = field(default_factory=dict)

    @classmethod
    def at_head(
        cls, head: Head, orphans: bool = False, tombstones: Mapping[str, Tombstone] | None = None
    ) -> "HeadState":
        return cls(head.tx, head.at, head.redo, head.sweep, head.emptied, orphans, tombstones or {})


@dataclass(frozen=True, slots=True)
class VectorRule:
    """How many memories' vectors a snapshot may hold. `limit`: above it, a scope is large."""

    limit: int
    vector_bytes: int  # of one memory's, in a snapshot with a matrix of them

    def fits(self, count: int) -> bool:
        """Whether a scope is loaded with its vectors."""
        return count <= self.limit

    def still_fits(self, count: int) -> bool:
        """Whether one that has them keeps them; with slack, so that a scope at the limit does not flutter."""
        return count <= self.limit * 5 // 4

    def nbytes(self, head: Head) -> int:
        """What a snapshot at `head` takes in memory, roughly."""
        texts = _TYPICAL_BYTES * head.count if head.size is None else head.size
        return texts + (head.count * self.vector_bytes if self.fits(head.count) else 0)

    @property
    def most(self) -> int:
        """Vectors in a large scope's snapshot: those of memories that were just written."""
        return max(self.limit, 256)


class ScopeSnapshot:
    """See store.model.Snapshot."""

    def __init__(
        self,
        scope: Scope,
        seq: int,
        epoch: int,
        rows: Mapping[str, MemoryRow],
        head_state: HeadState,
        *,
        rule: VectorRule,
        with_vectors: bool,
        before: "ScopeSnapshot | None" = None,
    ) -> None:
        """`rows`: living memories, oldest first. `before`: one whose matrices may be reused."""
        self.rule = rule
        self.scope = scope
        self.seq = seq
        self.epoch = epoch
        self.rows = rows
        self.head_state = head_state
        self.with_vectors = with_vectors
        self.memories: Mapping[str, Memory] = MappingProxyType(
            {row.id: row.memory for row in rows.values() if row.memory}
        )
        self._lock = threading.Lock()
        self._built: dict[str, UnitVectors] = {}
        # Not `before` itself: a chain of snapshots that nobody searches would keep all of them alive.
        self._seeds = {
            model: found
            for model, found in (before.unit_vectors() if before else {}).items()
            if found.is_mostly_of(self.memories)
        }

    def matrix(self, model: str) -> tuple[Sequence[str], NDArray[np.float32]]:
        """(ids, L2-normalised n x d float32, read-only) of the memories that `model` embedded; d is 0 without any."""
        with self._lock:
            if model not in self._built:
                self._built[model] = normalised(self.memories.values(), model, self._seeds.pop(model, None))
            built = self._built[model]
            return built.ids, built.matrix

    def unit_vectors(self) -> dict[str, UnitVectors]:
        """What was computed so far, by model, to start from."""
        with self._lock:
            return {**self._seeds, **self._built}

    @cached_property
    def nbytes(self) -> int:
        """What it takes in memory, roughly: texts, vectors, a matrix of them, and what is known of deleted ones."""
        vectors = sum(2 * m.vector.nbytes for m in self.memories.values() if m.vector is not None)
        return self.size + vectors + _TOMBSTONE_BYTES * len(self.head_state.tombstones)

    @cached_property
    def size(self) -> int:
        """The texts' part of it."""
        return sum(map(size_of, self.memories.values()))

    @cached_property
    def expiring(self) -> int:
        """How many memories expire some day, or have."""
        return sum(m.expires_at is not None for m in self.memories.values())

    def after(self, rows: Iterable[MemoryRow], head: Head) -> "ScopeSnapshot":
        """This scope at `head`, given the rows that were touched since, all of the same epoch."""
        alive = dict(self.rows)
        dead = dict(self.head_state.tombstones)
        in_order = True
        for row in rows:
            if row.memory is None:
                alive.pop(row.id, None)
                dead[row.id] = Tombstone(row.rev, row.written_at)
            else:
                neighbour = alive.get(row.id) or next(reversed(alive.values()), row)
                in_order &= _age(row) == _age(neighbour) if row.id in alive else _age(row) >= _age(neighbour)
                alive[row.id] = row
        if not in_order:
            alive = sorted_rows(alive.values())
        head_state = HeadState.at_head(head, self.head_state.orphans, dead)
        with_vectors = self.with_vectors and self.rule.still_fits(len(alive))
        if not with_vectors and sum(map(_has_vector, alive.values())) > self.rule.most:
            alive = {id_: _text_only(row) for id_, row in alive.items()}
        return self._next(head.seq, head.epoch, alive, head_state, with_vectors=with_vectors)

    @classmethod
    def empty(cls, scope: Scope, head: Head, rule: VectorRule) -> "ScopeSnapshot":
        """A scope right after it was emptied, or before anything was written."""
        return cls(scope, head.seq, head.epoch, {}, HeadState.at_head(head), rule=rule, with_vectors=True)

    def changed_since(self, base: "ScopeSnapshot") -> frozenset[str] | None:
        """Ids touched after `base`; None if the scope was emptied in between."""
        if base.epoch != self.epoch:
            return None
        alive = (row.id for row in self.rows.values() if row.rev > base.seq)
        dead = (id_ for id_, tombstone in self.head_state.tombstones.items() if tombstone.rev > base.seq)
        return frozenset((*alive, *dead))

    def without_redo(self) -> "ScopeSnapshot":
        """The same after its last commit was written out."""
        return self.with_head_state(replace(self.head_state, redo=None))

    def with_head_state(self, head_state: HeadState) -> "ScopeSnapshot":
        """The same memories, with news about the rest."""
        return self._next(self.seq, self.epoch, self.rows, head_state, with_vectors=self.with_vectors)

    def _next(
        self, seq: int, epoch: int, rows: Mapping[str, MemoryRow], head_state: HeadState, *, with_vectors: bool
    ) -> "ScopeSnapshot":
        return ScopeSnapshot(
            self.scope, seq, epoch, rows, head_state, rule=self.rule, with_vectors=with_vectors, before=self
        )


def size_of(memory: Memory) -> int:
    """Bytes that a memory takes in memory, roughly, its vector aside; the same in every process."""
    text = memory.text  # of which Python keeps 4 bytes for each character if one of them is a rare one, else 1 or 2
    rare = not text.isascii() and len(text.encode("utf-16-le", "surrogatepass")) > 2 * len(text)
    return _ROW_BYTES + (4 if rare else 2) * len(text)


def sorted_rows(rows: Iterable[MemoryRow]) -> dict[str, MemoryRow]:
    """Living rows by id, oldest first."""
    return {row.id: row for row in sorted((r for r in rows if r.memory), key=_age)}


def _age(row: MemoryRow) -> tuple[int, str]:
    return (row.memory.created_at if row.memory else 0, row.id)


def _has_vector(row: MemoryRow) -> bool:
    return row.memory is not None and row.memory.vector is not None


def _text_only(row: MemoryRow) -> MemoryRow:
    return replace(row, memory=replace(row.memory, vector=None)) if row.memory and _has_vector(row) else row
