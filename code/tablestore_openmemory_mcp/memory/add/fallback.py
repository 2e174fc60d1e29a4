"""What the LLM made nothing of is kept verbatim and reconciled by later adds: because two answers of it were of
no use or, with ADD_FALLBACK=verbatim, because it was away.

Such a memory is marked in its metadata. The commit that adds what came of it deletes it, so that it is reconciled once
however many instances try.
"""

from collections.abc import Sequence
from dataclasses import replace

from ...store.model import Memory, Snapshot
from ..unit_of_work import is_living, now_ms

MARK = {"pending": "reconcile"}
PER_ADD = 3
_TIMED_OUT, _MOST_TIMES = "timed_out", 3  # how often a text may take all the time there is: it must not block its scope


def is_pending(memory: Memory) -> bool:
    """Whether `memory` waits to be reconciled."""
    return MARK.items() <= memory.metadata.items()


def unmarked(memory: Memory) -> Memory:
    """`memory` as one that waits for nothing."""
    return replace(memory, metadata={k: v for k, v in memory.metadata.items() if k not in (*MARK, _TIMED_OUT)})


def timed_out(memory: Memory) -> Memory:
    """`memory` after the LLM had not answered about it in time; unmarked if that was so too often."""
    times = int(memory.metadata.get(_TIMED_OUT, 0)) + 1
    if times == _MOST_TIMES:
        return unmarked(memory)
    return replace(memory, metadata={**memory.metadata, _TIMED_OUT: times})


def pending(snapshot: Snapshot) -> Sequence[Memory]:
    """The marked memories that the next add takes care of, oldest first."""
    now = now_ms()
    marked = [m for m in snapshot.memories.values() if is_pending(m) and is_living(m, now)]
    return sorted(marked, key=lambda m: (m.created_at, m.rev, m.id))[:PER_ADD]
