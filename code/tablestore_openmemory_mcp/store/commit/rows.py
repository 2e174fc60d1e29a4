"""Memory and history rows: what a commit becomes, and what a read makes of it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...scope import Scope
from ..client.requests import HIGHEST, LOWEST, Guard, Key, Put, Range, StoredRow, Update, Write
from ..model import Change, HistoryEntry, Memory, text_hash
from .redo_record import Redo
from .tables import Tables

_TEXT_COLUMNS = (
    "text",
    "model",
    "meta",
    "rev",
    "epoch",
    "created_at",
    "updated_at",
    "expires_at",
    "source",
    "written_at",
    "deleted",
)
_COLUMNS = (*_TEXT_COLUMNS, "vector")


@dataclass(frozen=True, slots=True)
class MemoryRow:
    """A row of the memories table. `memory` None: a tombstone."""

    id: str
    rev: int
    epoch: int
    written_at: int  # ms
    memory: Memory | None


class ScopeRows:
    """The keys, ranges and writes of one scope."""

    def __init__(self, tables: Tables, scope: Scope) -> None:
        self.tables = tables
        self._scope: Key = (("user_id", scope.user_id), ("client_name", scope.client_name))

    def memory_key(self, memory_id: str) -> Key:
        return (*self._scope, ("memory_id", memory_id))

    def columns(self, with_vectors: bool) -> tuple[str, ...]:
        """What to read of a memory row."""
        return _COLUMNS if with_vectors else _TEXT_COLUMNS

    def all_memories(self, columns: tuple[str, ...]) -> Range:
        start, end = (*self._scope, ("memory_id", LOWEST)), (*self._scope, ("memory_id", HIGHEST))
        return Range(self.tables.memories, start, end, columns)

    def all_history(self, columns: tuple[str, ...]) -> Range:
        start = (*self._scope, ("memory_id", LOWEST), ("rev", LOWEST))
        end = (*self._scope, ("memory_id", HIGHEST), ("rev", HIGHEST))
        return Range(self.tables.history, start, end, columns)

    def history_of(self, memory_id: str) -> Range:
        key = self.memory_key(memory_id)
        return Range(self.tables.history, (*key, ("rev", LOWEST)), (*key, ("rev", HIGHEST)))

    def writes(self, redo: Redo) -> Iterator[Write]:
        """The rows of a commit, memories first. Each may be written twice, and by anyone: an older rev never wins."""
        older = Guard(column="rev", operator="<", value=redo.rev, if_missing=True)
        for change in redo.changes:
            key = self.memory_key(change.id)
            if change.new is None:
                yield Put(self.tables.memories, key, {"deleted": True, **_stamp(redo)}, older)
            elif _keeps_vector(change.new):
                gone = [name for name, value in _cells(change.new).items() if value is None and name != "vector"]
                yield Update(self.tables.memories, key, {**_cells(change.new), **_stamp(redo)}, gone, older)
            else:
                yield Put(self.tables.memories, key, {**_cells(change.new), **_stamp(redo)}, older)
        for change in redo.changes:
            if change.event != "TOUCH":
                yield Put(self.tables.history, (*self.memory_key(change.id), ("rev", redo.rev)), _history(change, redo))


def told_by(redo: Redo | None) -> frozenset[str]:
    """Ids whose rows `redo` holds whole, so that they need not be read."""
    return frozenset(c.id for c in redo.changes if c.new is None or not _keeps_vector(c.new)) if redo else frozenset()


def committed_rows(redo: Redo | None, current: Mapping[str, MemoryRow]) -> Iterator[MemoryRow]:
    """The memory rows as they are once `redo` is applied over `current`."""
    if redo is None:
        return
    for change in redo.changes:
        new, before = change.new, current.get(change.id)
        if new is not None and _keeps_vector(new) and before and before.memory:
            new = replace(new, rev=redo.rev, vector=before.memory.vector)
        elif new is not None:
            new = replace(new, rev=redo.rev)
        yield MemoryRow(change.id, redo.rev, redo.epoch, redo.at, new)


def read_memory(row: StoredRow) -> MemoryRow:
    """Decode a row that was read with ScopeRows.columns."""
    c, memory_id = row.cells, row["memory_id"]
    if c.get("deleted"):
        return MemoryRow(memory_id, c["rev"], c["epoch"], c["written_at"], None)
    blob = c.get("vector")
    memory = Memory(
        id=memory_id,
        text=c["text"],
        created_at=c["created_at"],
        updated_at=c["updated_at"],
        metadata=json.loads(c["meta"]) if "meta" in c else {},
        vector=None if blob is None else np.frombuffer(blob, "<f4").astype(np.float32, copy=False),
        vector_model=c.get("model"),
        expires_at=c.get("expires_at"),
        source=c.get("source"),
        rev=c["rev"],
    )
    return MemoryRow(memory_id, c["rev"], c["epoch"], c["written_at"], memory)


def read_history(row: StoredRow) -> tuple[int, HistoryEntry]:
    """(epoch, entry)."""
    c = row.cells
    entry = HistoryEntry(
        memory_id=row["memory_id"],
        rev=row["rev"],
        event=c["event"],
        old_text=c.get("old_text"),
        new_text=c.get("new_text"),
        at=c["at"],
        reason=c.get("reason"),
        actor=c.get("actor"),
    )
    return c["epoch"], entry


def committed_history(redo: Redo | None, memory_id: str) -> Iterator[HistoryEntry]:
    """The lines that a commit adds to a memory's history."""
    if redo is None:
        return
    for change in redo.changes:
        if change.id == memory_id and change.event != "TOUCH":
            text = change.new.text if change.new else None
            yield HistoryEntry(
                change.id, redo.rev, change.event, change.old_text, text, redo.at, change.reason, change.actor
            )


def _keeps_vector(memory: Memory) -> bool:
    # Read without its vector (a large scope) and given back: the row's own vector stays.
    return memory.vector is None and memory.vector_model is not None


def _stamp(redo: Redo) -> dict[str, Any]:
    return {"rev": redo.rev, "epoch": redo.epoch, "written_at": redo.at}


def _cells(memory: Memory) -> dict[str, Any]:
    return {
        "text": memory.text,
        "vector": None if memory.vector is None else np.asarray(memory.vector, "<f4").tobytes(),
        "model": memory.vector_model,
        "meta": json.dumps(dict(memory.metadata), ensure_ascii=False) if memory.metadata else None,
        "hash": text_hash(memory.text),
        "created_at": memory.created_at,
        "updated_at": memory.updated_at,
        "expires_at": memory.expires_at,
        "source": memory.source,
    }


def _history(change: Change, redo: Redo) -> dict[str, Any]:
    return {
        "event": change.event,
        "old_text": change.old_text,
        "new_text": change.new.text if change.new else None,
        "at": redo.at,
        "reason": change.reason,
        "actor": change.actor,
        "epoch": redo.epoch,
    }
