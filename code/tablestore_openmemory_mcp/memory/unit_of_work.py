"""One unit of work: what an add does to a scope, collected first and committed at once."""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ..store.commit.redo_record import MAX_BYTES, nbytes
from ..store.model import Change, Memory, Snapshot, Vector
from .model import Outcome

COMMIT_BYTES = MAX_BYTES - 10_000  # for the changes of one commit: see redo.nbytes
_BOOKKEEPING = ("expired", "reconciled")  # deletions that nobody asked for, and nobody is told of


def now_ms() -> int:
    """Milliseconds since the epoch, UTC."""
    return time.time_ns() // 1_000_000


def is_living(memory: Memory, now: int) -> bool:
    """Whether `memory` has not expired at `now` (ms since the epoch)."""
    return memory.expires_at is None or memory.expires_at > now


def outlives(memory: Memory, expires_at: int | None) -> bool:
    """Whether `memory` stays when what expires then has (None: never): so it stands beside it, and is not replaced."""
    return expires_at is not None and (memory.expires_at is None or memory.expires_at > expires_at)


def random_id() -> str:
    return str(uuid.uuid4())


@dataclass(slots=True)
class UnitOfWork:
    """Changes on top of `base`, at most one per memory. `actor`: which client asked, for the history."""

    base: Snapshot
    actor: str | None = None
    now: int = field(default_factory=now_ms)
    _changes: dict[str, Change] = field(default_factory=dict)

    @property
    def changes(self) -> Sequence[Change]:
        return list(self._changes.values())

    @property
    def outcomes(self) -> Sequence[Outcome]:
        """What the caller is told: every change but a TOUCH."""
        return [
            Outcome(c.id, c.new.text if c.new else c.old_text or "", c.event, c.old_text if c.new else None)
            for c in self._changes.values()
            if c.event != "TOUCH" and c.reason not in _BOOKKEEPING
        ]

    @property
    def prolongs(self) -> bool:
        """Whether something known is now remembered for longer: the only TOUCH of an add."""
        return any(c.event == "TOUCH" for c in self._changes.values())

    @property
    def living(self) -> int:
        """How many memories a person will see in the scope after the commit."""
        came = sum(c.event == "ADD" for c in self._changes.values())
        went = sum(c.event == "DELETE" and is_living(self.base.memories[c.id], self.now) for c in self.changes)
        return sum(is_living(m, self.now) for m in self.base.memories.values()) + came - went

    def get(self, memory_id: str) -> Memory | None:
        """The memory as it will be after the commit; None if it does not exist in this scope, or expired."""
        if memory_id in self._changes:
            return self._changes[memory_id].new
        memory = self.base.memories.get(memory_id)
        return memory if memory and is_living(memory, self.now) else None

    def add(
        self,
        text: str,
        vector: Vector | None,
        model: str | None,
        *,
        memory_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        expires_at: int | None = None,
        reason: str | None = None,
    ) -> Memory:
        """A new memory under a random id, or under `memory_id` if that is free."""
        new = Memory(
            memory_id or random_id(), text, self.now, self.now, dict(metadata or {}), vector, model, expires_at
        )
        if new.id in self.base.memories:
            raise ValueError(f"memory {new.id} exists")
        self._put(Change("ADD", new.id, new, reason=reason, actor=self.actor))
        return new

    def update(
        self,
        memory_id: str,
        text: str,
        vector: Vector | None,
        model: str | None,
        *,
        metadata: Mapping[str, Any] | None = None,
        expires_at: int | None = None,
        reason: str | None = None,
    ) -> Memory:
        """The memory with another text, in place; `metadata` and `expires_at` (0: never) replace its own if given.
        KeyError if there is none."""
        old = self._known(memory_id)
        new = replace(
            old,
            text=text,
            vector=vector,
            vector_model=model,
            updated_at=max(self.now, old.updated_at),
            source=None,
            metadata=old.metadata if metadata is None else dict(metadata),
            expires_at=old.expires_at if expires_at is None else expires_at or None,
        )
        self._put(Change("UPDATE", memory_id, new, old_text=old.text, reason=reason, actor=self.actor))
        return new

    def bring(self, new: Memory, *, reason: str | None = None) -> None:
        """A memory as it was made elsewhere, with its id and its times: added, or put over the one of that id."""
        old = self.base.memories.get(new.id)
        event: Literal["ADD", "UPDATE"] = "UPDATE" if old else "ADD"
        self._put(Change(event, new.id, new, old_text=old.text if old else None, reason=reason, actor=self.actor))

    def touch(self, new: Memory) -> None:
        """Rewrite the row of a memory whose text stays (a vector, an expiry). KeyError if there is none."""
        self._known(new.id)
        self._put(Change("TOUCH", new.id, new, actor=self.actor))

    def delete(self, memory_id: str, *, reason: str | None = None) -> Memory:
        """KeyError if there is no such memory."""
        old = self._known(memory_id)
        self._put(Change("DELETE", memory_id, None, old_text=old.text, reason=reason, actor=self.actor))
        return old

    def sign(self, source: str) -> None:
        """Mark the texts that this unit wrote as what came of `source` (see repeats)."""
        for change in self._changes.values():
            if change.new and change.event != "TOUCH":
                self._changes[change.id] = replace(change, new=replace(change.new, source=source))

    def annotate(self, text: str, metadata: Mapping[str, Any]) -> None:
        """Add `metadata` to that of the memories that this unit gave this text."""
        for change in self._changes.values():
            if change.new and change.new.text == text and change.event != "TOUCH":
                new = replace(change.new, metadata={**change.new.metadata, **metadata})
                self._changes[change.id] = replace(change, new=new)

    def drop_expired(self, most: int = 20) -> None:
        """Delete some of the memories that nobody can see any more, along with the other changes; no more than are sure
        to fit into one commit with them. May be called again."""
        gone = [m for m in self.base.memories.values() if not is_living(m, self.now) and m.id not in self._changes]
        room = COMMIT_BYTES - sum(map(nbytes, self.changes)) if gone else 0
        for m in gone[:most]:
            change = Change("DELETE", m.id, None, old_text=m.text, reason="expired", actor=self.actor)
            room -= nbytes(change)
            if room < 0:
                break
            self._put(change)

    def _known(self, memory_id: str) -> Memory:
        memory = self.get(memory_id)
        if memory is None:
            raise KeyError(memory_id)
        return memory

    def _put(self, change: Change) -> None:
        if change.id in self._changes and self._changes[change.id].event != "TOUCH":
            raise ValueError(f"memory {change.id} already changed in this unit")
        self._changes[change.id] = change
