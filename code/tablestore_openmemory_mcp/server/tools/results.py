"""What tools answer: JSON in the shapes of the reference, one compact text block each.

Compact and unstructured on purpose: Cline sends a structured copy to the model beside the text, at double the price.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ...errors import ModelError, ServiceError, StoreError
from ...scope import Scope

if TYPE_CHECKING:  # memory's model needs numpy, which the first answer must not wait for
    from ...memory.model import AddResult, Hit, Outcome, Page
    from ...store.model import HistoryEntry, Memory

SOURCE_APP = "openmemory"
PAGE = 1_000  # memories asked for at once
_CLOSING = 400  # bytes kept for the last element, which tells of more
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TEXTS = ("memory", "previous_memory", "old_memory", "new_memory")

Item = dict[str, Any]


def compact(value: Any) -> str:
    """JSON without spaces; Chinese stays Chinese."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def added(result: "AddResult", *, max_bytes: int) -> str:
    """`{"results": [{"id", "memory", "event", "previous_memory"?}], "message"?, "related"?: [{"id", "memory",
    "score"?}]}`."""
    return outcomes(result.results, result.message, result.related, max_bytes=max_bytes)


def outcomes(
    done: "Sequence[Outcome]", message: str | None = None, related: "Sequence[Hit]" = (), *, max_bytes: int
) -> str:
    """The same, of what was asked for by id. The message also tells if not all of them fit into `max_bytes`; of
    `related` there is what fits, whole."""
    notes = [message] if message else []
    room = max_bytes - _CLOSING - 4 * len(message or "")
    items = _fitting(map(_outcome, done), room)
    if len(items) < len(done):
        notes.append(f"All {len(done)} changes were made; the first {len(items)} are shown.")
    shown = _fitting(map(_related, related), room - sum(map(_size, items)), cut=False)
    return compact(
        {
            "results": items,
            **({"message": " ".join(notes)} if notes else {}),
            **({"related": shown} if shown else {}),
        }
    )


def one(memory: "Memory", scope: Scope, *, max_bytes: int) -> str:
    """One memory, as in a list."""
    return compact(_cut(_memory(memory, scope), max_bytes))


def lineage(entries: "Sequence[HistoryEntry]", *, max_bytes: int) -> str:
    """A list of `{"event", "old_memory", "new_memory", "at", "reason", "mcp_client"}`, oldest first; the latest ones if
    not all fit into `max_bytes`."""
    return compact(_fitting(map(_entry, reversed(entries)), max_bytes)[::-1])


def found(hits: Iterable["Hit"], scope: Scope, *, max_bytes: int) -> str:
    """A list of memories, best first; as many as fit into `max_bytes`."""
    return compact(_fitting((_hit(hit, scope) for hit in hits), max_bytes))


def listed(fetch: "Callable[[str | None, int], Page]", cursor: str | None, scope: Scope, *, max_bytes: int) -> str:
    """A list of memories, newest first, from `fetch(cursor, limit)`. What does not fit into `max_bytes` is announced by
    a last element without id: `{"message", "cursor"}`."""
    items: list[str] = []
    encoded: dict[str, tuple[Memory, str]] = {}  # each memory once, though a page is asked for again
    room, limit, total = max_bytes - _CLOSING - 2, PAGE, 0
    while True:
        page = fetch(cursor, limit)
        new: list[str] = []
        for memory in page.memories:
            known, text = encoded.get(memory.id, (None, ""))
            if known is not memory:
                item = _memory(memory, scope)
                text = compact(item if items or new else _cut(item, room))
                encoded[memory.id] = memory, text
            new.append(text)
            room -= _length(text)
            if room < 0:
                room += _length(new.pop())
                break
        if len(new) < len(page.memories):
            if not new:
                break
            limit = len(new)  # once more, for the cursor after these
            room += sum(map(_length, new))
            continue
        items, cursor, total = [*items, *new], page.cursor, page.total
        if cursor is None:
            return f"[{','.join(items)}]"
        if limit < PAGE:
            break
    message = (
        f"{len(items)} of {total} memories are above, newest first. For older ones call list_memories with this cursor."
    )
    return f"[{','.join([*items, compact({'message': message, 'cursor': cursor})])}]"


def deleted(count: int) -> str:
    """A sentence, word for word the reference's."""
    return f"Successfully deleted {count} memories"


def failed(error: ServiceError, told: str) -> str:
    """The error's sentence as it may be `told`, and whether the same call may work later: models go by what they
    read."""
    said = f"{told.rstrip('.')}."
    if error.retry:
        return f"{said} The same call may work in a moment."
    if isinstance(error, ModelError | StoreError):
        return f"{said} The same call will fail again until that is set right."
    return said


def _fitting(items: Iterable[Item], room: int, *, cut: bool = True) -> list[Item]:
    """The first of `items` that fit into a list of `room` bytes; with `cut` one at least, shortened if need be."""
    room -= 2
    fitting: list[Item] = []
    for item in items:
        shown = _cut(item, room) if cut and not fitting else item
        room -= _size(shown)
        if room < 0:
            break
        fitting.append(shown)
    return fitting


def _cut(item: Item, room: int) -> Item:
    """`item`, or if it is larger than `room` bytes by itself, the beginnings of its texts and `"truncated": true`."""
    if _size(item) <= room:
        return item
    item = {**item, "truncated": True}
    while _size(item) > room and any(item.get(name) for name in _TEXTS):
        longest = max(_TEXTS, key=lambda name: len(item.get(name) or ""))
        item[longest] = item[longest][: len(item[longest]) // 2]
    return item


def _outcome(outcome: "Outcome") -> Item:
    item = {"id": outcome.id, "memory": outcome.memory, "event": outcome.event}
    if outcome.previous_memory is not None:
        item["previous_memory"] = outcome.previous_memory
    return item


def _related(hit: "Hit") -> Item:
    score = {} if hit.score is None else {"score": round(hit.score, 6)}
    return {"id": hit.memory.id, "memory": hit.memory.text, **score}


def _entry(entry: "HistoryEntry") -> Item:
    return {
        "event": entry.event,
        "old_memory": entry.old_text,
        "new_memory": entry.new_text,
        "at": _iso(entry.at),
        "reason": entry.reason,
        "mcp_client": entry.actor,
    }


def _hit(hit: "Hit", scope: Scope) -> Item:
    item = _memory(hit.memory, scope)
    if hit.score is not None:
        item["score"] = round(hit.score, 6)
    if hit.note is not None:
        item["note"] = hit.note
    return item


def _memory(memory: "Memory", scope: Scope) -> Item:
    created = _iso(memory.created_at)
    item = {
        "id": memory.id,
        "memory": memory.text,
        "hash": hashlib.md5(memory.text.encode(), usedforsecurity=False).hexdigest(),
        "metadata": {**memory.metadata, "source_app": SOURCE_APP, "mcp_client": scope.client_name},
        "created_at": created,
        "updated_at": created if memory.updated_at == memory.created_at else _iso(memory.updated_at),
        "user_id": scope.user_id,
    }
    if memory.expires_at is not None:
        item["expires_at"] = _iso(memory.expires_at)
    return item


def _iso(milliseconds: int) -> str:
    return (_EPOCH + timedelta(milliseconds=milliseconds)).isoformat(timespec="milliseconds")


def _size(item: Item) -> int:
    return _length(compact(item))


def _length(text: str) -> int:
    """Bytes of an element of a list, with what parts it from the next."""
    return (len(text) if text.isascii() else len(text.encode())) + 1
