"""What the store gives and takes. Plain values; nothing here talks to Tablestore."""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ..scope import Scope
from ..unicode_normalization import normalized

Vector = NDArray[np.float32]
Event = Literal["ADD", "UPDATE", "DELETE", "TOUCH"]


def text_hash(text: str) -> str:
    """SHA-256 (hex) of `text` in Unicode NFC with its white space collapsed: what makes two memories the same."""
    return hashlib.sha256(" ".join(normalized("NFC", text).split()).encode()).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """One memory of one scope. Times are milliseconds since the epoch, UTC."""

    id: str  # random; never derived from the text, which an UPDATE changes in place
    text: str
    created_at: int
    updated_at: int
    metadata: Mapping[str, Any] = field(default_factory=dict)  # JSON; never holds identity keys
    vector: Vector | None = None  # float32, TABLESTORE_VECTOR_DIMENSION long; None if stored without an embedder
    vector_model: str | None = None  # the model that made `vector`
    expires_at: int | None = None
    source: str | None = None  # which add gave it its text: the memory service's mark, opaque here
    rev: int = 0  # the head's `seq` of the commit that wrote it; 0 before it is committed


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """One memory's part in a commit.

    ADD, UPDATE and DELETE leave a history row each, committed with the change. TOUCH rewrites the row (a new vector,
    an expiry) without one.
    """

    event: Event
    id: str
    new: Memory | None  # None for DELETE; `rev` is set by the store
    old_text: str | None = None  # UPDATE and DELETE: what the history keeps
    reason: str | None = None
    actor: str | None = None  # which client asked


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One line of a memory's lineage."""

    memory_id: str
    rev: int
    event: Event
    old_text: str | None
    new_text: str | None
    at: int  # ms since the epoch, UTC
    reason: str | None
    actor: str | None


class Snapshot(Protocol):
    """A scope at one commit: immutable, shared between threads."""

    @property
    def scope(self) -> Scope: ...
    @property
    def seq(self) -> int: ...
    @property
    def epoch(self) -> int: ...
    @property
    def memories(self) -> Mapping[str, Memory]:
        """By id, oldest first. Expired ones are still here: the service hides them."""
        ...

    @property
    def with_vectors(self) -> bool:
        """False in a scope larger than EXACT_SEARCH_LIMIT: memories come without their vectors (`vector` is None while
        `vector_model` is not), `matrix` does not hold all of them, and ScopeStore.candidates takes its place."""
        ...

    def matrix(self, model: str) -> tuple[Sequence[str], NDArray[np.float32]]:
        """(ids, L2-normalised n x d) of the memories that `model` embedded. Built once per snapshot, incrementally."""
        ...


class Conflict(Exception):
    """Another writer committed first. `latest` is the scope as it is now; `changed` the ids touched since the base
    (None: too much happened to tell, or the scope was emptied)."""

    def __init__(self, latest: Snapshot, changed: frozenset[str] | None) -> None:
        super().__init__("the scope changed under this commit")
        self.latest = latest
        self.changed = changed


class ScopeStore(Protocol):
    """The store bound to one scope: no method takes a scope, and an id of another scope does not exist here.

    Blocking; every method may raise a StoreError. `deadline` is a time.monotonic() value.
    """

    @property
    def scope(self) -> Scope: ...

    def snapshot(self, *, deadline: float | None = None) -> Snapshot:
        """The scope now: strongly consistent, one row read while the cache is current."""
        ...

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
        """What Snapshot.matrix is to a small scope: (ids, L2-normalised n x d) of memories of `snapshot` that `model`
        embedded. In a large scope those of `also`, about `k` nearest to each of `queries` (m x d, L2-normalised), and
        all that was written lately; in a small one all there are."""
        ...

    def commit(self, changes: Sequence[Change], *, base: Snapshot, deadline: float | None = None) -> Snapshot:
        """All of `changes`, atomically, on top of `base`; the scope after it. Raises Conflict if `base` is no longer
        the latest (nothing was written then). Returns only when it will survive any crash."""
        ...

    def write(
        self, plan: Callable[[Snapshot], Sequence[Change]], *, base: Snapshot | None = None, deadline: float
    ) -> Snapshot:
        """Commit what `plan` makes of the scope, along with what other threads have ready for it; the scope after it.

        `plan` is called on this thread: with the scope as it is, or as it was at `base`, or as it will be after the
        others' changes; and again when that did not come to be, or another writer was first. Without changes nothing is
        committed. An error of `plan` is raised once what it was given is committed. Raises Busy at `deadline`, or a
        StoreError."""
        ...

    def delete_all(self) -> int:
        """Empty the scope, history included; how many memories it held that had not expired."""
        ...

    def sweep(self, *, deadline: float | None = None) -> bool:
        """Remove the rows that `delete_all` made invisible and had no time to remove. False: there are more, but not
        as many as before. Raises a StoreError if none can be removed."""
        ...

    def history(self, memory_id: str) -> Sequence[HistoryEntry]:
        """Oldest first; empty for an unknown id."""
        ...
