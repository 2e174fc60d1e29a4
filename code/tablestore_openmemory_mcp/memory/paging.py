"""Lists in pages: newest first, with a cursor that stays true while memories come, change and go.

Newest is what was remembered last, not what was corrected last: a correction in the middle of a walk would move a
memory to where the walk has been already, and nobody would be shown it.
"""

import base64
from bisect import bisect_left
from collections.abc import Callable
from operator import attrgetter

from ..errors import InvalidInput
from ..store.model import Memory, Snapshot
from .model import Page
from .unit_of_work import is_living, now_ms

MOST = 1_000  # memories of one page
_LARGEST = 400_000  # characters of the texts of one page

_Position = tuple[int, str]


def page(snapshot: Snapshot, cursor: str | None, limit: int | None) -> Page:
    """The page that `cursor` names (None: the first). Raises InvalidInput for a cursor or limit that is none."""
    if limit is not None and limit < 1:
        raise InvalidInput(f"limit is {limit}; accepted: 1 to {MOST}.")
    before = _decoded(cursor) if cursor else None
    now = now_ms()
    position: Callable[[Memory], _Position] = attrgetter("created_at", "id")  # in C, for thousands of memories
    living = sorted((m for m in snapshot.memories.values() if is_living(m, now)), key=position)
    left = len(living) if before is None else bisect_left(living, before, key=position)
    chosen: list[Memory] = []
    size = 0
    for memory in reversed(living[max(0, left - min(limit or MOST, MOST)) : left]):
        size += len(memory.text)
        if chosen and size > _LARGEST:
            break
        chosen.append(memory)
    more = _encoded(position(chosen[-1])) if len(chosen) < left else None
    return Page(chosen, total=len(living), cursor=more)


def _encoded(position: _Position) -> str:
    time, memory_id = position
    return base64.urlsafe_b64encode(f"{time} {memory_id}".encode()).decode().rstrip("=")


def _decoded(cursor: str) -> _Position:
    try:
        time, _, memory_id = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().partition(" ")
        return int(time), memory_id
    except ValueError:
        raise InvalidInput("This cursor is none of ours; leave it out to begin with the newest memories.") from None
