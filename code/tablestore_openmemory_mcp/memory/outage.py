"""ADD_FALLBACK=verbatim: what is said while the LLM is away is kept word for word and reconciled by later adds.

Such a memory is marked in its metadata. The commit that adds what came of it deletes it, so that it is reconciled once
however many instances try.
"""

from collections.abc import Sequence

from ..store.model import Memory, Snapshot
from .unit import is_living, now_ms

MARK = {"pending": "reconcile"}
PER_ADD = 3


def is_pending(memory: Memory) -> bool:
    """Whether `memory` waits to be reconciled."""
    return MARK.items() <= memory.metadata.items()


def pending(snapshot: Snapshot) -> Sequence[Memory]:
    """The marked memories that the next add takes care of, oldest first."""
    now = now_ms()
    marked = [m for m in snapshot.memories.values() if is_pending(m) and is_living(m, now)]
    return sorted(marked, key=lambda m: (m.created_at, m.rev, m.id))[:PER_ADD]
