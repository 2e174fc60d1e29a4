"""What tools answer: JSON in the shapes of the reference, one compact text block each.

Compact and unstructured on purpose: Cline sends a structured copy to the model beside the text, at double the price.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..errors import LimitExceeded
from ..scope import Scope
from .expiry import NEVER

if TYPE_CHECKING:  # memory's model needs numpy, which the first answer must not wait for
    from ..memory.model import AddResult, Hit, Outcome, Page
    from ..store.model import HistoryEntry, Memory

SOURCE_APP = "openmemory"
PAGE = 200  # memories asked for at once
TOO_LARGE = "One memory alone is larger than a result may be."


def compact(value: Any) -> str:
    """JSON without spaces; Chinese stays Chinese."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def added(result: "AddResult") -> str:
    """`{"results": [{"id", "memory", "event", "previous_memory"?}], "message"?}`."""
    answer: dict[str, Any] = {"results": [_outcome(outcome) for outcome in result.results]}
    if result.message:
        answer["message"] = result.message
    return compact(answer)


def outcomes(done: "Iterable[Outcome]") -> str:
    """The same, of what was asked for by id."""
    return compact({"results": [_outcome(outcome) for outcome in done]})


def one(memory: "Memory", scope: Scope) -> str:
    """One memory, as in a list."""
    return compact(_memory(memory, scope))


def lineage(entries: "Sequence[HistoryEntry]", *, max_bytes: int) -> str:
    """A list of `{"event", "old_memory", "new_memory", "at", "reason", "mcp_client"}`, oldest first; the latest ones if
    not all fit into `max_bytes`."""
    items: list[dict[str, Any]] = []
    room = max_bytes - 2
    for entry in reversed(entries):
        item = {
            "event": entry.event,
            "old_memory": entry.old_text,
            "new_memory": entry.new_text,
            "at": _iso(entry.at),
            "reason": entry.reason,
            "mcp_client": entry.actor,
        }
        room -= _size(item)
        if room < 0:
            break
        items.append(item)
    return compact(items[::-1])


def found(hits: Iterable["Hit"], scope: Scope, *, max_bytes: int) -> str:
    """A list of memories, best first; as many as fit into `max_bytes`."""
    items: list[dict[str, Any]] = []
    room = max_bytes - 2
    for hit in hits:
        item = _memory(hit.memory, scope)
        if hit.score is not None:
            item["score"] = round(hit.score, 6)
        if hit.note is not None:
            item["note"] = hit.note
        room -= _size(item)
        if room < 0:
            if not items:
                raise LimitExceeded(TOO_LARGE, setting="MAX_RESULT_SIZE")
            break
        items.append(item)
    return compact(items)


def listed(fetch: "Callable[[str | None, int], Page]", cursor: str | None, scope: Scope, *, max_bytes: int) -> str:
    """A list of memories, newest first, from `fetch(cursor, limit)`. What does not fit into `max_bytes` is announced by
    a last element without id: `{"message", "cursor"}`."""
    items: list[dict[str, Any]] = []
    room, limit = max_bytes - 400, PAGE  # 400: the element that announces more
    while True:
        page = fetch(cursor, limit)
        new = [_memory(m, scope) for m in page.memories]
        size = sum(map(_size, new))
        if size > room:
            if items:
                break
            if limit == 1:
                raise LimitExceeded(TOO_LARGE, setting="MAX_RESULT_SIZE")
            limit = max(1, limit // 4)
            continue
        items, room, cursor, total = [*items, *new], room - size, page.cursor, page.total
        if cursor is None:
            return compact(items)
    message = (
        f"{len(items)} of {total} memories are above, newest first. For older ones call list_memories with this cursor."
    )
    return compact([*items, {"message": message, "cursor": cursor}])


def deleted(count: int) -> str:
    """`{"message", "deleted"}`."""
    return compact({"message": f"Deleted {count} memor{'y' if count == 1 else 'ies'}.", "deleted": count})


def _outcome(outcome: "Outcome") -> dict[str, Any]:
    item = {"id": outcome.id, "memory": outcome.memory, "event": outcome.event}
    if outcome.previous_memory is not None:
        item["previous_memory"] = outcome.previous_memory
    return item


def _memory(memory: "Memory", scope: Scope) -> dict[str, Any]:
    item = {
        "id": memory.id,
        "memory": memory.text,
        "metadata": {**memory.metadata, "source_app": SOURCE_APP, "mcp_client": scope.client_name},
        "created_at": _iso(memory.created_at),
        "updated_at": _iso(memory.updated_at),
        "user_id": scope.user_id,
    }
    if memory.expires_at is not None and memory.expires_at < NEVER:
        item["expires_at"] = _iso(memory.expires_at)
    return item


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


def _size(item: dict[str, Any]) -> int:
    return len(compact(item).encode()) + 1
