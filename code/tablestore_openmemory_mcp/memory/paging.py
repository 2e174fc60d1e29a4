"""Lists in pages: newest first, with a cursor that stays true while memories come and go."""

import base64
import binascii
import json

from ..errors import InvalidInput
from ..store.model import Memory, Snapshot
from .model import Page
from .unit import is_living, now_ms

MOST = 1_000  # memories of one page
_LARGEST = 400_000  # characters of the texts of one page


def page(snapshot: Snapshot, cursor: str | None, limit: int | None) -> Page:
    """The page that `cursor` names (None: the first). Raises InvalidInput for a cursor or limit that is none."""
    if limit is not None and limit < 1:
        raise InvalidInput(f"limit is {limit}; accepted: 1 to {MOST}.")
    after = _decoded(cursor) if cursor else None
    now = now_ms()
    keyed = sorted(((-m.updated_at, m.id), m) for m in snapshot.memories.values() if is_living(m, now))
    rest = [(key, m) for key, m in keyed if after is None or key > after]
    chosen: list[tuple[tuple[int, str], Memory]] = []
    size = 0
    for key, memory in rest[: min(limit or MOST, MOST)]:
        size += len(memory.text)
        if chosen and size > _LARGEST:
            break
        chosen.append((key, memory))
    more = _encoded(chosen[-1][0]) if len(chosen) < len(rest) else None
    return Page([m for _, m in chosen], total=len(keyed), cursor=more)


def _encoded(key: tuple[int, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def _decoded(cursor: str) -> tuple[int, str]:
    try:
        time, memory_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return int(time), str(memory_id)
    except (ValueError, TypeError, binascii.Error):
        raise InvalidInput("This cursor is none of ours; leave it out to begin with the newest memories.") from None
